"""Which workers and clocks are alive, by their own word; and dead jobs that somebody has put aside."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    op.execute("SET lock_timeout = '5s'")
    op.create_table(
        "processes",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kind", "host", "pid", name=op.f("pk_processes")),
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON processes TO portal_staff, portal_system")
    op.add_column("outbox", sa.Column("dismissed_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("outbox", "dismissed_at")
    op.drop_table("processes")
