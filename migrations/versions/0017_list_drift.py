"""What differs between the portal and Stripe, and the runs that compare the two."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

EVERYTHING = "portal_staff, portal_system"
FIELDS = (
    "'existence', 'unadopted', 'duplicate', 'customer', 'duplicate_customer', 'currency', 'total', 'lines', 'status',"
    " 'payment', 'unmanaged'"
)


def upgrade() -> None:
    op.create_table(
        "drift",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.BigInteger()),
        sa.Column("invoice_id", sa.BigInteger()),
        sa.Column("stripe_id", sa.Text()),
        sa.Column("stripe_created_at", sa.DateTime(timezone=True)),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("ours", sa.Text()),
        sa.Column("theirs", sa.Text()),
        sa.Column("amount", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("currency", sa.Text()),
        sa.Column("seen_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("decided_by", sa.Text()),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint(f"field IN ({FIELDS})", name=op.f("ck_drift_field_known")),
        sa.CheckConstraint(
            "state IN ('open', 'accepted', 'ignored', 'pushed', 'gone')", name=op.f("ck_drift_state_known")
        ),
        sa.CheckConstraint(
            "state NOT IN ('accepted', 'ignored') OR (reason IS NOT NULL AND decided_by IS NOT NULL)",
            name=op.f("ck_drift_decided_with_a_reason"),
        ),
        sa.CheckConstraint("num_nonnulls(invoice_id, stripe_id) > 0", name=op.f("ck_drift_about_something")),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_drift_amount_not_negative")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_drift_organization_id_organizations")
        ),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_drift_invoice_id_invoices")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift")),
        sa.UniqueConstraint("public_id", name=op.f("uq_drift_public_id")),
    )
    op.create_index(
        "uq_drift_live",
        "drift",
        ["invoice_id", "stripe_id", "field"],
        unique=True,
        postgresql_where=sa.text("state <> 'gone'"),
        postgresql_nulls_not_distinct=True,
    )
    op.create_index("ix_drift_state_id", "drift", ["state", "id"])
    op.create_index("ix_drift_organization_id", "drift", ["organization_id"])
    op.create_index("ix_drift_stripe_id", "drift", ["stripe_id"], postgresql_where=sa.text("state <> 'gone'"))
    op.execute("ALTER TABLE drift ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE drift FORCE ROW LEVEL SECURITY")
    # Nothing of it is for tenants: no right, and so no policy of theirs.
    op.execute(f"CREATE POLICY everything ON drift TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.create_table(
        "reconciliations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("month", sa.Date()),
        sa.Column("night", sa.Date()),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("phase", sa.Text(), server_default="customers", nullable=False),
        sa.Column("read_up_to", sa.Text()),
        sa.Column("customers", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("invoices", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("on_their_way", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("adopted", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("differences", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("until > since", name=op.f("ck_reconciliations_window_not_empty")),
        sa.CheckConstraint(
            "phase IN ('customers', 'invoices', 'ours', 'done')", name=op.f("ck_reconciliations_phase_known")
        ),
        sa.CheckConstraint(
            "(phase = 'done') = (finished_at IS NOT NULL)", name=op.f("ck_reconciliations_done_when_finished")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliations")),
        sa.UniqueConstraint("night", name=op.f("uq_reconciliations_night")),
    )
    op.create_table(
        "reconciled_invoices",
        sa.Column("reconciliation_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("invoice_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["reconciliation_id"],
            ["reconciliations.id"],
            name=op.f("fk_reconciled_invoices_reconciliation_id_reconciliations"),
        ),
        sa.PrimaryKeyConstraint("reconciliation_id", "invoice_id", name=op.f("pk_reconciled_invoices")),
    )
    for table in ("drift", "reconciliations", "reconciled_invoices"):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {EVERYTHING}")


def downgrade() -> None:
    for table in ("reconciled_invoices", "reconciliations", "drift"):
        op.drop_table(table)
