"""The queue of a bill run begins with what weighs most."""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    op.execute("SET lock_timeout = '5s'")
    op.add_column("bill_run_items", sa.Column("score", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.create_index(
        "ix_bill_run_items_queue", "bill_run_items", ["bill_run_id", "state", sa.text("score DESC"), "organization_id"]
    )


def downgrade() -> None:
    op.drop_index("ix_bill_run_items_queue", "bill_run_items")
    op.drop_column("bill_run_items", "score")
