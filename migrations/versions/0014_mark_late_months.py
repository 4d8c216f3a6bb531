"""The months of an organization for which usage came after they were over, and who has billed which days."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

OWN_ROW = "organization_id = NULLIF(current_setting('app.organization_id', true), '')::bigint"
EVERYTHING = "portal_staff, portal_system"


def upgrade() -> None:
    op.create_table(
        "late_months",
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "month", name=op.f("pk_late_months")),
    )
    op.create_index("ix_billed_usage_organization_id_day", "billed_usage", ["organization_id", "day"])
    op.execute("ALTER TABLE late_months ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE late_months FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON late_months TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY own_rows ON late_months TO portal_tenant USING ({OWN_ROW}) WITH CHECK ({OWN_ROW})")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON late_months TO portal_tenant, {EVERYTHING}")
    op.execute(f"GRANT DELETE ON late_months TO {EVERYTHING}")
    # What came late before there were marks was kept, and billed by nobody. The owner of the tables reads no rows.
    op.execute("SET LOCAL ROLE portal_system")
    op.execute("""
        INSERT INTO late_months (organization_id, month)
        SELECT DISTINCT i.organization_id, i.period_start
        FROM invoices AS i
        JOIN usage_daily AS u
          ON u.organization_id = i.organization_id AND u.day >= i.period_start AND u.day < i.period_end
        LEFT JOIN billed_usage AS b ON b.invoice_id = i.id AND b.day = u.day AND b.series_id = u.series_id
        WHERE i.state IN ('scheduled', 'finalized') AND u.quantity IS DISTINCT FROM b.quantity
    """)
    op.execute("RESET ROLE")


def downgrade() -> None:
    op.drop_index("ix_billed_usage_organization_id_day", "billed_usage")
    op.drop_table("late_months")
