"""Limits on guessing, mails about accounts, and an address for each session."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("public_id", sa.Uuid()))
    op.execute("UPDATE sessions SET public_id = gen_random_uuid()")
    op.alter_column("sessions", "public_id", nullable=False)
    op.create_unique_constraint(op.f("uq_sessions_public_id"), "sessions", ["public_id"])
    op.create_table(
        "attempt_counters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("full_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("noted_until", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_attempt_counters")),
    )
    op.create_index("ix_attempt_counters_full_at", "attempt_counters", ["full_at"])
    op.create_table(
        "account_letters",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger()),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("address", sa.Text()),
        sa.Column("new_email", sa.Text()),
        sa.Column("token_sha256", sa.LargeBinary()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True)),
        sa.Column("sent_at", sa.DateTime(timezone=True)),
        sa.Column("last_error", sa.Text()),
        sa.CheckConstraint(
            "kind IN ('reset_password', 'confirm_email', 'email_changing', 'email_changed', 'password_changed')",
            name=op.f("ck_account_letters_kind_known"),
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_account_letters_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account_letters")),
        sa.UniqueConstraint("token_sha256", name=op.f("uq_account_letters_token_sha256")),
    )
    op.create_index("ix_account_letters_user_id", "account_letters", ["user_id"])
    op.create_index("ix_account_letters_created_at", "account_letters", ["created_at"])
    # They belong to people, not to organizations: tenants have no right to them at all.
    for table in ("attempt_counters", "account_letters"):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO portal_system")


def downgrade() -> None:
    for table in ("account_letters", "attempt_counters"):
        op.drop_table(table)
    op.drop_constraint(op.f("uq_sessions_public_id"), "sessions", type_="unique")
    op.drop_column("sessions", "public_id")
