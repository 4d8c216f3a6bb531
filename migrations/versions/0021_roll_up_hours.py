"""Usage by the hour and by source, folded a moment after it was stored from one row that each batch leaves."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"

OWN_ROW = "organization_id = NULLIF(current_setting('app.organization_id', true), '')::bigint"
EVERYTHING = "portal_staff, portal_system"
FINITE = "quantity < 'Infinity' AND quantity > '-Infinity'"
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    # A batch that is stored meanwhile would be in neither the rows below nor a row of its own.
    op.execute("LOCK TABLE usage_events IN SHARE MODE")
    _create_unfolded()
    op.create_table(
        "usage_hourly",
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hour", MOMENT, nullable=False),
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("meter_id", sa.BigInteger(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=38, scale=12), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.CheckConstraint(FINITE, name=op.f("ck_usage_hourly_quantity_finite")),
        sa.PrimaryKeyConstraint("organization_id", "hour", "series_id", name=op.f("pk_usage_hourly")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "usage_heard",
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("hour", MOMENT, nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        sa.Column("heard_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "source", "hour", name=op.f("pk_usage_heard")),
        postgresql_with={"fillfactor": 50},
    )
    for table in ("usage_hourly", "usage_heard"):
        _protect(table, OWN_ROW)
        op.execute(f"GRANT SELECT ON {table} TO portal_tenant")
    _fill()


def _create_unfolded() -> None:
    op.create_table(
        "usage_unfolded",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("recorded_at", MOMENT, nullable=False),
        sa.Column("organization_id", sa.BigInteger()),
        sa.Column("source", sa.Text()),
        sa.Column("organizations", postgresql.ARRAY(sa.BigInteger())),
        sa.Column("sources", postgresql.ARRAY(sa.Text())),
        sa.Column("series", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("meters", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("latest", postgresql.ARRAY(MOMENT), nullable=False),
        sa.Column("quantities", postgresql.ARRAY(sa.Numeric()), nullable=False),
        sa.Column("events", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.CheckConstraint(
            "(organization_id IS NULL) = (organizations IS NOT NULL)",
            name=op.f("ck_usage_unfolded_organizations_where_mixed"),
        ),
        sa.CheckConstraint(
            "(source IS NULL) = (sources IS NOT NULL)", name=op.f("ck_usage_unfolded_sources_where_mixed")
        ),
        sa.CheckConstraint(
            "cardinality(series) = ALL (ARRAY[cardinality(meters), cardinality(latest), cardinality(quantities),"
            " cardinality(events), coalesce(cardinality(organizations), cardinality(series)),"
            " coalesce(cardinality(sources), cardinality(series))])",
            name=op.f("ck_usage_unfolded_entries_complete"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_unfolded")),
    )
    op.create_index("ix_usage_unfolded_recorded_at", "usage_unfolded", ["recorded_at"])
    # Rows live for seconds; what they leave is swept by their number, not by their share of a table that is empty.
    op.execute(
        "ALTER TABLE usage_unfolded SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000)"
    )
    # And they are not worth being compressed: that costs more than writing them.
    for column in ("organizations", "sources", "series", "meters", "latest", "quantities", "events"):
        op.execute(f"ALTER TABLE usage_unfolded ALTER COLUMN {column} SET STORAGE EXTERNAL")
    # A tenant only adds, and only for itself.
    _protect("usage_unfolded", OWN_ROW)
    op.execute("GRANT INSERT ON usage_unfolded TO portal_tenant")


def _fill() -> None:
    """From the events; as the system, because the owner of the tables reads no rows: row level security binds it."""
    op.execute("SET LOCAL ROLE portal_system")
    op.execute("""
        INSERT INTO usage_hourly (organization_id, hour, series_id, meter_id, quantity, events)
        SELECT e.organization_id, date_trunc('hour', e.occurred_at, 'UTC'), e.series_id, e.meter_id,
               sum(CASE m.aggregation WHEN 'sum' THEN e.quantity ELSE 1 END), count(*)
        FROM usage_events AS e
        JOIN meters AS m ON m.id = e.meter_id
        LEFT JOIN usage_events AS c ON c.organization_id = e.organization_id AND c.corrects = e.event_key
        WHERE m.aggregation IN ('sum', 'count') AND e.counts AND c.event_key IS NULL
        GROUP BY 1, 2, 3, 4
    """)
    op.execute("""
        INSERT INTO usage_heard (organization_id, source, hour, events, last_at, heard_at)
        SELECT organization_id, source, date_trunc('hour', occurred_at, 'UTC'), count(*), max(occurred_at),
               max(recorded_at)
        FROM usage_events WHERE counts GROUP BY 1, 2, 3
    """)
    op.execute("RESET ROLE")


def _protect(table: str, condition: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON {table} TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY own_rows ON {table} TO portal_tenant USING ({condition}) WITH CHECK ({condition})")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {EVERYTHING}")


def downgrade() -> None:
    for table in ("usage_heard", "usage_hourly", "usage_unfolded"):
        op.drop_table(table)
