"""The roles that transactions take; `flask db roles` makes them where this user may not create roles."""

from alembic import op

from portal.infra.roles import ensure_roles

revision = "0001"
down_revision = None


def upgrade() -> None:
    ensure_roles(op.get_bind())


def downgrade() -> None:
    """Roles belong to the whole server, where other databases may use them: they stay."""
