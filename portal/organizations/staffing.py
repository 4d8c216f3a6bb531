"""Who works here, in which role; there is always an admin left, and nobody changes themselves."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, select, text

from portal.core.errors import InvalidInput, NotFound
from portal.infra import audit
from portal.infra.db import db
from portal.infra.mail import is_address
from portal.organizations.letters import LetterKind, ask_for_letter, end_links
from portal.organizations.models import User, UserSession
from portal.organizations.people import create_user
from portal.organizations.roles import STAFF_ROLES, Permission
from portal.organizations.two_factors import has_two_factors

ADMIN_ROLE = "admin"
# Of one change at a time: two admins cannot both be taken the role because each was still there for the other.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('staff'))")


@dataclass(frozen=True, slots=True)
class StaffMember:
    """One person of the staff; last seen, for whoever is signed in somewhere."""

    public_id: UUID
    name: str
    email: str
    role: str
    has_two_factors: bool
    disabled_at: datetime | None
    last_seen_at: datetime | None


def staff() -> list[StaffMember]:
    """Everybody who works here or did, by name."""
    seen = (
        select(func.max(UserSession.last_seen_at)).where(UserSession.user_id == User.id).correlate(User)
    ).scalar_subquery()
    rows = db.session.execute(
        select(User.public_id, User.name, User.email, User.staff_role, has_two_factors(), User.disabled_at, seen)
        .where(User.staff_role.is_not(None))
        .order_by(User.disabled_at.is_not(None), func.lower(User.name), User.id)
    )
    # The condition leaves none without a role.
    return [StaffMember(*row) for row in rows]  # type: ignore[arg-type]


def names_of_staff_who_may(permission: Permission) -> list[str]:
    """The names of everybody of the staff who can sign in and whose role includes this, in their order."""
    roles = [role for role, held in STAFF_ROLES.items() if permission in held]
    query = select(User.name).where(User.staff_role.in_(roles), User.disabled_at.is_(None))
    return list(db.session.scalars(query.order_by(func.lower(User.name), User.id)))


def add_staff(email: str, name: str, role: str, *, now: datetime) -> User:
    """Make an account without a password that anybody knows, and queue a mail with a link to set one.

    Raises InvalidInput for a name or role that is none, and an address that is none or taken.
    """
    _require_role(role)
    if not name.strip():
        raise InvalidInput("Enter the person's name.", field="name")
    if not is_address(email.strip()):
        raise InvalidInput("That is not an e-mail address.", field="email")
    user = create_user(email=email.strip(), name=name.strip(), password=secrets.token_urlsafe(32), staff_role=role)
    ask_for_letter(LetterKind.RESET_PASSWORD, user, user.email, now=now)
    return user


def change_staff_role(public_id: UUID, role: str, *, by_id: int) -> None:
    """Give somebody another role. Idempotent. Raises InvalidInput for oneself and the last admin, NotFound."""
    _require_role(role)
    user = _lock(public_id, by_id=by_id)
    before = user.staff_role
    if before == role:
        return
    _require_another_admin(user)
    user.staff_role = role
    _note("changed a staff role", user, before={"role": before}, after={"role": role})


def disable_staff(public_id: UUID, *, by_id: int, now: datetime) -> None:
    """Let somebody sign in no more, and end their sessions and links; what they did stays theirs. Idempotent.

    Raises InvalidInput for oneself and the last admin, NotFound.
    """
    user = _lock(public_id, by_id=by_id)
    if user.disabled_at is not None:
        return
    _require_another_admin(user)
    user.disabled_at = now
    _end_sessions(user)
    end_links(user.id, now=now)
    _note("disabled a member of staff", user, before=None, after={"role": user.staff_role})


def enable_staff(public_id: UUID, *, by_id: int) -> None:
    """Let somebody sign in again. Idempotent. Raises InvalidInput for oneself, NotFound."""
    user = _lock(public_id, by_id=by_id)
    if user.disabled_at is None:
        return
    user.disabled_at = None
    _note("enabled a member of staff", user, before=None, after={"role": user.staff_role})


def sign_staff_out(public_id: UUID, *, by_id: int) -> int:
    """End all sessions of somebody; how many there were. Idempotent. Raises InvalidInput for oneself, NotFound."""
    user = _lock(public_id, by_id=by_id)
    ended = _end_sessions(user)
    if ended:
        _note("signed a member of staff out", user, before=None, after={"sessions": ended})
    return ended


def _require_role(role: str) -> None:
    if role not in STAFF_ROLES:
        raise InvalidInput("Choose a role of the list.", field="role")


def _lock(public_id: UUID, *, by_id: int) -> User:
    db.session.execute(_LOCK)
    user: User | None = db.session.scalar(
        select(User)
        .where(User.public_id == public_id, User.staff_role.is_not(None))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if user is None:
        raise NotFound("There is no such member of staff.")
    if user.id == by_id:
        raise InvalidInput("Ask another admin to change your own account.", field="role")
    return user


def _require_another_admin(user: User) -> None:
    others = select(User.id).where(User.staff_role == ADMIN_ROLE, User.disabled_at.is_(None), User.id != user.id)
    if user.staff_role == ADMIN_ROLE and db.session.scalar(others.limit(1)) is None:
        raise InvalidInput("This is the last admin. Make somebody else an admin first.", field="role")


def _end_sessions(user: User) -> int:
    return len(
        db.session.scalars(delete(UserSession).where(UserSession.user_id == user.id).returning(UserSession.id)).all()
    )


def _note(action: str, user: User, *, before: dict[str, str | None] | None, after: dict[str, str | int | None]) -> None:
    audit.record(action, subject="user", subject_id=user.id, organization_id=None, before=before, after=after)
