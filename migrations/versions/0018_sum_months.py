"""Month totals, kept by whatever makes an invoice final or void: of each organization, and of the platform."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

OWN_ROW = "organization_id = NULLIF(current_setting('app.organization_id', true), '')::bigint"
EVERYTHING = "portal_staff, portal_system"
COUNTED = ("invoices", "tax", "total", "credited", "amount_due")


def upgrade() -> None:
    op.create_table(
        "invoice_months",
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        *_counted(),
        sa.CheckConstraint("extract(day FROM month) = 1", name=op.f("ck_invoice_months_month_is_its_first_day")),
        sa.ForeignKeyConstraint(
            ["organization_id", "currency"],
            ["organizations.id", "organizations.currency"],
            name=op.f("fk_invoice_months_organization_id_currency"),
        ),
        sa.PrimaryKeyConstraint("organization_id", "month", "currency", name=op.f("pk_invoice_months")),
    )
    op.create_table(
        "platform_months",
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("slot", sa.SmallInteger(), autoincrement=False, nullable=False),
        *_counted(),
        sa.CheckConstraint("extract(day FROM month) = 1", name=op.f("ck_platform_months_month_is_its_first_day")),
        sa.PrimaryKeyConstraint("month", "currency", "slot", name=op.f("pk_platform_months")),
    )
    # A row of the platform is written again by every invoice of its slot; half a page is left for its versions.
    op.execute("ALTER TABLE platform_months SET (fillfactor = 50)")
    op.execute("ALTER TABLE invoice_months ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE invoice_months FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON invoice_months TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY own_rows ON invoice_months TO portal_tenant USING ({OWN_ROW})")
    op.execute("GRANT SELECT ON invoice_months TO portal_tenant")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON invoice_months, platform_months TO {EVERYTHING}")
    _fill()


def _counted() -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False) for name in COUNTED]


def _fill() -> None:
    """From the invoices that are final already, while none becomes final or void."""
    op.execute("LOCK TABLE invoices IN SHARE ROW EXCLUSIVE MODE")
    # The owner of the tables reads no rows: row level security holds for it too.
    op.execute("SET LOCAL ROLE portal_system")
    op.execute("""
        INSERT INTO invoice_months (organization_id, month, currency, invoices, tax, total, amount_due)
        SELECT organization_id, date_trunc('month', period_start)::date, currency,
               count(*), sum(tax), sum(total), sum(amount_due)
        FROM invoices WHERE state = 'finalized' GROUP BY 1, 2, 3
    """)
    op.execute("""
        INSERT INTO platform_months (month, currency, slot, invoices, tax, total, amount_due)
        SELECT month, currency, organization_id % 8, sum(invoices), sum(tax), sum(total), sum(amount_due)
        FROM invoice_months GROUP BY 1, 2, 3
    """)
    op.execute("RESET ROLE")


def downgrade() -> None:
    op.drop_table("platform_months")
    op.drop_table("invoice_months")
