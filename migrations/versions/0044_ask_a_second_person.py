"""Steps of staff that wait for a second person; and mails about passkeys and API keys."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0044"
down_revision = "0043"

KINDS = (
    *("reset_password", "confirm_email", "email_changing", "email_changed", "password_changed"),
    *("two_factors_on", "two_factors_off", "new_recovery_codes", "invitation"),
)
NEW_KINDS = ("passkey_added", "passkey_removed", "api_key_added", "api_key_removed")


def upgrade() -> None:
    op.execute("SET lock_timeout = '5s'")
    op.create_table(
        "approval_requests",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.BigInteger(), nullable=False),
        sa.Column("organization_id", sa.BigInteger()),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("facts", postgresql.JSONB(), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("asked_by_id", sa.BigInteger(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by_id", sa.BigInteger()),
        sa.Column("decided_by", sa.Text()),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        sa.Column("comment", sa.Text()),
        sa.CheckConstraint(
            "subject_kind IN ('invoice', 'price', 'own price')", name=op.f("ck_approval_requests_subject_kind_known")
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'approved', 'refused', 'lapsed')", name=op.f("ck_approval_requests_state_known")
        ),
        sa.CheckConstraint(
            "(state = 'waiting') = (decided_at IS NULL)", name=op.f("ck_approval_requests_decided_once")
        ),
        sa.CheckConstraint(
            "(state IN ('approved', 'refused')) = (decided_by_id IS NOT NULL)",
            name=op.f("ck_approval_requests_decided_by_somebody"),
        ),
        sa.CheckConstraint("decided_by_id <> asked_by_id", name=op.f("ck_approval_requests_two_people")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_approval_requests_organization_id")
        ),
        sa.ForeignKeyConstraint(["asked_by_id"], ["users.id"], name=op.f("fk_approval_requests_asked_by_id")),
        sa.ForeignKeyConstraint(["decided_by_id"], ["users.id"], name=op.f("fk_approval_requests_decided_by_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval_requests")),
        sa.UniqueConstraint("public_id", name=op.f("uq_approval_requests_public_id")),
    )
    op.create_index(
        "uq_approval_requests_waiting",
        "approval_requests",
        ["subject_kind", "subject_id"],
        unique=True,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index("ix_approval_requests_subject_kind_subject_id", "approval_requests", ["subject_kind", "subject_id"])
    op.create_index("ix_approval_requests_organization_id", "approval_requests", ["organization_id"])
    # They are the staff's own: tenants have no right to them at all.
    op.execute("ALTER TABLE approval_requests ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE approval_requests FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY everything ON approval_requests TO portal_staff, portal_system USING (true) WITH CHECK (true)"
    )
    op.execute("GRANT SELECT, INSERT, UPDATE ON approval_requests TO portal_staff, portal_system")
    op.add_column("account_letters", sa.Column("about", sa.Text()))
    _let_letters_be((*KINDS, *NEW_KINDS))


def downgrade() -> None:
    kinds = ", ".join(repr(kind) for kind in NEW_KINDS)
    op.execute(f"DELETE FROM account_letters WHERE kind IN ({kinds})")
    _let_letters_be(KINDS)
    op.drop_column("account_letters", "about")
    op.drop_table("approval_requests")


def _let_letters_be(kinds: tuple[str, ...]) -> None:
    op.drop_constraint(op.f("ck_account_letters_kind_known"), "account_letters")
    listed = ", ".join(repr(kind) for kind in kinds)
    op.create_check_constraint(op.f("ck_account_letters_kind_known"), "account_letters", f"kind IN ({listed})")
