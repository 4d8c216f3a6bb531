"""Budgets of organizations and the warnings that they have given; mails about them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0026"
down_revision = "0025"

OWN_ROW = "organization_id = NULLIF(current_setting('app.organization_id', true), '')::bigint"
EVERYTHING = "portal_staff, portal_system"
KINDS_BEFORE = "'issued', 'receipt', 'failed_payment', 'reminder', 'credited', 'voided'"


def upgrade() -> None:
    op.create_table(
        "budgets",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text()),
        sa.Column("value", sa.Text()),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("thresholds", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("amount > 0", name=op.f("ck_budgets_amount_above_zero")),
        sa.CheckConstraint("(by IS NULL) = (value IS NULL)", name=op.f("ck_budgets_by_with_its_value")),
        sa.CheckConstraint("cardinality(thresholds) BETWEEN 1 AND 5", name=op.f("ck_budgets_some_thresholds")),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_budgets_organization_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budgets")),
        sa.UniqueConstraint("public_id", name=op.f("uq_budgets_public_id")),
    )
    op.create_index(
        "uq_budgets_organization_id_by_value",
        "budgets",
        ["organization_id", sa.text("coalesce(by, '')"), sa.text("coalesce(value, '')")],
        unique=True,
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_table(
        "budget_warnings",
        sa.Column("budget_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("reached", sa.Text(), nullable=False),
        sa.Column("threshold", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("figure", sa.BigInteger(), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("reached IN ('spent', 'expected')", name=op.f("ck_budget_warnings_reached_known")),
        sa.CheckConstraint("extract(day FROM month) = 1", name=op.f("ck_budget_warnings_month_is_its_first_day")),
        sa.ForeignKeyConstraint(["budget_id"], ["budgets.id"], name=op.f("fk_budget_warnings_budget_id")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_budget_warnings_organization_id")
        ),
        sa.PrimaryKeyConstraint("budget_id", "month", "reached", "threshold", name=op.f("pk_budget_warnings")),
    )
    op.create_index("ix_budget_warnings_organization_id_given_at", "budget_warnings", ["organization_id", "given_at"])
    for table, rights in (("budgets", "SELECT, INSERT, UPDATE"), ("budget_warnings", "SELECT")):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY everything ON {table} TO {EVERYTHING} USING (true) WITH CHECK (true)")
        op.execute(f"CREATE POLICY own_rows ON {table} TO portal_tenant USING ({OWN_ROW}) WITH CHECK ({OWN_ROW})")
        op.execute(f"GRANT {rights} ON {table} TO portal_tenant")
        op.execute(f"GRANT SELECT, INSERT, UPDATE ON {table} TO {EVERYTHING}")
    _take_kinds(f"{KINDS_BEFORE}, 'budget'")


def _take_kinds(kinds: str) -> None:
    op.drop_constraint(op.f("ck_mails_kind_known"), "mails")
    op.create_check_constraint(op.f("ck_mails_kind_known"), "mails", f"kind IN ({kinds})")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_mails_kind_known"), "mails")
    # Mails about budgets stay; only new ones are refused.
    op.execute(f"ALTER TABLE mails ADD CONSTRAINT ck_mails_kind_known CHECK (kind IN ({KINDS_BEFORE})) NOT VALID")
    op.drop_table("budget_warnings")
    op.drop_table("budgets")
