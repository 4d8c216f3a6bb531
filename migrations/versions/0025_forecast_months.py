"""Forecasts as they were made, one a day of a month: tenants read their own."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"

OWN_ROW = "organization_id = NULLIF(current_setting('app.organization_id', true), '')::bigint"
EVERYTHING = "portal_staff, portal_system"


def upgrade() -> None:
    op.create_table(
        "forecasts",
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("so_far", sa.BigInteger(), nullable=False),
        sa.Column("expected", sa.BigInteger(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("extract(day FROM month) = 1", name=op.f("ck_forecasts_month_is_its_first_day")),
        sa.CheckConstraint(
            "day >= month AND day < month + interval '1 month'", name=op.f("ck_forecasts_day_lies_in_its_month")
        ),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_forecasts_organization_id")),
        sa.PrimaryKeyConstraint("organization_id", "month", "day", name=op.f("pk_forecasts")),
    )
    op.execute("ALTER TABLE forecasts ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE forecasts FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON forecasts TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY own_rows ON forecasts TO portal_tenant USING ({OWN_ROW})")
    op.execute("GRANT SELECT ON forecasts TO portal_tenant")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON forecasts TO {EVERYTHING}")


def downgrade() -> None:
    op.drop_table("forecasts")
