"""Signing in and out: server-side sessions that end when their row is deleted."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select, update

from portal.core.errors import NotFound, PortalError
from portal.core.keys import secret_hash
from portal.core.saying import Said
from portal.infra import audit
from portal.infra.audit import Actor
from portal.infra.db import db
from portal.organizations.models import Membership, Organization, OrganizationProvider, User, UserSession
from portal.organizations.passwords import password_matches
from portal.organizations.roles import CUSTOMER_ROLES, STAFF_ROLES, Permission
from portal.organizations.session_list import SEEN_IS_NOTED_EVERY
from portal.organizations.two_factors import has_two_factors

MOST_FORGOTTEN_AT_ONCE = 1_000


class CodeNeeded(Exception):
    """The password is right, and this person has a second factor: no session before a code."""

    def __init__(self, user_id: int) -> None:
        super().__init__("a code is needed")
        self.user_id = user_id


class SignInRefused(PortalError):
    """The same sentence for an unknown address, a wrong password and a disabled user."""

    code, status = "sign_in_refused", 422


@dataclass(frozen=True, slots=True)
class Seat:
    """One organization that a user belongs to, and in which role."""

    organization_id: int
    slug: str
    name: str
    currency: str
    role: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is signed in, as plain facts: safe to keep for a whole request, whatever its transactions do.

    `viewing` is the organization that a member of staff looks at as its customer, until a moment.
    """

    user_id: int
    name: str
    email: str
    theme: str
    staff_role: str | None
    seats: tuple[Seat, ...]
    seat: Seat | None
    was_seen_long_ago: bool = False
    has_two_factors: bool = False
    confirmed_at: datetime | None = None
    viewing: Seat | None = None
    viewing_until: datetime | None = None
    shortcuts: bool = True
    language: str | None = None
    # An organization's own provider has let them in: into that one only.
    is_guest_of_provider: bool = False

    @property
    def actor(self) -> Actor:
        """The name under which this person's changes are audited."""
        return Actor("user", self.name, self.user_id)

    def may(self, permission: Permission) -> bool:
        """Whether the role, in the chosen organization or as staff, includes this."""
        return permission in self.permissions

    @property
    def permissions(self) -> frozenset[Permission]:
        """All permissions of this person here and now."""
        staff = STAFF_ROLES[self.staff_role] if self.staff_role else frozenset()
        customer = CUSTOMER_ROLES[self.seat.role] if self.seat else frozenset()
        return staff | customer


def sign_in(email: str, password: str, *, now: datetime, days: int, address: str | None, user_agent: str | None) -> str:
    """Check the password and open a session; return the token for the cookie. Raises SignInRefused or CodeNeeded."""
    found = db.session.execute(
        select(User, has_two_factors())
        .where(func.lower(User.email) == email.strip().lower())
        .execution_options(populate_existing=True)
    ).one_or_none()
    user, needs_code = found or (None, False)
    if not password_matches(user.password_hash if user else None, password) or user is None or user.disabled_at:
        raise SignInRefused("This e-mail address and password do not belong together. Check both and try again.")
    if needs_code:
        raise CodeNeeded(user.id)
    return open_session(user, now=now, days=days, address=address, user_agent=user_agent)


def open_session(
    user: User,
    *,
    now: datetime,
    days: int,
    address: str | None,
    user_agent: str | None,
    only_organization_id: int | None = None,
) -> str:
    """Open a session for somebody who has shown who they are; return the token for the cookie.

    With `only_organization_id` it reaches this organization alone: its own provider has said who it is. Raises
    SignInRefused for somebody whose organizations ask for that.
    """
    if only_organization_id is None:
        _require_freedom(user)
    token = secrets.token_urlsafe(32)
    first_seat = only_organization_id or db.session.scalar(
        select(Membership.organization_id).where(Membership.user_id == user.id).order_by(Membership.id).limit(1)
    )
    db.session.add(
        UserSession(
            token_sha256=secret_hash(token),
            user_id=user.id,
            organization_id=first_seat,
            created_at=now,
            last_seen_at=now,
            confirmed_at=now,
            expires_at=now + timedelta(days=days),
            address=address,
            user_agent=(user_agent or "")[:200],
            only_organization_id=only_organization_id,
        )
    )
    audit.record("signed in", subject="user", subject_id=user.id, organization_id=only_organization_id)
    return token


