"""Usage of meters that do not exist is kept until they do."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"

OWN_ROW = "organization_id = NULLIF(current_setting('app.organization_id', true), '')::bigint"
EVERYTHING = "portal_staff, portal_system"


def upgrade() -> None:
    op.create_table(
        "waiting_events",
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_key", sa.Uuid(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True)),
        sa.Column("discarded_at", sa.DateTime(timezone=True)),
        sa.Column("cancelled_by", sa.Uuid()),
        sa.Column("meter_code", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("document", postgresql.JSONB(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("discarded_by", sa.Text()),
        sa.Column("discarded_reason", sa.Text()),
        sa.CheckConstraint(
            "(discarded_at IS NULL) = (discarded_reason IS NULL)",
            name=op.f("ck_waiting_events_discarded_for_a_reason"),
        ),
        sa.CheckConstraint(
            "cancelled_by IS NULL OR discarded_at IS NOT NULL", name=op.f("ck_waiting_events_cancelled_is_discarded")
        ),
        sa.PrimaryKeyConstraint("organization_id", "event_key", name=op.f("pk_waiting_events")),
    )
    op.create_index(
        "ix_waiting_events_organization_id_meter_code_occurred_at",
        "waiting_events",
        ["organization_id", "meter_code", "occurred_at"],
        postgresql_where=sa.text("discarded_at IS NULL"),
    )
    op.execute("ALTER TABLE waiting_events ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE waiting_events FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON waiting_events TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY own_rows ON waiting_events TO portal_tenant USING ({OWN_ROW}) WITH CHECK ({OWN_ROW})")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON waiting_events TO {EVERYTHING}")
    op.execute("GRANT SELECT, INSERT ON waiting_events TO portal_tenant")
    # A sender cancels what waits; what it has sent stays as it was.
    op.execute("GRANT UPDATE (discarded_at, discarded_reason, cancelled_by) ON waiting_events TO portal_tenant")


def downgrade() -> None:
    op.drop_table("waiting_events")
