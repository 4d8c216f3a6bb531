"""Second factors, their recovery codes, sign-ins that still owe a code, and invitations."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"

KINDS = "kind IN ('reset_password', 'confirm_email', 'email_changing', 'email_changed', 'password_changed'"
NEW_KINDS = "'two_factors_on', 'two_factors_off', 'new_recovery_codes', 'invitation'"
TABLES = ("second_factors", "recovery_codes", "half_sign_ins")


def upgrade() -> None:
    op.add_column("sessions", sa.Column("confirmed_at", sa.DateTime(timezone=True)))
    op.execute("UPDATE sessions SET confirmed_at = created_at")
    op.alter_column("sessions", "confirmed_at", nullable=False)
    op.create_table(
        "second_factors",
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True)),
        sa.Column("last_step", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_second_factors_user_id")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_second_factors")),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("code_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_recovery_codes_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recovery_codes")),
        sa.UniqueConstraint("user_id", "code_sha256", name=op.f("uq_recovery_codes_user_id_code_sha256")),
    )
    op.create_table(
        "half_sign_ins",
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_half_sign_ins_user_id")),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_half_sign_ins")),
    )
    op.create_index("ix_half_sign_ins_user_id", "half_sign_ins", ["user_id"])
    # They belong to people, not to organizations: tenants have no right to them at all.
    for table in TABLES:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO portal_system")
    _say_kinds(f"{KINDS}, {NEW_KINDS})")
    op.create_table(
        "invitations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.BigInteger(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("invited_by_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint(
            "role IN ('owner', 'billing', 'developer', 'viewer')", name=op.f("ck_invitations_role_known")
        ),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_invitations_organization_id")),
        sa.ForeignKeyConstraint(["invited_by_id"], ["users.id"], name=op.f("fk_invitations_invited_by_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("public_id", name=op.f("uq_invitations_public_id")),
    )
    op.create_index(
        "uq_invitations_open",
        "invitations",
        ["organization_id", sa.text("lower(email)")],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.add_column("account_letters", sa.Column("invitation_id", sa.BigInteger()))
    op.create_foreign_key(
        op.f("fk_account_letters_invitation_id"), "account_letters", "invitations", ["invitation_id"], ["id"]
    )
    op.create_index("ix_account_letters_invitation_id", "account_letters", ["invitation_id"])
    # Its owners look through the system, which names the organization: tenants have no right, and so no policy.
    op.execute("ALTER TABLE invitations ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE invitations FORCE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY everything ON invitations TO portal_system USING (true) WITH CHECK (true)")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON invitations TO portal_system")


def downgrade() -> None:
    op.execute(f"DELETE FROM account_letters WHERE kind IN ({NEW_KINDS})")
    _say_kinds(f"{KINDS})")
    op.drop_column("account_letters", "invitation_id")
    op.drop_table("invitations")
    for table in reversed(TABLES):
        op.drop_table(table)
    op.drop_column("sessions", "confirmed_at")


def _say_kinds(rule: str) -> None:
    name = op.f("ck_account_letters_kind_known")
    op.drop_constraint(name, "account_letters", type_="check")
    op.create_check_constraint(name, "account_letters", rule)