def _require_freedom(user: User) -> None:
    """Members whose organizations all have them use a provider of their own do so; owners may always come in."""
    rows = db.session.execute(
        select(Organization.slug, Membership.role, OrganizationProvider.is_required)
        .join(Membership, Membership.organization_id == Organization.id)
        .outerjoin(OrganizationProvider, OrganizationProvider.organization_id == Organization.id)
        .where(Membership.user_id == user.id)
        .order_by(Organization.slug)
    ).all()
    if user.staff_role is None and rows and all(required and role != "owner" for _, role, required in rows):
        raise SignInRefused(
            Said(
                "Your organization has its people sign in at its own provider. Choose “Sign in with your organization”"
                " and enter %(slug)s.",
                slug=rows[0].slug,
            )
        )


# What somebody sees who looks as a customer: nothing secret, and nothing to change.
VIEWING_ROLE = "viewer"


@dataclass(frozen=True, slots=True)
class IdleLimits:
    """After so many hours in which nothing was asked for a session ends by itself; 0 is never."""

    customers: int = 0
    staff: int = 0


def identity_of(token: str, *, now: datetime, idle: IdleLimits = IdleLimits()) -> Identity | None:
    """Who holds this session token; None if it is unknown, has ended, expired or lain idle, or the user is disabled."""
    found = db.session.execute(
        select(UserSession, User, has_two_factors())
        .join(User, User.id == UserSession.user_id)
        .where(UserSession.token_sha256 == secret_hash(token))
        .execution_options(populate_existing=True)
    ).one_or_none()
    if found is None:
        return None
    session, user, with_code = found
    if session.expires_at <= now or user.disabled_at is not None:
        return None
    only = session.only_organization_id
    if only is not None and user.staff_role is not None:
        return None
    hours = idle.staff if user.staff_role is not None else idle.customers
    if hours and session.last_seen_at <= now - timedelta(hours=hours):
        return None
    rows = db.session.execute(
        select(Organization.id, Organization.slug, Organization.name, Organization.currency, Membership.role)
        .join(Membership, Membership.organization_id == Organization.id)
        .where(Membership.user_id == user.id, Organization.status != "closed")
        .order_by(Organization.name)
    )
    seats = tuple(Seat(*row) for row in rows if only in (None, row.id))
    seat = next((each for each in seats if each.organization_id == session.organization_id), None)
    return Identity(
        user.id,
        user.name,
        user.email,
        user.theme,
        user.staff_role,
        seats,
        seat or (seats[0] if seats else None),
        was_seen_long_ago=session.last_seen_at < now - SEEN_IS_NOTED_EVERY,
        has_two_factors=with_code,
        confirmed_at=session.confirmed_at,
        shortcuts=user.shortcuts,
        language=user.language,
        is_guest_of_provider=only is not None,
        **_viewing(session, user, now=now),
    )


def _viewing(session: UserSession, user: User, *, now: datetime) -> dict[str, Any]:
    """What a member of staff looks at from this session; nothing, once its time is over or they are staff no more."""
    if session.viewing_until is None or session.viewing_until <= now or user.staff_role is None:
        return {}
    row = db.session.execute(
        select(Organization.id, Organization.slug, Organization.name, Organization.currency).where(
            Organization.id == session.viewing_id
        )
    ).one()
    return {"viewing": Seat(*row, role=VIEWING_ROLE), "viewing_until": session.viewing_until}


def choose_organization(token: str, slug: str, identity: Identity) -> None:
    """Switch a session to another of the user's organizations. Raises NotFound for any other."""
    seat = next((each for each in identity.seats if each.slug == slug), None)
    if seat is None:
        raise NotFound("There is no such organization.")
    db.session.execute(
        update(UserSession)
        .where(UserSession.token_sha256 == secret_hash(token))
        .values(organization_id=seat.organization_id)
    )


def choose_theme(user_id: int, theme: str) -> None:
    """Remember whether a person wants light or dark pages, or as the system says."""
    db.session.execute(update(User).where(User.id == user_id).values(theme=theme))


def choose_language(user_id: int, language: str | None) -> None:
    """Remember the language in which a person reads pages and mails; None is what the browser asks for."""
    db.session.execute(update(User).where(User.id == user_id).values(language=language))


def choose_shortcuts(user_id: int, *, wanted: bool) -> None:
    """Remember whether a person wants keyboard shortcuts."""
    db.session.execute(update(User).where(User.id == user_id).values(shortcuts=wanted))


def sign_out(token: str) -> None:
    """End the session; its cookie is worth nothing afterwards, wherever a copy of it may be."""
    db.session.execute(delete(UserSession).where(UserSession.token_sha256 == secret_hash(token)))


def forget_ended_sessions(*, now: datetime) -> None:
    """Drop sessions past their end, with the address and browser in them, up to 1,000 at once; run by the clock."""
    ended = select(UserSession.id).where(UserSession.expires_at <= now).limit(MOST_FORGOTTEN_AT_ONCE)
    db.session.execute(delete(UserSession).where(UserSession.id.in_(ended)))
