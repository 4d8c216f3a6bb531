"""People and their places: users, and memberships in organizations."""

from sqlalchemy import func, select

from portal.core.errors import InvalidInput
from portal.infra import audit
from portal.infra.db import db
from portal.organizations.models import Membership, Organization, User
from portal.organizations.passwords import hash_password, require_good_password


def create_user(*, email: str, name: str, password: str, staff_role: str | None = None) -> User:
    """Add a person. Raises InvalidInput for an address that is taken or a password that is not good enough."""
    if "@" not in email:
        raise InvalidInput("That is not an e-mail address.", field="email")
    require_good_password(password, email=email, name=name)
    if user_by_email(email) is not None:
        raise InvalidInput("There is already a user with this e-mail address.", field="email")
    user = User(email=email, name=name, password_hash=hash_password(password), staff_role=staff_role)
    db.session.add(user)
    db.session.flush()
    audit.record(
        "created user",
        subject="user",
        subject_id=user.id,
        organization_id=None,
        after={"staff_role": staff_role},
    )
    return user


def user_by_email(email: str) -> User | None:
    """The user with this address, whatever its case; None if there is none."""
    return db.session.scalar(select(User).where(func.lower(User.email) == email.strip().lower()))


def add_member(user: User, organization: Organization, role: str) -> Membership:
    """Give a person a role in an organization. Idempotent: an existing membership keeps its role."""
    membership = db.session.scalar(
        select(Membership).where(Membership.user_id == user.id, Membership.organization_id == organization.id)
    )
    if membership is None:
        membership = Membership(user_id=user.id, organization_id=organization.id, role=role)
        db.session.add(membership)
        db.session.flush()
        audit.record(
            "added member",
            subject="user",
            subject_id=user.id,
            organization_id=organization.id,
            after={"role": role},
        )
    return membership
