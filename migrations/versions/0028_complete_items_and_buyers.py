"""What a one-off item and a buyer still lacked: service periods, item templates, countries, purchase orders, memos.

And the totals of drafts as lists show them, refreshed by the clock and never used for billing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"

EVERYTHING = "portal_staff, portal_system"
# What owners and billing of an organization may change of it; row level security says of which one.
BUYER = "legal_name, address, country, tax_id, purchase_order"


def upgrade() -> None:
    op.add_column("organizations", sa.Column("country", sa.Text()))
    op.create_check_constraint(op.f("ck_organizations_country_is_iso"), "organizations", "country ~ '^[A-Z]{2}$'")
    for name in ("purchase_order", "memo"):
        op.add_column("invoices", sa.Column(name, sa.Text()))
    op.execute(f"GRANT UPDATE ({BUYER}) ON organizations TO portal_tenant")
    op.execute("GRANT UPDATE (purchase_order) ON invoices TO portal_tenant")
    op.add_column("one_off_items", sa.Column("service_start", sa.Date()))
    op.add_column("one_off_items", sa.Column("service_end", sa.Date()))
    op.add_column("one_off_items", sa.Column("product", sa.Text()))
    op.create_check_constraint(
        op.f("ck_one_off_items_service_period_whole"),
        "one_off_items",
        "(service_start IS NULL) = (service_end IS NULL) AND service_start <= service_end",
    )
    op.create_table(
        "item_templates",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("name", "kind", "description", "currency")),
        sa.Column("quantity", sa.Numeric(38, 12), nullable=False),
        sa.Column("unit_amount", sa.Numeric(38, 12), nullable=False),
        sa.Column("product", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("kind IN ('charge', 'credit')", name=op.f("ck_item_templates_kind_known")),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_item_templates_currency_is_iso")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_item_templates")),
        sa.UniqueConstraint("public_id", name=op.f("uq_item_templates_public_id")),
    )
    op.create_index(
        "uq_item_templates_name",
        "item_templates",
        [sa.text("lower(name)")],
        unique=True,
        postgresql_where=sa.text("retired_at IS NULL"),
    )
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON item_templates TO {EVERYTHING}")
    op.create_table(
        "draft_totals",
        sa.Column("invoice_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("amount_due", sa.BigInteger(), nullable=False),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_draft_totals_invoice_id")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_draft_totals_organization_id")
        ),
        sa.PrimaryKeyConstraint("invoice_id", name=op.f("pk_draft_totals")),
    )
    op.create_index("ix_draft_totals_organization_id", "draft_totals", ["organization_id"])
    # Nothing of it is for tenants, whose pages compute the draft itself: no right, and so no policy of theirs.
    op.execute("ALTER TABLE draft_totals ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE draft_totals FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON draft_totals TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON draft_totals TO {EVERYTHING}")


def downgrade() -> None:
    op.drop_table("draft_totals")
    op.drop_table("item_templates")
    op.drop_constraint(op.f("ck_one_off_items_service_period_whole"), "one_off_items")
    for name in ("product", "service_end", "service_start"):
        op.drop_column("one_off_items", name)
    op.execute("REVOKE UPDATE (purchase_order) ON invoices FROM portal_tenant")
    op.execute(f"REVOKE UPDATE ({BUYER}) ON organizations FROM portal_tenant")
    for name in ("memo", "purchase_order"):
        op.drop_column("invoices", name)
    op.drop_constraint(op.f("ck_organizations_country_is_iso"), "organizations")
    op.drop_column("organizations", "country")
