"""People of the staff keep filters of lists."""

import sqlalchemy as sa
from alembic import op

revision = "0050"
down_revision = "0049"


def upgrade() -> None:
    op.create_table(
        "saved_filters",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("page", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_saved_filters_user_id")),
        sa.PrimaryKeyConstraint("user_id", "page", "name", name=op.f("pk_saved_filters")),
    )
    # They are the staff's own: tenants have no right to them at all.
    op.execute("ALTER TABLE saved_filters ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE saved_filters FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY everything ON saved_filters TO portal_staff, portal_system USING (true) WITH CHECK (true)"
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON saved_filters TO portal_staff, portal_system")


def downgrade() -> None:
    op.drop_table("saved_filters")
