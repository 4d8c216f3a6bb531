"""The log of the last requests that brought usage, of each key."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"

OWN_ROW = "organization_id = NULLIF(current_setting('app.organization_id', true), '')::bigint"
EVERYTHING = "portal_staff, portal_system"


def upgrade() -> None:
    op.create_table(
        "ingest_requests",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False)),
        sa.Column("organization_id", sa.BigInteger()),
        sa.Column("api_key_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("accepted", sa.Integer(), nullable=False),
        sa.Column("duplicate", sa.Integer(), nullable=False),
        sa.Column("conflict", sa.Integer(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("rejections", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ingest_requests")),
    )
    for column in ("organization_id", "api_key_id"):
        op.create_index(f"ix_ingest_requests_{column}_at", "ingest_requests", [column, "at"])
    op.execute("ALTER TABLE ingest_requests ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE ingest_requests FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY everything ON ingest_requests TO {EVERYTHING} USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY own_rows ON ingest_requests TO portal_tenant USING ({OWN_ROW}) WITH CHECK ({OWN_ROW})")
    op.execute(f"GRANT SELECT, INSERT, DELETE ON ingest_requests TO {EVERYTHING}")
    op.execute("GRANT SELECT, INSERT ON ingest_requests TO portal_tenant")


def downgrade() -> None:
    op.drop_table("ingest_requests")
