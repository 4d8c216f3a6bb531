"""What a person changes about their own account: the password, forgotten or known, and the e-mail address."""

from datetime import datetime

from sqlalchemy import delete

from portal.core.errors import InvalidInput
from portal.core.keys import secret_hash
from portal.infra import audit
from portal.infra.db import db
from portal.infra.mail import is_address
from portal.organizations.attempts import forgive_account
from portal.organizations.letters import LetterKind, ask_for_letter, end_links, lock_user, use_letter
from portal.organizations.models import HalfSignIn, User, UserSession
from portal.organizations.passwords import hash_password, require_good_password, require_password
from portal.organizations.people import user_by_email


def ask_to_reset(email: str, *, now: datetime) -> None:
    """Queue a mail with a link to set a new password. For an address that is no account's the same work is done."""
    user = user_by_email(email)
    if user is not None and user.disabled_at is not None:
        user = None
    ask_for_letter(LetterKind.RESET_PASSWORD, user, user.email if user else None, now=now)
    audit.record("asked to reset password", subject="user", subject_id=user.id if user else None, organization_id=None)


def reset_password(token: str, password: str, *, now: datetime) -> None:
    """Set a new password by the link in a mail. Ends the link and all others, and every session.

    Raises InvalidInput for a link that does not work (field "token"), or a password that is not good enough.
    """
    _, user = use_letter(LetterKind.RESET_PASSWORD, token, now=now)
    _set_password(user, password, now=now)
    _end_sessions(user.id)
    forgive_account(user.email)
    audit.record("reset password", subject="user", subject_id=user.id, organization_id=None)


def change_password(user_id: int, current: str, password: str, *, keep_token: str, now: datetime) -> None:
    """Set a new password; every session ends but the one of `keep_token`.

    Raises InvalidInput for a wrong current password (field "current"), or a new one that is not good enough.
    """
    user = lock_user(user_id)
    require_password(user.password_hash, current)
    if password == current:
        raise InvalidInput("That is the password that you have now.", field="password")
    _set_password(user, password, now=now)
    _end_sessions(user.id, keep_token=keep_token)
    audit.record("changed password", subject="user", subject_id=user.id, organization_id=None)


def ask_to_change_email(user_id: int, current: str, email: str, *, now: datetime) -> None:
    """Queue a mail to the new address with a link that changes it, and one to the old that tells of it.

    For an address that somebody else has the answer is the same and no link is sent. Raises InvalidInput.
    """
    user = lock_user(user_id)
    require_password(user.password_hash, current)
    email = email.strip()
    if not is_address(email):
        raise InvalidInput("That is not an e-mail address.", field="email")
    if email.lower() == user.email.lower():
        raise InvalidInput("That is the address that you have now.", field="email")
    end_links(user.id, now=now)
    whose = user if user_by_email(email) is None else None
    ask_for_letter(LetterKind.CONFIRM_EMAIL, whose, email, new_email=email, now=now)
    ask_for_letter(LetterKind.EMAIL_CHANGING, user, user.email, new_email=email, now=now)
    audit.record(
        "asked to change e-mail", subject="user", subject_id=user.id, organization_id=None, after={"email": email}
    )


def confirm_email(token: str, *, now: datetime) -> str:
    """Change the address by the link that was sent to the new one, and return it; the old one is told.

    Every other link ends, for some went to the old address. Raises InvalidInput.
    """
    letter, user = use_letter(LetterKind.CONFIRM_EMAIL, token, now=now)
    assert letter.new_email is not None
    if user_by_email(letter.new_email) is not None:
        raise InvalidInput("This address cannot be taken any more. Ask again with another one.", field="token")
    before, user.email = user.email, letter.new_email
    end_links(user.id, now=now)
    ask_for_letter(LetterKind.EMAIL_CHANGED, user, before, new_email=user.email, now=now)
    audit.record(
        "changed e-mail",
        subject="user",
        subject_id=user.id,
        organization_id=None,
        before={"email": before},
        after={"email": user.email},
    )
    return user.email


def _set_password(user: User, password: str, *, now: datetime) -> None:
    require_good_password(password, email=user.email, name=user.name)
    user.password_hash = hash_password(password)
    end_links(user.id, now=now)
    ask_for_letter(LetterKind.PASSWORD_CHANGED, user, user.email, now=now)


def _end_sessions(user_id: int, *, keep_token: str | None = None) -> None:
    ended = delete(UserSession).where(UserSession.user_id == user_id)
    if keep_token is not None:
        ended = ended.where(UserSession.token_sha256 != secret_hash(keep_token))
    db.session.execute(ended)
    db.session.execute(delete(HalfSignIn).where(HalfSignIn.user_id == user_id))
