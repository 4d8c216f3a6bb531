"""Bill runs: one per month and kind, and what each does about every organization. They are the staff's own."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0024"
down_revision = "0023"

EVERYTHING = "portal_staff, portal_system"
KINDS = "('monthly', 'rehearsal')"
RUN_STATES = (
    "('planned', 'generating', 'review', 'finalizing', 'syncing', 'reconciling', 'closed', 'paused', 'cancelled')"
)
ITEM_STATES = "('waiting', 'generated', 'held', 'approved', 'scheduled', 'finalized', 'failed', 'skipped')"


def upgrade() -> None:
    op.create_table(
        "bill_runs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="planned", nullable=False),
        sa.Column("paused_from", sa.Text()),
        sa.Column("as_of", sa.DateTime(timezone=True)),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("finalized_by", sa.Text()),
        sa.Column("hold_seconds", sa.Integer(), nullable=False),
        sa.Column("review_hours", sa.Integer()),
        sa.Column("entered", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("reconciliation_id", sa.BigInteger()),
        sa.Column("report", postgresql.JSONB(none_as_null=True)),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint("extract(day FROM month) = 1", name=op.f("ck_bill_runs_month_is_its_first_day")),
        sa.CheckConstraint(f"kind IN {KINDS}", name=op.f("ck_bill_runs_kind_known")),
        sa.CheckConstraint(f"state IN {RUN_STATES}", name=op.f("ck_bill_runs_state_known")),
        sa.CheckConstraint(
            "(state = 'paused') = (paused_from IS NOT NULL)", name=op.f("ck_bill_runs_paused_from_somewhere")
        ),
        sa.CheckConstraint("(state = 'closed') = (report IS NOT NULL)", name=op.f("ck_bill_runs_closed_with_a_report")),
        sa.CheckConstraint("hold_seconds >= 0", name=op.f("ck_bill_runs_hold_not_negative")),
        sa.ForeignKeyConstraint(
            ["reconciliation_id"], ["reconciliations.id"], name=op.f("fk_bill_runs_reconciliation_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bill_runs")),
        sa.UniqueConstraint("month", "kind", name=op.f("uq_bill_runs_month_kind")),
        sa.UniqueConstraint("public_id", name=op.f("uq_bill_runs_public_id")),
    )
    op.create_table(
        "bill_run_items",
        sa.Column("bill_run_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("chunk", sa.Integer(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("flags", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("invoice_id", sa.BigInteger()),
        sa.Column("total_before", sa.BigInteger()),
        sa.Column("total", sa.BigInteger()),
        sa.Column("amount_due", sa.BigInteger()),
        sa.Column("fingerprint", sa.Text()),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("decided_by", sa.Text()),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(f"state IN {ITEM_STATES}", name=op.f("ck_bill_run_items_state_known")),
        sa.CheckConstraint(
            "state NOT IN ('held', 'failed', 'skipped') OR reason IS NOT NULL",
            name=op.f("ck_bill_run_items_has_a_reason"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('generated', 'approved', 'scheduled') OR (total IS NOT NULL AND fingerprint IS NOT NULL)",
            name=op.f("ck_bill_run_items_computed"),
        ),
        sa.ForeignKeyConstraint(["bill_run_id"], ["bill_runs.id"], name=op.f("fk_bill_run_items_bill_run_id")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_bill_run_items_invoice_id")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_bill_run_items_organization_id")
        ),
        sa.PrimaryKeyConstraint("bill_run_id", "organization_id", name=op.f("pk_bill_run_items")),
    )
    # Every item is written several times in a run; half a page is left for its versions.
    op.execute("ALTER TABLE bill_run_items SET (fillfactor = 50)")
    for columns in (
        ["bill_run_id", "state", "organization_id"],
        ["bill_run_id", "chunk"],
        ["organization_id"],
        ["invoice_id"],
    ):
        op.create_index(f"ix_bill_run_items_{'_'.join(columns)}", "bill_run_items", columns)
    op.execute("ALTER TABLE bill_run_items ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE bill_run_items FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON bill_run_items TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON bill_runs, bill_run_items TO {EVERYTHING}")


def downgrade() -> None:
    op.drop_table("bill_run_items")
    op.drop_table("bill_runs")
