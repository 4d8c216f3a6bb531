"""Who belongs to an organization, in which role; there is always an owner left."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select

from portal.core.errors import InvalidInput, NotFound
from portal.infra import audit
from portal.infra.db import db
from portal.organizations.models import Membership, Organization, User, UserSession
from portal.organizations.roles import CUSTOMER_ROLES

OWNER = "owner"


@dataclass(frozen=True, slots=True)
class Member:
    """One person in an organization."""

    public_id: UUID
    name: str
    email: str
    role: str
    since: datetime
    last_seen_at: datetime | None


def members_of(organization_id: int) -> list[Member]:
    """Everybody who belongs to it, by name; last seen, for whoever is signed in somewhere."""
    seen = (
        select(func.max(UserSession.last_seen_at)).where(UserSession.user_id == User.id).correlate(User)
    ).scalar_subquery()
    rows = db.session.execute(
        select(User.public_id, User.name, User.email, Membership.role, Membership.created_at, seen)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.organization_id == organization_id, User.disabled_at.is_(None))
        .order_by(func.lower(User.name), User.id)
    )
    return [Member(*row) for row in rows]


def change_role(organization_id: int, user_public_id: UUID, role: str) -> int:
    """Give a member another role; return the user's id. Raises InvalidInput for the last owner, NotFound for others."""
    membership = _lock_member(organization_id, user_public_id)
    require_role(role)
    if membership.role == role:
        return membership.user_id
    _require_another_owner(membership)
    before, membership.role = membership.role, role
    _note("changed a member's role", membership, before={"role": before}, after={"role": role})
    return membership.user_id


def remove_member(organization_id: int, user_public_id: UUID) -> int:
    """End a membership; the next page that they ask for is none of this organization's. Raises as `change_role`."""
    membership = _lock_member(organization_id, user_public_id)
    _require_another_owner(membership)
    db.session.delete(membership)
    _note("removed a member", membership, before={"role": membership.role}, after=None)
    return membership.user_id


def require_role(role: str) -> None:
    """Raises InvalidInput for a role that there is not."""
    if role not in CUSTOMER_ROLES:
        raise InvalidInput("Choose a role of the list.", field="role")


def lock_organization(organization_id: int) -> Organization:
    """One change of members at a time: two owners cannot both leave because each saw the other."""
    return db.session.get_one(Organization, organization_id, with_for_update=True, populate_existing=True)


def _lock_member(organization_id: int, user_public_id: UUID) -> Membership:
    lock_organization(organization_id)
    membership = db.session.scalar(
        select(Membership)
        .join(User, User.id == Membership.user_id)
        .where(Membership.organization_id == organization_id, User.public_id == user_public_id)
        .execution_options(populate_existing=True)
    )
    if membership is None:
        raise NotFound("There is no such member.")
    return membership


def _require_another_owner(membership: Membership) -> None:
    if membership.role != OWNER:
        return
    others = (
        select(Membership.id)
        .join(User, User.id == Membership.user_id)
        .where(
            Membership.organization_id == membership.organization_id,
            Membership.role == OWNER,
            Membership.id != membership.id,
            User.disabled_at.is_(None),
        )
    )
    if db.session.scalar(others.limit(1)) is None:
        raise InvalidInput("This is the last owner. Make somebody else an owner first.", field="role")


def _note(action: str, membership: Membership, *, before: dict[str, str] | None, after: dict[str, str] | None) -> None:
    audit.record(
        action,
        subject="user",
        subject_id=membership.user_id,
        organization_id=membership.organization_id,
        before=before,
        after=after,
    )
