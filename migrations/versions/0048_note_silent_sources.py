"""Beside the forecast of an organization's month stand the sources that were silent when it was made."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0048"
down_revision = "0047"


def upgrade() -> None:
    op.add_column("forecasts", sa.Column("silent", postgresql.JSONB(), server_default="[]", nullable=False))


def downgrade() -> None:
    op.drop_column("forecasts", "silent")
