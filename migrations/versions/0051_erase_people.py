"""Erasing a person takes along which announcements they have put away."""

from alembic import op

revision = "0051"
down_revision = "0050"


def upgrade() -> None:
    op.execute("GRANT DELETE ON announcement_dismissals TO portal_system")


def downgrade() -> None:
    op.execute("REVOKE DELETE ON announcement_dismissals FROM portal_system")
