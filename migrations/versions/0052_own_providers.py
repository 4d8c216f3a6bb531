"""Organizations sign their people in at a provider of their own; somebody signs in with a passkey alone."""

import sqlalchemy as sa
from alembic import op

revision = "0052"
down_revision = "0051"

NEW = ("organization_providers", "organization_provider_links")


def upgrade() -> None:
    op.create_table(
        "organization_providers",
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("is_required", sa.Boolean(), nullable=False),
        sa.Column("proven_at", sa.DateTime(timezone=True)),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("proven_at IS NOT NULL OR NOT is_required", name=op.f("ck_organization_providers_proven")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_organization_providers_organization_id")
        ),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_organization_providers")),
    )
    op.create_table(
        "organization_provider_links",
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization_providers.organization_id"],
            name=op.f("fk_organization_provider_links_organization_id"),
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_organization_provider_links_user_id")),
        sa.PrimaryKeyConstraint("organization_id", "subject", name=op.f("pk_organization_provider_links")),
        sa.UniqueConstraint(
            "organization_id", "user_id", name=op.f("uq_organization_provider_links_organization_id_user_id")
        ),
    )
    op.create_index("ix_organization_provider_links_user_id", "organization_provider_links", ["user_id"])
    # Read and written while nobody is signed in, or by whoever is asked who they are: tenants have no right to them.
    op.add_column("provider_sign_ins", sa.Column("organization_id", sa.BigInteger()))
    for table in (*NEW, "provider_sign_ins"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY everything ON {table} TO portal_system USING (true) WITH CHECK (true)")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO portal_system")
    op.add_column("sessions", sa.Column("only_organization_id", sa.BigInteger()))
    op.add_column("passkey_challenges", sa.Column("token_sha256", sa.LargeBinary()))
    op.alter_column("passkey_challenges", "user_id", nullable=True)
    op.drop_constraint(op.f("ck_passkey_challenges_purpose_known"), "passkey_challenges")
    op.create_check_constraint(
        op.f("ck_passkey_challenges_purpose_known"),
        "passkey_challenges",
        "purpose IN ('register', 'use') AND user_id IS NOT NULL OR purpose = 'sign in' AND token_sha256 IS NOT NULL",
    )


def downgrade() -> None:
    op.execute("DELETE FROM passkey_challenges")
    op.drop_constraint(op.f("ck_passkey_challenges_purpose_known"), "passkey_challenges")
    op.create_check_constraint(
        op.f("ck_passkey_challenges_purpose_known"), "passkey_challenges", "purpose IN ('register', 'use')"
    )
    op.alter_column("passkey_challenges", "user_id", nullable=False)
    op.drop_column("passkey_challenges", "token_sha256")
    op.drop_column("sessions", "only_organization_id")
    op.execute("DROP POLICY everything ON provider_sign_ins")
    op.execute("ALTER TABLE provider_sign_ins NO FORCE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE provider_sign_ins DISABLE ROW LEVEL SECURITY")
    op.drop_column("provider_sign_ins", "organization_id")
    for table in reversed(NEW):
        op.drop_table(table)
