"""The language in which a person reads, and that of an organization's mails."""

import sqlalchemy as sa
from alembic import op

revision = "0049"
down_revision = "0048"


def upgrade() -> None:
    op.execute("SET lock_timeout = '5s'")
    op.add_column("users", sa.Column("language", sa.Text()))
    op.add_column("organizations", sa.Column("language", sa.Text()))
    # Among the billing details that customers change themselves.
    op.execute("GRANT UPDATE (language) ON organizations TO portal_tenant")


def downgrade() -> None:
    op.drop_column("organizations", "language")
    op.drop_column("users", "language")
