"""What an organization's usage of a month was known to be at an instant, computed when somebody asks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0029"
down_revision = "0028"

OWN_ROW = "organization_id = NULLIF(current_setting('app.organization_id', true), '')::bigint"
EVERYTHING = "portal_staff, portal_system"


def upgrade() -> None:
    op.create_table(
        "drafts_as_of",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("instant", sa.DateTime(timezone=True), nullable=False),
        sa.Column("usage", postgresql.JSONB()),
        sa.Column("refusal", sa.Text()),
        sa.Column("asked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("usage IS NULL OR refusal IS NULL", name=op.f("ck_drafts_as_of_computed_or_refused")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_drafts_as_of_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drafts_as_of")),
        sa.UniqueConstraint(
            "organization_id", "month", "instant", name=op.f("uq_drafts_as_of_organization_id_month_instant")
        ),
    )
    op.execute("ALTER TABLE drafts_as_of ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE drafts_as_of FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON drafts_as_of TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON drafts_as_of TO {EVERYTHING}")
    op.execute(f"CREATE POLICY own_rows ON drafts_as_of FOR SELECT TO portal_tenant USING ({OWN_ROW})")
    op.execute("GRANT SELECT ON drafts_as_of TO portal_tenant")


def downgrade() -> None:
    op.drop_table("drafts_as_of")
