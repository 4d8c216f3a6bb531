"""The default payment method of each organization, refunds and disputes, as Stripe shows them."""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"

OWN_ROW = "organization_id = NULLIF(current_setting('app.organization_id', true), '')::bigint"
EVERYTHING = "portal_staff, portal_system"


def upgrade() -> None:
    op.create_table(
        "payment_methods",
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text()) for name in ("stripe_id", "kind", "brand", "last4")),
        sa.Column("exp_month", sa.SmallInteger()),
        sa.Column("exp_year", sa.SmallInteger()),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(stripe_id IS NULL) = (kind IS NULL)", name=op.f("ck_payment_methods_kind_with_its_id")),
        sa.CheckConstraint("(exp_month IS NULL) = (exp_year IS NULL)", name=op.f("ck_payment_methods_expiry_is_whole")),
        sa.CheckConstraint("exp_month BETWEEN 1 AND 12", name=op.f("ck_payment_methods_month_of_a_year")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_payment_methods_organization_id")
        ),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_payment_methods")),
        sa.UniqueConstraint("stripe_id", name=op.f("uq_payment_methods_stripe_id")),
    )
    _create_refunds()
    _create_disputes()
    for table in ("payment_methods", "refunds", "disputes"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY everything ON {table} TO {EVERYTHING} USING (true) WITH CHECK (true)")
        op.execute(f"CREATE POLICY own_rows ON {table} TO portal_tenant USING ({OWN_ROW})")
        op.execute(f"GRANT SELECT, INSERT, UPDATE ON {table} TO {EVERYTHING}")
        op.execute(f"GRANT SELECT ON {table} TO portal_tenant")


def _create_refunds() -> None:
    op.create_table(
        "refunds",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("organization_id", "invoice_id", "amount")),
        sa.Column("reason", sa.Text()),
        sa.Column("created_by", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("form_token", sa.Uuid()),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("message", sa.Text()),
        sa.Column("stripe_id", sa.Text()),
        sa.CheckConstraint("state IN ('pending', 'succeeded', 'failed', 'dead')", name=op.f("ck_refunds_state_known")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_refunds_amount_above_zero")),
        sa.CheckConstraint("(created_by IS NULL) = (form_token IS NULL)", name=op.f("ck_refunds_token_of_its_form")),
        sa.CheckConstraint("stripe_id IS NOT NULL OR created_by IS NOT NULL", name=op.f("ck_refunds_made_by_somebody")),
        *_of_an_invoice("refunds"),
        *(
            sa.UniqueConstraint(column, name=op.f(f"uq_refunds_{column}"))
            for column in ("public_id", "form_token", "stripe_id")
        ),
    )
    _index("refunds")


def _create_disputes() -> None:
    op.create_table(
        "disputes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("organization_id", "invoice_id", "amount")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("stripe_id", "status")),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_by", sa.DateTime(timezone=True)),
        sa.CheckConstraint("amount > 0", name=op.f("ck_disputes_amount_above_zero")),
        *_of_an_invoice("disputes"),
        sa.UniqueConstraint("stripe_id", name=op.f("uq_disputes_stripe_id")),
    )
    _index("disputes")


def _of_an_invoice(table: str) -> Iterator[sa.Constraint]:
    yield sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}"))
    for column in ("organization", "invoice"):
        yield sa.ForeignKeyConstraint([f"{column}_id"], [f"{column}s.id"], name=op.f(f"fk_{table}_{column}_id"))


def _index(table: str) -> None:
    for column in ("organization_id", "invoice_id"):
        op.create_index(f"ix_{table}_{column}", table, [column])


def downgrade() -> None:
    for table in ("disputes", "refunds", "payment_methods"):
        op.drop_table(table)
