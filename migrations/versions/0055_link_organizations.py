"""Which organization pays for which others, in which months, and what was moved from their invoices to the payer's."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0055"
down_revision = "0054"

OWN_ROW = "organization_id = NULLIF(current_setting('app.organization_id', true), '')::bigint"
EVERYTHING = "portal_staff, portal_system"
DUE_BEFORE = "amount_due = greatest(total, 0) - credits_applied - balance_applied"
CHECKS = {
    "amount_due_adds_up": f"{DUE_BEFORE} + moved",
    "moved_to_a_payer": "moved >= 0 OR (payer_organization_id IS NOT NULL AND amount_due = 0)",
}


def upgrade() -> None:
    _create_links()
    _create_billed_parts()
    op.add_column("invoices", sa.Column("payer_organization_id", sa.BigInteger()))
    op.add_column("invoices", sa.Column("payer_name", sa.Text()))
    op.add_column("invoices", sa.Column("moved", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("invoices", sa.Column("sections", JSONB()))
    op.drop_constraint(op.f("ck_invoices_amount_due_adds_up"), "invoices")
    for name, rule in CHECKS.items():
        op.execute(f"ALTER TABLE invoices ADD CONSTRAINT ck_invoices_{name} CHECK ({rule}) NOT VALID")
    # Reading the rows from before takes a weak lock only, once the strong ones above are given back.
    with op.get_context().autocommit_block():
        for name in CHECKS:
            op.execute(f"ALTER TABLE invoices VALIDATE CONSTRAINT ck_invoices_{name}")


def _create_links() -> None:
    op.create_table(
        "payer_links",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("payer_id", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("end_day", sa.Date()),
        sa.CheckConstraint("organization_id <> payer_id", name=op.f("ck_payer_links_two_organizations")),
        sa.CheckConstraint("end_day >= first_day", name=op.f("ck_payer_links_ends_after_its_start")),
        sa.ForeignKeyConstraint(
            ["organization_id", "currency"],
            ["organizations.id", "organizations.currency"],
            name=op.f("fk_payer_links_organization_id"),
        ),
        sa.ForeignKeyConstraint(
            ["payer_id", "currency"],
            ["organizations.id", "organizations.currency"],
            name=op.f("fk_payer_links_payer_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payer_links")),
    )
    op.create_index("ix_payer_links_payer_id", "payer_links", ["payer_id"])
    op.create_index("ix_payer_links_organization_id", "payer_links", ["organization_id"])
    op.create_index(
        "uq_payer_links_open",
        "payer_links",
        ["organization_id"],
        unique=True,
        postgresql_where=sa.text("end_day IS NULL"),
    )
    # Staff only: no tenant reads who else its payer pays for.
    _protect("payer_links", "SELECT, INSERT, UPDATE")


def _create_billed_parts() -> None:
    op.create_table(
        "billed_parts",
        sa.Column("invoice_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("payer_invoice_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Text()),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_billed_parts_invoice_id")),
        sa.ForeignKeyConstraint(["payer_invoice_id"], ["invoices.id"], name=op.f("fk_billed_parts_payer_invoice_id")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_billed_parts_organization_id")
        ),
        sa.PrimaryKeyConstraint("invoice_id", name=op.f("pk_billed_parts")),
    )
    op.create_index("ix_billed_parts_organization_id", "billed_parts", ["organization_id"])
    op.create_index("ix_billed_parts_payer_invoice_id", "billed_parts", ["payer_invoice_id"])
    _protect("billed_parts", "SELECT, INSERT, UPDATE, DELETE")
    # On which invoice its amount is: nothing else of that invoice.
    op.execute(f"CREATE POLICY own_rows ON billed_parts TO portal_tenant USING ({OWN_ROW})")
    op.execute("GRANT SELECT ON billed_parts TO portal_tenant")


def _protect(table: str, rights: str) -> None:
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON {table} TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(f"GRANT {rights} ON {table} TO {EVERYTHING}")


def downgrade() -> None:
    for name in CHECKS:
        op.drop_constraint(op.f(f"ck_invoices_{name}"), "invoices")
    op.execute(f"ALTER TABLE invoices ADD CONSTRAINT ck_invoices_amount_due_adds_up CHECK ({DUE_BEFORE})")
    for column in ("sections", "moved", "payer_name", "payer_organization_id"):
        op.drop_column("invoices", column)
    op.drop_table("billed_parts")
    op.drop_table("payer_links")
