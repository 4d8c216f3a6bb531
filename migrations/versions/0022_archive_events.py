"""Events of old months may leave the table for a file; what stays says that each of them has been counted."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

OWN_ROW = "organization_id = NULLIF(current_setting('app.organization_id', true), '')::bigint"
EVERYTHING = "portal_staff, portal_system"
STATES = ("writing", "verified", "dropping", "dropped", "restoring", "restored")


def upgrade() -> None:
    op.create_table(
        "archived_events",
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_key", sa.Uuid(), nullable=False),
        sa.Column("content", sa.Uuid(), nullable=False),
        sa.Column("counts", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "event_key", name=op.f("pk_archived_events")),
    )
    op.create_table(
        "archived_daily",
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("recorded_day", sa.Date(), nullable=False),
        sa.Column("meter_id", sa.BigInteger(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=38, scale=12), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "day", "series_id", "recorded_day", name=op.f("pk_archived_daily")),
        postgresql_with={"fillfactor": 50},
    )
    for table in ("archived_events", "archived_daily"):
        _protect(table, OWN_ROW)
        op.execute(f"GRANT SELECT ON {table} TO portal_tenant")
    op.create_table(
        "usage_archives",
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rows", sa.BigInteger()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text()),
        sa.Column("archived_by", sa.Text(), nullable=False),
        sa.CheckConstraint(f"state IN {STATES}", name=op.f("ck_usage_archives_state_known")),
        sa.CheckConstraint(
            "(state = 'writing') = (sha256 IS NULL) AND (sha256 IS NULL) = (rows IS NULL)",
            name=op.f("ck_usage_archives_hashed_when_written"),
        ),
        sa.PrimaryKeyConstraint("month", name=op.f("pk_usage_archives")),
    )
    # A month's file is nobody's own, and how much is in it of everybody is nobody's business.
    _protect("usage_archives", "true")
    op.execute("GRANT SELECT (month, state, file_name, sha256) ON usage_archives TO portal_tenant")


def _protect(table: str, condition: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON {table} TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY own_rows ON {table} FOR SELECT TO portal_tenant USING ({condition})")
    op.execute(f"GRANT SELECT ON {table} TO portal_staff")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO portal_system")


def downgrade() -> None:
    for table in ("usage_archives", "archived_daily", "archived_events"):
        op.drop_table(table)
