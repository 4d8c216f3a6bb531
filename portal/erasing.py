"""Erasing a person: what is theirs alone goes, what has to stay has a name that is nobody's."""

import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import aliased

from portal.announcements.models import AnnouncementDismissal
from portal.core.errors import InvalidInput
from portal.infra import audit
from portal.infra.db import Model, db
from portal.mailing.models import Mail, MailChoice
from portal.organizations.letters import lock_user
from portal.organizations.models import (
    AccountLetter,
    ApprovalRequest,
    HalfSignIn,
    Invitation,
    Membership,
    Organization,
    OrganizationProviderLink,
    Passkey,
    PasskeyChallenge,
    ProviderLink,
    RecoveryCode,
    SavedFilter,
    SecondFactor,
    User,
    UserSession,
)
from portal.organizations.passwords import hash_password

# What is a person's alone; each has their `user_id`.
THEIRS: tuple[type[Model], ...] = (
    *(UserSession, HalfSignIn, Passkey, PasskeyChallenge, SecondFactor, RecoveryCode, ProviderLink, AccountLetter),
    *(OrganizationProviderLink, MailChoice, AnnouncementDismissal, SavedFilter, Membership),
)
# Tables that go on pointing at the account, which has no name any more.
KEPT = {
    "approval_requests": "who asked and who decided are two people; their names are replaced",
    "invitations": "whom somebody has invited; their own address is replaced",
    "api_keys": "keys are the organization's",
    "one_off_items": "items are on invoices",
}
NOBODY = "erased.invalid"


@dataclass(frozen=True, slots=True)
class Erased:
    """What an account is called from now on."""

    name: str
    email: str


def erase_person(user_id: int, *, now: datetime) -> Erased:
    """Erase whoever has this account, in the current transaction. Idempotent: the account stays what it was made.

    The audit log and final invoices are not touched: they are kept by law, and sealed (docs/security.md). Raises
    InvalidInput for the last owner of an organization, and for staff who can still sign in.
    """
    user = lock_user(user_id)
    if user.email.endswith(f"@{NOBODY}"):
        return Erased(user.name, user.email)
    _require_others(user)
    mark = user.public_id.hex[-12:]
    erased = Erased(f"Erased person {mark[-4:]}", f"{mark}@{NOBODY}")
    for table in THEIRS:
        db.session.execute(delete(table).where(table.user_id == user.id))  # type: ignore[attr-defined]
    _forget_address(user.email, erased.email)
    for who, name in ((ApprovalRequest.asked_by_id, "asked_by"), (ApprovalRequest.decided_by_id, "decided_by")):
        db.session.execute(update(ApprovalRequest).where(who == user.id).values({name: erased.name}))
    user.name, user.email = erased.name, erased.email
    user.password_hash = hash_password(secrets.token_urlsafe(32))
    user.disabled_at = user.disabled_at or now
    user.language = None
    audit.record("erased a person", subject="user", subject_id=user.id, organization_id=None)
    db.session.flush()
    return erased


def _require_others(user: User) -> None:
    """Nobody is left without an owner or an admin; locks the owners concerned."""
    if user.staff_role is not None and user.disabled_at is None:
        raise InvalidInput("This person works here. Disable the account first.", field="email")
    mine = aliased(Membership)
    owners = db.session.execute(
        select(Membership.user_id, Organization.name, User.disabled_at)
        .join(mine, (mine.organization_id == Membership.organization_id) & (mine.user_id == user.id))
        .join(Organization, Organization.id == Membership.organization_id)
        .join(User, User.id == Membership.user_id)
        .where(mine.role == "owner", Membership.role == "owner", Organization.status != "closed")
        .order_by(Membership.id)
        .with_for_update(of=Membership)
    ).all()
    left = {name for user_id, name, disabled_at in owners if user_id != user.id and disabled_at is None}
    alone = sorted({name for _, name, _ in owners} - left)
    if alone:
        names = ", ".join(alone)
        raise InvalidInput(f"This is the last owner of {names}. Make somebody else an owner first.", field="email")


def _forget_address(email: str, instead: str) -> None:
    """Put another address wherever mails and invitations have this one; letters to it are deleted."""
    db.session.execute(delete(AccountLetter).where(func.lower(AccountLetter.address) == email.lower()))
    db.session.execute(update(Invitation).where(func.lower(Invitation.email) == email.lower()).values(email=instead))
    for column in (Mail.recipients, Mail.delivered):
        replaced = func.array_replace(column, email, instead)
        db.session.execute(update(Mail).where(column.contains([email])).values({column.key: replaced}))
