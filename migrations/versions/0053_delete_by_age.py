"""What is kept for a time only: it is found by its age, and the clock may delete it."""

from alembic import op

revision = "0053"
down_revision = "0052"

INDEXES = {
    "ix_mails_with_text": "mails (created_at) WHERE body_text <> ''",
    "ix_stripe_events_with_payload": "stripe_events (received_at) WHERE payload <> '{}'",
}


def upgrade() -> None:
    op.execute("GRANT DELETE ON price_simulations, price_simulation_results TO portal_system")
    with op.get_context().autocommit_block():
        for name, what in INDEXES.items():
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {what}")


def downgrade() -> None:
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
    op.execute("REVOKE DELETE ON price_simulations, price_simulation_results FROM portal_system")
