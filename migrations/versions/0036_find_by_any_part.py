"""Indexes for searching: trigrams of names, addresses and descriptions; starts of keys; ids of requests."""

from alembic import op

revision = "0036"
down_revision = "0035"

TRIGRAMS = {
    "ix_organizations_words": ("organizations", "name", "slug"),
    "ix_users_words": ("users", "name", "email"),
    "ix_one_off_items_words": ("one_off_items", "description"),
}
PLAIN = {
    "ix_api_keys_prefix": ("api_keys", "prefix"),
    "ix_audit_entries_request_id": ("audit_entries", "request_id"),
}


def upgrade() -> None:
    # In every PostgreSQL's contrib, and trusted: whoever may create in the database may have it.
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    # These tables may be large and are written to all the time: nobody waits for an index.
    with op.get_context().autocommit_block():
        for name, (table, *columns) in TRIGRAMS.items():
            words = ", ".join(f"{column} gin_trgm_ops" for column in columns)
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {table} USING gin ({words})")
        for name, (table, column) in PLAIN.items():
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {table} ({column})")


def downgrade() -> None:
    for name in (*TRIGRAMS, *PLAIN):
        op.execute(f"DROP INDEX {name}")
    op.execute("DROP EXTENSION pg_trgm")
