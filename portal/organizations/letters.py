"""Asking for a mail to a person about their account, and the links in such mails."""

import secrets
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Select, select, update

from portal.core.errors import InvalidInput
from portal.core.keys import secret_hash
from portal.infra import outbox
from portal.infra.db import db
from portal.organizations.models import AccountLetter, User

SEND_ACCOUNT_LETTER = "send_account_letter"


class LetterKind(StrEnum):
    """What a mail to a person is about."""

    RESET_PASSWORD = "reset_password"
    CONFIRM_EMAIL = "confirm_email"
    EMAIL_CHANGING = "email_changing"
    EMAIL_CHANGED = "email_changed"
    PASSWORD_CHANGED = "password_changed"
    TWO_FACTORS_ON = "two_factors_on"
    TWO_FACTORS_OFF = "two_factors_off"
    NEW_RECOVERY_CODES = "new_recovery_codes"
    INVITATION = "invitation"
    PASSKEY_ADDED = "passkey_added"
    PASSKEY_REMOVED = "passkey_removed"
    API_KEY_ADDED = "api_key_added"
    API_KEY_REMOVED = "api_key_removed"
    APPROVAL_WANTED = "approval_wanted"


# A link works for so long; news is not sent later than that.
GOOD_FOR = {
    LetterKind.RESET_PASSWORD: timedelta(minutes=30),
    LetterKind.CONFIRM_EMAIL: timedelta(hours=24),
    LetterKind.EMAIL_CHANGING: timedelta(days=2),
    LetterKind.EMAIL_CHANGED: timedelta(days=2),
    LetterKind.PASSWORD_CHANGED: timedelta(days=2),
    LetterKind.TWO_FACTORS_ON: timedelta(days=2),
    LetterKind.TWO_FACTORS_OFF: timedelta(days=2),
    LetterKind.NEW_RECOVERY_CODES: timedelta(days=2),
    LetterKind.INVITATION: timedelta(days=7),
    LetterKind.PASSKEY_ADDED: timedelta(days=2),
    LetterKind.PASSKEY_REMOVED: timedelta(days=2),
    LetterKind.API_KEY_ADDED: timedelta(days=2),
    LetterKind.API_KEY_REMOVED: timedelta(days=2),
    LetterKind.APPROVAL_WANTED: timedelta(days=2),
}
WITH_LINK = frozenset({LetterKind.RESET_PASSWORD, LetterKind.CONFIRM_EMAIL, LetterKind.INVITATION})


def ask_for_letter(
    kind: LetterKind,
    user: User | None,
    address: str | None,
    *,
    now: datetime,
    new_email: str | None = None,
    invitation_id: int | None = None,
    about: str | None = None,
) -> None:
    """Queue a mail in the current transaction; for nobody, the same is written and nothing will be sent.

    An invitation goes to an address, whoever it is of. `about` names the passkey, key or wish of the mail.
    """
    letter = AccountLetter(
        kind=kind,
        user_id=user.id if user else None,
        address=address if user or invitation_id else None,
        invitation_id=invitation_id,
        new_email=new_email if user else None,
        about=about,
        created_at=now,
        expires_at=now + GOOD_FOR[kind],
    )
    db.session.add(letter)
    db.session.flush()
    outbox.enqueue(SEND_ACCOUNT_LETTER, dedupe_key=str(letter.id), organization_id=None, letter_id=letter.id)


def make_token(letter: AccountLetter) -> str:
    """A new token for the letter's link; one that was made for an attempt before ends."""
    token = secrets.token_urlsafe(32)
    letter.token_sha256 = secret_hash(token)
    return token


def is_good(kind: LetterKind, token: str, *, now: datetime) -> bool:
    """Whether a link still works; looking at it does not use it up."""
    return db.session.scalar(_good(kind, token, now).with_only_columns(AccountLetter.id)) is not None


def use_letter(kind: LetterKind, token: str, *, now: datetime) -> tuple[AccountLetter, User]:
    """Use a link up, in the current transaction: the letter and its user, both locked.

    Raises InvalidInput, with one sentence for a link that was used, has expired, was replaced or never was.
    """
    letter = db.session.scalar(
        _good(kind, token, now).with_for_update(of=AccountLetter).execution_options(populate_existing=True)
    )
    if letter is None or letter.user_id is None:
        raise InvalidInput("This link was used already, or is too old. Ask for a new one.", field="token")
    letter.used_at = now
    return letter, lock_user(letter.user_id)


def end_links(user_id: int, *, now: datetime) -> None:
    """End every link that was sent to this person and not used."""
    db.session.execute(
        update(AccountLetter)
        .where(AccountLetter.user_id == user_id, AccountLetter.kind.in_(WITH_LINK), AccountLetter.used_at.is_(None))
        .values(used_at=now)
    )


def lock_user(user_id: int) -> User:
    """The user, fresh from the database and locked until the transaction ends."""
    return db.session.get_one(User, user_id, with_for_update=True, populate_existing=True)


def _good(kind: LetterKind, token: str, now: datetime) -> Select[AccountLetter]:
    return (
        select(AccountLetter)
        .join(User, User.id == AccountLetter.user_id)
        .where(
            AccountLetter.token_sha256 == secret_hash(token),
            AccountLetter.kind == kind,
            AccountLetter.used_at.is_(None),
            AccountLetter.expires_at > now,
            User.disabled_at.is_(None),
        )
    )
