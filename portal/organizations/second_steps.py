"""The second step of signing in: the password was right, and a code is still wanted. No session yet, and no rights."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select

from portal.core.errors import InvalidInput
from portal.core.keys import secret_hash
from portal.infra.db import db
from portal.organizations.letters import lock_user
from portal.organizations.models import HalfSignIn, User
from portal.organizations.passkeys import Site, check_passkey, check_signing_in
from portal.organizations.sessions import SignInRefused, open_session
from portal.organizations.two_factors import check_code

CODE_WITHIN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class HalfSignedIn:
    """Whose password was right."""

    user_id: int
    email: str


def begin_second_step(user_id: int, *, now: datetime) -> str:
    """Remember that the password was right; return the token for a cookie of its own."""
    token = secrets.token_urlsafe(32)
    half = HalfSignIn(token_sha256=secret_hash(token), user_id=user_id, expires_at=now + CODE_WITHIN)
    db.session.add(half)
    return token


def half_signed_in(token: str, *, now: datetime) -> HalfSignedIn | None:
    """Who is half signed in; None if the time is over, the code was given, or the password has changed since."""
    row = db.session.execute(
        select(User.id, User.email)
        .join(HalfSignIn, HalfSignIn.user_id == User.id)
        .where(HalfSignIn.token_sha256 == secret_hash(token), HalfSignIn.expires_at > now, User.disabled_at.is_(None))
    ).one_or_none()
    return HalfSignedIn(*row) if row else None


def finish_second_step(
    token: str,
    code: str,
    *,
    keys: Sequence[str],
    now: datetime,
    days: int,
    address: str | None,
    user_agent: str | None,
) -> str:
    """Open the session for a right code; return its token. Raises InvalidInput (field "code"), and nothing ended."""
    user_id = _end_half(token, now=now)
    check_code(user_id, code, keys=keys, now=now)
    return open_session(lock_user(user_id), now=now, days=days, address=address, user_agent=user_agent)


def finish_with_passkey(
    token: str,
    credential: str,
    *,
    site: Site,
    now: datetime,
    days: int,
    address: str | None,
    user_agent: str | None,
) -> str:
    """The same for what a passkey has signed."""
    user_id = _end_half(token, now=now)
    check_passkey(user_id, credential, site=site, now=now)
    return open_session(lock_user(user_id), now=now, days=days, address=address, user_agent=user_agent)


def sign_in_with_passkey(
    token: str,
    credential: str,
    *,
    site: Site,
    now: datetime,
    days: int,
    address: str | None,
    user_agent: str | None,
) -> str:
    """Open the session of whoever's passkey has signed, without a password. Raises InvalidInput or SignInRefused."""
    user = lock_user(check_signing_in(token, credential, site=site, now=now))
    if user.disabled_at is not None:
        raise SignInRefused("This account is switched off here. Ask us if you think that it should not be.")
    return open_session(user, now=now, days=days, address=address, user_agent=user_agent)


def forget_old_half_sign_ins(*, now: datetime) -> None:
    """Drop those whose time is over; run by the clock."""
    db.session.execute(delete(HalfSignIn).where(HalfSignIn.expires_at <= now))


def _end_half(token: str, *, now: datetime) -> int:
    user_id: int | None = db.session.scalar(
        delete(HalfSignIn)
        .where(HalfSignIn.token_sha256 == secret_hash(token), HalfSignIn.expires_at > now)
        .returning(HalfSignIn.user_id)
    )
    if user_id is None:
        raise InvalidInput("Signing in took too long. Begin again.", field="code")
    return user_id
