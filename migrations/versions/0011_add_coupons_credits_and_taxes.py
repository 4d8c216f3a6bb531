"""What stands between the lines and the amount due: coupons, credits that were given or paid for, and taxes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"

OWN_ROW = "organization_id = NULLIF(current_setting('app.organization_id', true), '')::bigint"
EVERYTHING = "portal_staff, portal_system"
LINE_KINDS = ("usage", "recurring", "one_off", "credit", "adjustment")
MORE_LINE_KINDS = ("usage", "recurring", "true_up", *LINE_KINDS[2:], "reservation", "coupon", "promotional", "tax")
# Each with who may see it beside staff and system: a tenant its own rows, and what holds for everybody.
PROTECTED = {
    "coupon_redemptions": OWN_ROW,
    "credit_grants": OWN_ROW,
    "credit_entries": OWN_ROW,
    "tax_rates": f"organization_id IS NULL OR {OWN_ROW}",
}
CURRENCY_OF_ORGANIZATION = ("invoices", "prices")
APPEND_ONLY = ("credit_entries", "tax_rates")


def upgrade() -> None:
    op.create_table(
        "coupons",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("percent", sa.Numeric(9, 6)),
        sa.Column("amount", sa.BigInteger()),
        sa.Column("currency", sa.Text()),
        sa.Column("products", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("months", sa.Integer()),
        sa.Column("stacks", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("redeem_by", sa.Date()),
        sa.Column("archived_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("(amount IS NULL) = (currency IS NULL)", name=op.f("ck_coupons_amount_has_a_currency")),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_coupons_amount_not_negative")),
        sa.CheckConstraint("months > 0", name=op.f("ck_coupons_months_positive")),
        sa.CheckConstraint("percent >= 0 AND percent <= 100", name=op.f("ck_coupons_percent_in_range")),
        sa.CheckConstraint("(percent IS NULL) <> (amount IS NULL)", name=op.f("ck_coupons_percent_or_amount")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_coupons")),
        sa.UniqueConstraint("code", name=op.f("uq_coupons_code")),
        sa.UniqueConstraint("public_id", name=op.f("uq_coupons_public_id")),
    )
    op.create_table(
        "coupon_redemptions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("coupon_id", sa.BigInteger(), nullable=False),
        sa.Column("first_month", sa.Date(), nullable=False),
        sa.Column("last_month", sa.Date()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "last_month IS NULL OR last_month >= first_month", name=op.f("ck_coupon_redemptions_months_in_order")
        ),
        sa.ForeignKeyConstraint(["coupon_id"], ["coupons.id"], name=op.f("fk_coupon_redemptions_coupon_id")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_coupon_redemptions_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_coupon_redemptions")),
        sa.UniqueConstraint("public_id", name=op.f("uq_coupon_redemptions_public_id")),
    )
    op.create_index("ix_coupon_redemptions_organization_id", "coupon_redemptions", ["organization_id"])

    op.create_table(
        "credit_grants",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("rank", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("expires_on", sa.Date()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("ck_credit_grants_amount_positive")),
        sa.CheckConstraint("kind IN ('promotional', 'prepaid')", name=op.f("ck_credit_grants_kind_known")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_credit_grants_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_grants")),
        sa.UniqueConstraint("public_id", name=op.f("uq_credit_grants_public_id")),
    )
    op.create_index("ix_credit_grants_organization_id", "credit_grants", ["organization_id"])
    op.create_table(
        "credit_entries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("credit_grant_id", sa.BigInteger(), nullable=False),
        sa.Column("invoice_id", sa.BigInteger()),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["credit_grant_id"], ["credit_grants.id"], name=op.f("fk_credit_entries_credit_grant_id")
        ),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_credit_entries_invoice_id")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_credit_entries_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_entries")),
    )
    for column in ("credit_grant_id", "organization_id", "invoice_id"):
        op.create_index(f"ix_credit_entries_{column}", "credit_entries", [column])

    op.create_table(
        "tax_rates",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("organization_id", sa.BigInteger()),
        sa.Column("product_id", sa.BigInteger()),
        sa.Column("percent", sa.Numeric(9, 6), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("percent >= 0 AND percent < 'Infinity'", name=op.f("ck_tax_rates_percent_not_negative")),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_tax_rates_organization_id")),
        sa.ForeignKeyConstraint(["product_id"], ["products.id"], name=op.f("fk_tax_rates_product_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tax_rates")),
        sa.UniqueConstraint("public_id", name=op.f("uq_tax_rates_public_id")),
    )
    op.create_index(
        "uq_tax_rates_place",
        "tax_rates",
        ["organization_id", "product_id", "valid_from"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )

    _let_invoices_hold_them()
    for table, condition in PROTECTED.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY everything ON {table} TO {EVERYTHING} USING (true) WITH CHECK (true)")
        op.execute(f"CREATE POLICY own_rows ON {table} TO portal_tenant USING ({condition})")
        op.execute(f"GRANT SELECT, INSERT ON {table} TO {EVERYTHING}")
        op.execute(f"GRANT SELECT ON {table} TO portal_tenant")
    # Ending a coupon of an organization sets its last month; locking a grant needs the right to update it.
    op.execute(f"GRANT UPDATE ON coupon_redemptions, credit_grants TO {EVERYTHING}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON coupons TO {EVERYTHING}")
    op.execute("GRANT SELECT ON coupons TO portal_tenant")
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )


def _let_invoices_hold_them() -> None:
    op.create_unique_constraint(op.f("uq_organizations_id_currency"), "organizations", ["id", "currency"])
    for table in CURRENCY_OF_ORGANIZATION:
        name = op.f(f"fk_{table}_organization_id_currency")
        op.create_foreign_key(name, table, "organizations", ["organization_id", "currency"], ["id", "currency"])
        op.drop_constraint(op.f(f"fk_{table}_organization_id"), table)
    op.add_column("organizations", sa.Column("tax_treatment", sa.Text(), server_default="standard", nullable=False))
    op.add_column("organizations", sa.Column("tax_rounding", sa.Text(), server_default="sum_by_net", nullable=False))
    op.add_column(
        "organizations",
        sa.Column("prices_include_tax", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.create_check_constraint(
        op.f("ck_organizations_tax_treatment_known"),
        "organizations",
        "tax_treatment IN ('standard', 'exempt', 'reverse_charge')",
    )
    op.create_check_constraint(
        op.f("ck_organizations_tax_rounding_known"),
        "organizations",
        "tax_rounding IN ('line', 'sum_by_net', 'keep_gross')",
    )
    for column in ("tax", "credits_applied"):
        op.add_column("invoices", sa.Column(column, sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("invoices", sa.Column("tax_details", postgresql.JSONB()))
    _replace_invoice_checks(
        "amount_due = greatest(total, 0) - credits_applied - balance_applied",
        "credits_applied >= 0 AND balance_applied >= 0 AND amount_due >= 0",
        MORE_LINE_KINDS,
    )
    for column in ("discount", "credited", "tax"):
        op.add_column("invoice_items", sa.Column(column, sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.create_index("ix_invoice_items_price_version_id", "invoice_items", ["price_version_id"])
    for column, table in (("coupon_redemption_id", "coupon_redemptions"), ("credit_grant_id", "credit_grants")):
        op.add_column("invoice_items", sa.Column(column, sa.BigInteger()))
        op.create_foreign_key(op.f(f"fk_invoice_items_{column}"), "invoice_items", table, [column], ["id"])


def _replace_invoice_checks(adds_up: str, not_negative: str, kinds: tuple[str, ...]) -> None:
    for table, name, condition in (
        ("invoices", "amount_due_adds_up", adds_up),
        ("invoices", "amounts_not_negative", not_negative),
        ("invoice_items", "kind_known", f"kind IN ({', '.join(map(repr, kinds))})"),
    ):
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table)
        op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, condition)


def downgrade() -> None:
    op.drop_index("ix_invoice_items_price_version_id", "invoice_items")
    for column in ("coupon_redemption_id", "credit_grant_id", "discount", "credited", "tax"):
        op.drop_column("invoice_items", column)
    _replace_invoice_checks(
        "amount_due = greatest(total, 0) - balance_applied", "balance_applied >= 0 AND amount_due >= 0", LINE_KINDS
    )
    for column in ("tax", "tax_details", "credits_applied"):
        op.drop_column("invoices", column)
    for column in ("tax_treatment", "tax_rounding", "prices_include_tax"):
        op.drop_column("organizations", column)
    for table in CURRENCY_OF_ORGANIZATION:
        op.create_foreign_key(op.f(f"fk_{table}_organization_id"), table, "organizations", ["organization_id"], ["id"])
        op.drop_constraint(op.f(f"fk_{table}_organization_id_currency"), table)
    op.drop_constraint(op.f("uq_organizations_id_currency"), "organizations")
    for table in ("tax_rates", "credit_entries", "credit_grants", "coupon_redemptions", "coupons"):
        op.drop_table(table)
