"""Mails to those who may give a second approval."""

from alembic import op

revision = "0047"
down_revision = "0046"

KINDS = (
    *("reset_password", "confirm_email", "email_changing", "email_changed", "password_changed"),
    *("two_factors_on", "two_factors_off", "new_recovery_codes", "invitation"),
    *("passkey_added", "passkey_removed", "api_key_added", "api_key_removed"),
)
WANTED = "approval_wanted"


def upgrade() -> None:
    _let_letters_be((*KINDS, WANTED))


def downgrade() -> None:
    op.execute(f"DELETE FROM account_letters WHERE kind = '{WANTED}'")
    _let_letters_be(KINDS)


def _let_letters_be(kinds: tuple[str, ...]) -> None:
    op.drop_constraint(op.f("ck_account_letters_kind_known"), "account_letters")
    listed = ", ".join(repr(kind) for kind in kinds)
    op.create_check_constraint(op.f("ck_account_letters_kind_known"), "account_letters", f"kind IN ({listed})")
