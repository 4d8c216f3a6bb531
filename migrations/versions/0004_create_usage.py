"""What was used. No foreign keys or triggers, and the organization in every key: these tables can be spread over machines."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "usage_events",
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_key", sa.Uuid(), nullable=False),
        sa.Column("meter_id", sa.BigInteger(), nullable=False),
        sa.Column("series_id", sa.BigInteger(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("correction", sa.Boolean(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=38, scale=12), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("properties", postgresql.JSONB(none_as_null=True)),
        sa.CheckConstraint(
            "quantity < 'Infinity' AND quantity > '-Infinity'", name=op.f("ck_usage_events_quantity_finite")
        ),
        sa.CheckConstraint("quantity >= 0 OR correction", name=op.f("ck_usage_events_negative_only_as_correction")),
        sa.PrimaryKeyConstraint("organization_id", "event_key", name=op.f("pk_usage_events")),
    )
    op.create_index("ix_usage_events_occurred_at", "usage_events", ["occurred_at"], postgresql_using="brin")

    op.create_table(
        "usage_series",
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("meter_id", sa.BigInteger(), nullable=False),
        sa.Column("dimensions", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "series_id", name=op.f("pk_usage_series")),
    )

    op.create_table(
        "usage_daily",
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("meter_id", sa.BigInteger(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=38, scale=12), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "quantity < 'Infinity' AND quantity > '-Infinity'", name=op.f("ck_usage_daily_quantity_finite")
        ),
        sa.PrimaryKeyConstraint("organization_id", "day", "series_id", name=op.f("pk_usage_daily")),
    )

    # Room on each page, so that nearly all updates of a rollup stay on it and touch no index.
    op.execute("ALTER TABLE usage_daily SET (fillfactor = 50)")


def downgrade() -> None:
    op.drop_table("usage_daily")
    op.drop_table("usage_series")
    op.drop_table("usage_events")
