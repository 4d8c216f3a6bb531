"""What the reasons to look at a draft come to, by which a review is sorted; and who looks at it."""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    op.add_column("bill_run_items", sa.Column("score", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("bill_run_items", sa.Column("assigned_to", sa.Text()))
    op.create_index(
        "ix_bill_run_items_bill_run_id_score_organization_id",
        "bill_run_items",
        ["bill_run_id", sa.text("score DESC"), "organization_id"],
    )


def downgrade() -> None:
    op.drop_index("ix_bill_run_items_bill_run_id_score_organization_id", "bill_run_items")
    op.drop_column("bill_run_items", "assigned_to")
    op.drop_column("bill_run_items", "score")
