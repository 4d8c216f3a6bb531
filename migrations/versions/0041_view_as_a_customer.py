"""Which organization a member of staff is looking at as its customer, and until when; in their session."""

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"


def upgrade() -> None:
    op.execute("SET lock_timeout = '5s'")
    op.add_column("sessions", sa.Column("viewing_id", sa.BigInteger()))
    op.add_column("sessions", sa.Column("viewing_until", sa.DateTime(timezone=True)))
    op.create_foreign_key(op.f("fk_sessions_viewing_id"), "sessions", "organizations", ["viewing_id"], ["id"])
    op.create_check_constraint(
        op.f("ck_sessions_viewing_ends"), "sessions", "(viewing_id IS NULL) = (viewing_until IS NULL)"
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_sessions_viewing_ends"), "sessions")
    op.drop_constraint(op.f("fk_sessions_viewing_id"), "sessions")
    op.drop_column("sessions", "viewing_until")
    op.drop_column("sessions", "viewing_id")
