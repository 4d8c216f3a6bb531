"""How a meter turns reports into a quantity; corrections that name an event; rollups by the day they were heard of."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

OWN_ROW = "organization_id = NULLIF(current_setting('app.organization_id', true), '')::bigint"
EVERYTHING = "portal_staff, portal_system"
AGGREGATIONS = ("sum", "count", "max", "latest", "unique", "level")
FINITE = "quantity < 'Infinity' AND quantity > '-Infinity'"
# What a meter that does not simply add up remembers: the state from which its days follow.
STATES = ("usage_readings", "usage_subjects", "usage_changes", "usage_levels")


def upgrade() -> None:
    op.add_column("meters", sa.Column("aggregation", sa.Text(), nullable=False, server_default="sum"))
    op.add_column("meters", sa.Column("subject", sa.Text()))
    op.add_column("meters", sa.Column("per", sa.Text()))
    op.create_check_constraint("aggregation_known", "meters", f"aggregation IN {AGGREGATIONS}")
    op.create_check_constraint("subject_of_unique", "meters", "(aggregation = 'unique') = (subject IS NOT NULL)")
    op.create_check_constraint(
        "per_of_level", "meters", "(aggregation = 'level') = (per IS NOT NULL) AND per IN ('hour', 'day', 'month')"
    )

    op.add_column("usage_events", sa.Column("counts", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("usage_events", sa.Column("corrects", sa.Uuid()))
    op.create_index(
        "uq_usage_events_organization_id_corrects",
        "usage_events",
        ["organization_id", "corrects"],
        unique=True,
        postgresql_where=sa.text("corrects IS NOT NULL"),
    )
    op.create_index("ix_usage_events_recorded_at", "usage_events", ["recorded_at"], postgresql_using="brin")
    _rebuild_rollups()
    _create_states()


def _rebuild_rollups() -> None:
    """Rollups by the day that they were heard of, from the events; those of a month and series stay side by side."""
    op.rename_table("usage_daily", "usage_daily_before")
    op.execute("ALTER INDEX pk_usage_daily RENAME TO pk_usage_daily_before")
    op.create_table(
        "usage_daily",
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("recorded_day", sa.Date(), nullable=False),
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("meter_id", sa.BigInteger(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=38, scale=12), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(FINITE, name=op.f("ck_usage_daily_quantity_finite")),
        sa.PrimaryKeyConstraint("organization_id", "day", "series_id", "recorded_day", name=op.f("pk_usage_daily")),
    )
    op.execute("ALTER TABLE usage_daily SET (fillfactor = 50)")
    _protect("usage_daily", "SELECT, INSERT, UPDATE")
    # The owner of the tables reads no rows: row level security holds for it too.
    op.execute("SET LOCAL ROLE portal_system")
    op.execute("""
        INSERT INTO usage_daily (organization_id, day, recorded_day, series_id, meter_id, quantity, events, updated_at)
        SELECT organization_id, (occurred_at AT TIME ZONE 'UTC')::date, (recorded_at AT TIME ZONE 'UTC')::date,
               series_id, meter_id, sum(quantity), count(*), max(recorded_at)
        FROM usage_events GROUP BY 1, 2, 3, 4, 5
    """)
    op.execute("RESET ROLE")
    op.drop_table("usage_daily_before")


def _create_states() -> None:
    op.create_table(
        "usage_readings",
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=38, scale=12), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "series_id", "day", name=op.f("pk_usage_readings")),
    )
    op.create_table(
        "usage_subjects",
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("subject", sa.Uuid(), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "series_id", "month", "subject", name=op.f("pk_usage_subjects")),
    )
    op.create_table(
        "usage_changes",
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("event_key", sa.Uuid(), nullable=False),
        sa.Column("level", sa.Numeric(precision=38, scale=12), nullable=False),
        sa.PrimaryKeyConstraint(
            "organization_id", "series_id", "occurred_at", "event_key", name=op.f("pk_usage_changes")
        ),
    )
    op.create_table(
        "usage_levels",
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("meter_id", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.Numeric(precision=38, scale=12), nullable=False),
        sa.Column("counted_until", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "series_id", name=op.f("pk_usage_levels")),
    )
    # The levels that have to be counted on from day to day: few beside those that have fallen to nothing.
    op.create_index(
        "ix_usage_levels_counted_until", "usage_levels", ["counted_until"], postgresql_where=sa.text("level <> 0")
    )
    for table in STATES:
        _protect(table, "SELECT, INSERT, UPDATE, DELETE")
    # A series' row is what two batches wait for each other at, where its days do not simply add up.
    op.execute("GRANT UPDATE ON usage_series TO portal_tenant")


def _protect(table: str, rights: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON {table} TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY own_rows ON {table} TO portal_tenant USING ({OWN_ROW}) WITH CHECK ({OWN_ROW})")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {EVERYTHING}")
    op.execute(f"GRANT {rights} ON {table} TO portal_tenant")


def downgrade() -> None:
    for table in STATES:
        op.drop_table(table)
    op.execute("REVOKE UPDATE ON usage_series FROM portal_tenant")
    _merge_rollups()
    op.drop_index("ix_usage_events_recorded_at", "usage_events")
    op.drop_index("uq_usage_events_organization_id_corrects", "usage_events")
    op.drop_column("usage_events", "corrects")
    op.drop_column("usage_events", "counts")
    for name in ("aggregation_known", "subject_of_unique", "per_of_level"):
        op.drop_constraint(op.f(f"ck_meters_{name}"), "meters", type_="check")
    for column in ("aggregation", "subject", "per"):
        op.drop_column("meters", column)


def _merge_rollups() -> None:
    op.rename_table("usage_daily", "usage_daily_after")
    op.execute("ALTER INDEX pk_usage_daily RENAME TO pk_usage_daily_after")
    op.create_table(
        "usage_daily",
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("meter_id", sa.BigInteger(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=38, scale=12), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(FINITE, name=op.f("ck_usage_daily_quantity_finite")),
        sa.PrimaryKeyConstraint("organization_id", "day", "series_id", name=op.f("pk_usage_daily")),
    )
    op.execute("ALTER TABLE usage_daily SET (fillfactor = 50)")
    _protect("usage_daily", "SELECT, INSERT, UPDATE")
    op.execute("SET LOCAL ROLE portal_system")
    op.execute("""
        INSERT INTO usage_daily (organization_id, day, series_id, meter_id, quantity, events, updated_at)
        SELECT organization_id, day, series_id, meter_id, sum(quantity), sum(events), max(updated_at)
        FROM usage_daily_after GROUP BY 1, 2, 3, 4
    """)
    op.execute("RESET ROLE")
    op.drop_table("usage_daily_after")
