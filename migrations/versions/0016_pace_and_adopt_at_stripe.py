"""Outcomes that were looked up at Stripe, and the circuit that keeps calls back while it does not answer."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

EVERYTHING = "portal_staff, portal_system"
OUTCOMES = "ck_stripe_calls_outcome_known"


def upgrade() -> None:
    op.add_column(
        "stripe_calls", sa.Column("failure_stored", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column("stripe_calls", sa.Column("absent_since", sa.DateTime(timezone=True)))
    op.drop_constraint(OUTCOMES, "stripe_calls")
    op.create_check_constraint(
        op.f(OUTCOMES), "stripe_calls", "outcome IN ('ok', 'unknown', 'refused', 'adopted', 'absent')"
    )
    op.create_table(
        "stripe_circuit",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, server_default=sa.text("1"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text()),
        sa.Column("opened_at", sa.DateTime(timezone=True)),
        sa.Column("failed_probes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("retry_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("id = 1", name=op.f("ck_stripe_circuit_one_row")),
        sa.CheckConstraint(
            "(opened_at IS NULL) = (retry_at IS NULL)", name=op.f("ck_stripe_circuit_open_with_a_next_try")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stripe_circuit")),
    )
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON stripe_circuit TO {EVERYTHING}")


def downgrade() -> None:
    op.drop_table("stripe_circuit")
    # What was found counts as answered; what was certainly absent had no effect.
    op.execute("SET LOCAL ROLE portal_system")
    op.execute(
        "UPDATE stripe_calls SET outcome = CASE outcome WHEN 'adopted' THEN 'ok' ELSE 'refused' END"
        " WHERE outcome IN ('adopted', 'absent')"
    )
    op.execute("RESET ROLE")
    op.drop_constraint(OUTCOMES, "stripe_calls")
    op.create_check_constraint(op.f(OUTCOMES), "stripe_calls", "outcome IN ('ok', 'unknown', 'refused')")
    op.drop_column("stripe_calls", "absent_since")
    op.drop_column("stripe_calls", "failure_stored")
