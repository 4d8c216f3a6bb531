"""The account at Stripe that invoices go to, as it was first seen."""

import sqlalchemy as sa
from alembic import op

revision = "0042"
down_revision = "0041"

EVERYTHING = "portal_staff, portal_system"


def upgrade() -> None:
    op.create_table(
        "stripe_account",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, server_default=sa.text("1"), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_stripe_account_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stripe_account")),
    )
    op.execute(f"GRANT SELECT, INSERT, DELETE ON stripe_account TO {EVERYTHING}")


def downgrade() -> None:
    op.drop_table("stripe_account")
