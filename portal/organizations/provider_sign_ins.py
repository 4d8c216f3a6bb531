"""Signing in by a provider: the way there and back, and which account belongs to whom.

The provider stands in for the password and for nothing else: whoever has a second factor here still gives a code.
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select

from portal.core.errors import InvalidInput
from portal.core.keys import secret_hash
from portal.infra import audit
from portal.infra.db import db
from portal.infra.oidc import Person
from portal.organizations.models import ProviderLink, ProviderSignIn, SecondFactor, User
from portal.organizations.sessions import CodeNeeded, SignInRefused, open_session

BACK_WITHIN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Journey:
    """One way to the provider and back: the cookie's token, what the provider sends back, and what it must repeat."""

    token: str
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What was kept of a journey: where the person wanted to go, and whose own provider it is, if not everybody's."""

    nonce: str
    verifier: str
    next_path: str
    organization_id: int | None


def new_journey() -> Journey:
    """Four secrets of 256 bits each."""
    return Journey(*(secrets.token_urlsafe(32) for _ in range(4)))


def set_out(journey: Journey, next_path: str, *, organization_id: int | None, now: datetime) -> None:
    """Keep what is needed when the person comes back."""
    db.session.add(
        ProviderSignIn(
            token_sha256=secret_hash(journey.token),
            state_sha256=secret_hash(journey.state),
            nonce=journey.nonce,
            verifier=journey.verifier,
            next_path=next_path,
            expires_at=now + BACK_WITHIN,
            organization_id=organization_id,
        )
    )


def come_back(token: str, state: str, *, now: datetime) -> Expected:
    """End a journey: it works once, in the browser that set out. Raises InvalidInput."""
    row = db.session.execute(
        delete(ProviderSignIn)
        .where(
            ProviderSignIn.token_sha256 == secret_hash(token),
            ProviderSignIn.state_sha256 == secret_hash(state),
            ProviderSignIn.expires_at > now,
        )
        .returning(
            ProviderSignIn.nonce, ProviderSignIn.verifier, ProviderSignIn.next_path, ProviderSignIn.organization_id
        )
    ).one_or_none()
    if row is None:
        raise InvalidInput("This sign-in was not begun in this browser, took too long, or was used already.")
    return Expected(*row)


def sign_in_by_provider(
    person: Person,
    *,
    domains: Collection[str],
    now: datetime,
    days: int,
    address: str | None,
    user_agent: str | None,
) -> str:
    """Open a session for whom the provider names; return the token for the cookie.

    Somebody new there is linked to the account with the same confirmed address, if its domain is one of `domains`.
    Raises SignInRefused, or CodeNeeded where there is a second factor.
    """
    user = db.session.scalar(
        select(User)
        .join(ProviderLink, ProviderLink.user_id == User.id)
        .where(ProviderLink.issuer == person.issuer, ProviderLink.subject == person.subject)
        .execution_options(populate_existing=True)
    ) or _link(person, domains, now=now)
    if user.disabled_at is not None:
        raise SignInRefused("This account is switched off here. Ask us if you think that it should not be.")
    if _needs_code(user.id):
        raise CodeNeeded(user.id)
    return open_session(user, now=now, days=days, address=address, user_agent=user_agent)


def note_refused_provider_sign_in(issuer: str, why: str) -> None:
    """Write down that a journey ended without a session, and why."""
    audit.record(
        "sign-in by provider failed",
        subject="user",
        subject_id=None,
        organization_id=None,
        after={"issuer": issuer, "why": why},
    )


def unlink_provider(user: User, *, reason: str) -> None:
    """Take the links off an account, because somebody has another one at the provider now. Raises InvalidInput."""
    if not reason.strip():
        raise InvalidInput("Say why, for the audit log.", field="reason")
    removed = db.session.scalars(
        delete(ProviderLink).where(ProviderLink.user_id == user.id).returning(ProviderLink.issuer)
    ).all()
    if not removed:
        raise InvalidInput("This person has no account linked at a provider.", field="email")
    audit.record(
        "unlinked provider",
        subject="user",
        subject_id=user.id,
        organization_id=None,
        before={"issuers": sorted(removed)},
        reason=reason.strip(),
    )


def forget_old_provider_sign_ins(*, now: datetime) -> None:
    """Drop those that never came back; run by the clock."""
    db.session.execute(delete(ProviderSignIn).where(ProviderSignIn.expires_at <= now))


def _link(person: Person, domains: Collection[str], *, now: datetime) -> User:
    """Link by address, once. The account's row is locked, so that two first sign-ins cannot both link."""
    if person.email is None:
        raise SignInRefused("The provider does not say that your e-mail address is confirmed, so we cannot go by it.")
    user = db.session.scalar(
        select(User)
        .where(func.lower(User.email) == person.email.strip().lower())
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    domain = person.email.strip().lower().rpartition("@")[2]
    if user is None or domain not in domains:
        raise SignInRefused("There is no account here that belongs to yours at the provider. Sign in with a password.")
    linked = select(ProviderLink.id).where(ProviderLink.user_id == user.id, ProviderLink.issuer == person.issuer)
    if db.session.scalar(linked) is not None:
        raise SignInRefused("Your account here belongs to another one at the provider. Ask us to take that link off.")
    db.session.add(
        ProviderLink(user_id=user.id, issuer=person.issuer, subject=person.subject, created_at=now),
    )
    db.session.flush()
    audit.record(
        "linked provider",
        subject="user",
        subject_id=user.id,
        organization_id=None,
        after={"issuer": person.issuer},
    )
    return user


def _needs_code(user_id: int) -> bool:
    found = select(SecondFactor.user_id).where(SecondFactor.user_id == user_id, SecondFactor.confirmed_at.is_not(None))
    return db.session.scalar(found) is not None
