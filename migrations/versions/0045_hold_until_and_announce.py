"""Until when a draft is held, whether a person wants keyboard shortcuts, and announcements to customers."""

import sqlalchemy as sa
from alembic import op

revision = "0045"
down_revision = "0044"

OWN_OR_EVERYBODYS = (
    "organization_id IS NULL OR organization_id = NULLIF(current_setting('app.organization_id', true), '')::bigint"
)
EVERYTHING = "portal_staff, portal_system"


def upgrade() -> None:
    op.execute("SET lock_timeout = '5s'")
    op.add_column("bill_run_items", sa.Column("held_until", sa.Date()))
    op.add_column("users", sa.Column("shortcuts", sa.Boolean(), server_default=sa.text("true"), nullable=False))
    op.create_table(
        "announcements",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.BigInteger()),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "severity IN ('information', 'warning', 'problem')", name=op.f("ck_announcements_severity_known")
        ),
        sa.CheckConstraint("starts_at <= ends_at", name=op.f("ck_announcements_ends_after_its_start")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_announcements_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_announcements")),
        sa.UniqueConstraint("public_id", name=op.f("uq_announcements_public_id")),
    )
    op.create_index("ix_announcements_ends_at", "announcements", ["ends_at"])
    op.create_index("ix_announcements_organization_id", "announcements", ["organization_id"])
    op.execute("ALTER TABLE announcements ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE announcements FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON announcements TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY own_rows ON announcements TO portal_tenant USING ({OWN_OR_EVERYBODYS})")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON announcements TO {EVERYTHING}")
    op.execute("GRANT SELECT ON announcements TO portal_tenant")
    op.create_table(
        "announcement_dismissals",
        sa.Column("announcement_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("dismissed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["announcement_id"], ["announcements.id"], name=op.f("fk_announcement_dismissals_announcement_id")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_announcement_dismissals_user_id")),
        sa.PrimaryKeyConstraint("announcement_id", "user_id", name=op.f("pk_announcement_dismissals")),
    )
    op.create_index("ix_announcement_dismissals_user_id", "announcement_dismissals", ["user_id"])
    # Of people and not of organizations: nothing of it is for tenants.
    op.execute("GRANT SELECT, INSERT ON announcement_dismissals TO portal_system")


def downgrade() -> None:
    op.drop_table("announcement_dismissals")
    op.drop_table("announcements")
    op.drop_column("users", "shortcuts")
    op.drop_column("bill_run_items", "held_until")
