"""What is owed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "number_series",
        sa.Column("series", sa.Text(), nullable=False),
        sa.Column("last_number", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("series", name=op.f("pk_number_series")),
    )

    op.create_table(
        "invoices",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), server_default="monthly", nullable=False),
        sa.Column("period_start", sa.Date(), nullable=False),
        sa.Column("period_end", sa.Date(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="draft", nullable=False),
        sa.Column("sync_state", sa.Text(), server_default="none", nullable=False),
        sa.Column("payment_state", sa.Text(), server_default="none", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("total", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("balance_applied", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("amount_due", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("fingerprint", sa.Text()),
        sa.Column("finalize_at", sa.DateTime(timezone=True)),
        sa.Column("scheduled_by", sa.Text()),
        sa.Column("number", sa.Text()),
        sa.Column("finalized_at", sa.DateTime(timezone=True)),
        sa.Column("invoiced_at", sa.DateTime(timezone=True)),
        sa.Column("due_date", sa.Date()),
        sa.Column("document", postgresql.JSONB(none_as_null=True)),
        sa.Column("content_sha256", sa.Text()),
        sa.Column("stripe_id", sa.Text()),
        sa.Column("stripe_status", sa.Text()),
        sa.Column("hosted_invoice_url", sa.Text()),
        sa.Column("sync_message", sa.Text()),
        sa.Column("synced_at", sa.DateTime(timezone=True)),
        sa.Column("amount_paid", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("paid_at", sa.DateTime(timezone=True)),
        sa.Column("payment_message", sa.Text()),
        sa.Column("voided_at", sa.DateTime(timezone=True)),
        sa.Column("void_reason", sa.Text()),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_invoices_currency_is_iso")),
        sa.CheckConstraint("kind IN ('monthly')", name=op.f("ck_invoices_kind_known")),
        sa.CheckConstraint(
            "payment_state IN ('none', 'open', 'processing', 'action_required', 'failed', 'paid', 'uncollectible', 'refunded', 'disputed')",
            name=op.f("ck_invoices_payment_state_known"),
        ),
        sa.CheckConstraint(
            "state IN ('draft', 'scheduled', 'finalized', 'void')", name=op.f("ck_invoices_state_known")
        ),
        sa.CheckConstraint(
            "sync_state IN ('none', 'pending', 'unknown', 'synced', 'mismatch', 'dead')",
            name=op.f("ck_invoices_sync_state_known"),
        ),
        sa.CheckConstraint("(number IS NULL) = (finalized_at IS NULL)", name=op.f("ck_invoices_number_when_finalized")),
        sa.CheckConstraint(
            "amount_due = greatest(total, 0) - balance_applied", name=op.f("ck_invoices_amount_due_adds_up")
        ),
        sa.CheckConstraint("balance_applied >= 0 AND amount_due >= 0", name=op.f("ck_invoices_amounts_not_negative")),
        sa.CheckConstraint("period_end > period_start", name=op.f("ck_invoices_period_not_empty")),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_invoices_organization_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoices")),
        sa.UniqueConstraint("number", name=op.f("uq_invoices_number")),
        sa.UniqueConstraint("public_id", name=op.f("uq_invoices_public_id")),
        sa.UniqueConstraint("stripe_id", name=op.f("uq_invoices_stripe_id")),
    )
    op.create_index("ix_invoices_period_start_state", "invoices", ["period_start", "state"])
    op.create_index(
        "ix_invoices_sync_state",
        "invoices",
        ["sync_state"],
        postgresql_where=sa.text("sync_state NOT IN ('none', 'synced')"),
    )
    op.create_index(
        "uq_invoices_organization_id_period_start_kind",
        "invoices",
        ["organization_id", "period_start", "kind"],
        unique=True,
        postgresql_where=sa.text("state <> 'void'"),
    )

    op.create_table(
        "one_off_items",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("invoice_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=38, scale=12), nullable=False),
        sa.Column("unit_amount", sa.Numeric(precision=38, scale=12), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("internal_reason", sa.Text()),
        sa.Column("form_token", sa.Uuid(), nullable=False),
        sa.Column("created_by_id", sa.BigInteger()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True)),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "(kind = 'credit') = (amount < 0) OR amount = 0",
            name=op.f("ck_one_off_items_credits_are_negative"),
        ),
        sa.CheckConstraint(
            "kind = 'charge' OR internal_reason IS NOT NULL",
            name=op.f("ck_one_off_items_credits_have_a_reason"),
        ),
        sa.CheckConstraint("kind IN ('charge', 'credit')", name=op.f("ck_one_off_items_kind_known")),
        sa.CheckConstraint("quantity > 0 AND quantity < 'Infinity'", name=op.f("ck_one_off_items_quantity_positive")),
        sa.ForeignKeyConstraint(["created_by_id"], ["users.id"], name=op.f("fk_one_off_items_created_by_id")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_one_off_items_invoice_id")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_one_off_items_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_one_off_items")),
        sa.UniqueConstraint("form_token", name=op.f("uq_one_off_items_form_token")),
        sa.UniqueConstraint("public_id", name=op.f("uq_one_off_items_public_id")),
    )
    op.create_index("ix_one_off_items_organization_id_invoice_id", "one_off_items", ["organization_id", "invoice_id"])

    op.create_table(
        "invoice_items",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("invoice_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=38, scale=12), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("unit_amount", sa.Numeric()),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("period_start", sa.Date(), nullable=False),
        sa.Column("period_end", sa.Date(), nullable=False),
        sa.Column("derivation", postgresql.JSONB(), nullable=False),
        sa.Column("series", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("price_version_id", sa.BigInteger()),
        sa.Column("subscription_id", sa.BigInteger()),
        sa.Column("one_off_item_id", sa.BigInteger()),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('usage', 'recurring', 'one_off', 'credit', 'adjustment')",
            name=op.f("ck_invoice_items_kind_known"),
        ),
        sa.CheckConstraint(
            "quantity < 'Infinity' AND quantity > '-Infinity'", name=op.f("ck_invoice_items_quantity_finite")
        ),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_invoice_items_invoice_id")),
        sa.ForeignKeyConstraint(
            ["one_off_item_id"], ["one_off_items.id"], name=op.f("fk_invoice_items_one_off_item_id")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_invoice_items_organization_id")
        ),
        sa.ForeignKeyConstraint(
            ["price_version_id"], ["price_versions.id"], name=op.f("fk_invoice_items_price_version_id")
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name=op.f("fk_invoice_items_subscription_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoice_items")),
        sa.UniqueConstraint("invoice_id", "position", name=op.f("uq_invoice_items_invoice_id_position")),
        sa.UniqueConstraint("public_id", name=op.f("uq_invoice_items_public_id")),
    )
    op.create_index("ix_invoice_items_organization_id", "invoice_items", ["organization_id"])

    op.create_table(
        "billed_usage",
        sa.Column("invoice_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("series_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("meter_id", sa.BigInteger(), nullable=False),
        sa.Column("quantity", sa.Numeric(precision=38, scale=12), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_billed_usage_invoice_id")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_billed_usage_organization_id")
        ),
        sa.PrimaryKeyConstraint("invoice_id", "day", "series_id", name=op.f("pk_billed_usage")),
    )

    op.create_table(
        "balance_entries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("invoice_id", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_balance_entries_invoice_id")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_balance_entries_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_balance_entries")),
    )
    op.create_index("ix_balance_entries_organization_id", "balance_entries", ["organization_id"])


def downgrade() -> None:
    op.drop_table("balance_entries")
    op.drop_table("billed_usage")
    op.drop_table("invoice_items")
    op.drop_table("one_off_items")
    op.drop_table("invoices")
    op.drop_table("number_series")
