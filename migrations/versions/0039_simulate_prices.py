"""Price simulations: what was asked, how far it is, and what each organization and month would have come to."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0039"
down_revision = "0038"

EVERYTHING = "portal_staff, portal_system"


def upgrade() -> None:
    op.create_table(
        "price_simulations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("price_id", sa.BigInteger(), nullable=False),
        sa.Column("terms", postgresql.JSONB(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("note", sa.Text()),
        sa.Column("months", postgresql.ARRAY(sa.Date()), nullable=False),
        sa.Column("organization_ids", postgresql.ARRAY(sa.BigInteger())),
        sa.Column("state", sa.Text(), server_default="running", nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("whole", sa.Integer()),
        sa.Column("done", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_invoice_id", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "state IN ('running', 'done', 'cancelled', 'failed')", name=op.f("ck_price_simulations_state_known")
        ),
        sa.CheckConstraint(
            "(state = 'running') = (ended_at IS NULL)", name=op.f("ck_price_simulations_ended_unless_running")
        ),
        sa.CheckConstraint(
            "state <> 'failed' OR reason IS NOT NULL", name=op.f("ck_price_simulations_failed_with_a_reason")
        ),
        sa.CheckConstraint("cardinality(months) > 0", name=op.f("ck_price_simulations_has_months")),
        sa.ForeignKeyConstraint(["price_id"], ["prices.id"], name=op.f("fk_price_simulations_price_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_price_simulations")),
        sa.UniqueConstraint("public_id", name=op.f("uq_price_simulations_public_id")),
    )
    op.create_index("ix_price_simulations_price_id", "price_simulations", ["price_id"])
    op.create_table(
        "price_simulation_results",
        sa.Column("simulation_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("organization_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("old", sa.BigInteger(), nullable=False),
        sa.Column("new", sa.BigInteger(), nullable=False),
        sa.Column("difference", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["simulation_id"], ["price_simulations.id"], name=op.f("fk_price_simulation_results_simulation_id")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_price_simulation_results_organization_id")
        ),
        sa.PrimaryKeyConstraint("simulation_id", "organization_id", "month", name=op.f("pk_price_simulation_results")),
    )
    op.create_index("ix_price_simulation_results_organization_id", "price_simulation_results", ["organization_id"])
    op.execute("ALTER TABLE price_simulation_results ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE price_simulation_results FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON price_simulation_results TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON price_simulations TO {EVERYTHING}")
    # What was rated is written once.
    op.execute(f"GRANT SELECT, INSERT ON price_simulation_results TO {EVERYTHING}")


def downgrade() -> None:
    op.drop_table("price_simulation_results")
    op.drop_table("price_simulations")
