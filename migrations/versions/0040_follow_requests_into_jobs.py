"""The request that made work necessary: its id goes on into the job's logs and audit entries."""

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"


def upgrade() -> None:
    op.execute("SET lock_timeout = '5s'")
    op.add_column("outbox", sa.Column("request_id", sa.Text()))


def downgrade() -> None:
    op.drop_column("outbox", "request_id")
