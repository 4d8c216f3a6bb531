"""How far usage has been pulled from Prometheus, and how far files have been imported."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

SYSTEM_ONLY = ("usage_pulls", "usage_imports")


def upgrade() -> None:
    op.create_table(
        "usage_pulls",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("watermark", sa.DateTime(timezone=True)),
        sa.Column("last_run_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_error", sa.Text()),
        sa.Column("last_count", sa.BigInteger(), nullable=False),
        sa.Column("last_note", sa.Text()),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_usage_pulls")),
    )
    op.create_table(
        "usage_imports",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "lines >= 0 AND rows >= 0 AND events >= 0", name=op.f("ck_usage_imports_counts_not_negative")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_usage_imports")),
    )
    for table in SYSTEM_ONLY:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO portal_staff, portal_system")


def downgrade() -> None:
    for table in SYSTEM_ONLY:
        op.drop_table(table)
