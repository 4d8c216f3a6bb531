"""Inviting people by mail into an organization, in a role. The link is for the one address, works once, for 7 days.

What the sender and the holder of a link read never depends on whether the address has an account.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, update

from portal.core.errors import InvalidInput, NotFound
from portal.core.keys import secret_hash
from portal.core.saying import Said
from portal.infra import audit
from portal.infra.db import db
from portal.infra.mail import is_address
from portal.organizations.letters import GOOD_FOR, LetterKind, ask_for_letter
from portal.organizations.members import lock_organization, require_role
from portal.organizations.models import AccountLetter, Invitation, Membership, User
from portal.organizations.passwords import hash_password, require_good_password
from portal.organizations.people import add_member, create_user, user_by_email

SPENT = Said("This invitation was used or taken back, or is too old. Ask whoever invited you for a new one.")


def open_invitations(organization_id: int) -> list[Invitation]:
    """Those that nobody has accepted or taken back, the newest first; too old ones too, for they can be sent again."""
    return list(
        db.session.scalars(
            select(Invitation)
            .where(Invitation.organization_id == organization_id, Invitation.ended_at.is_(None))
            .order_by(Invitation.id.desc())
            .execution_options(populate_existing=True)
        )
    )


def invite(organization_id: int, email: str, role: str, *, by_id: int, now: datetime) -> Invitation:
    """Queue a mail with a link into the organization. Raises InvalidInput; a member or an open invitation stands."""
    require_role(role)
    email = email.strip()
    if not is_address(email):
        raise InvalidInput("That is not an e-mail address.", field="email")
    lock_organization(organization_id)
    if any(each.email.lower() == email.lower() for each in open_invitations(organization_id)):
        raise InvalidInput("This address is invited already: send that invitation again.", field="email")
    if _is_member(organization_id, email):
        raise InvalidInput("This person is a member already.", field="email")
    invitation = Invitation(
        organization_id=organization_id,
        email=email,
        role=role,
        invited_by_id=by_id,
        created_at=now,
        expires_at=now + GOOD_FOR[LetterKind.INVITATION],
    )
    db.session.add(invitation)
    db.session.flush()
    _send(invitation, now=now)
    _note("invited", invitation)
    return invitation


def send_again(organization_id: int, public_id: UUID, *, now: datetime) -> None:
    """A new link for another 7 days; the one before ends. Raises NotFound."""
    invitation = _lock(organization_id, public_id)
    _end_links(invitation, now=now)
    invitation.expires_at = now + GOOD_FOR[LetterKind.INVITATION]
    _send(invitation, now=now)
    _note("sent an invitation again", invitation)


def take_back(organization_id: int, public_id: UUID, *, now: datetime) -> None:
    """End an invitation and its link. Raises NotFound."""
    invitation = _lock(organization_id, public_id)
    _end_links(invitation, now=now)
    invitation.ended_at = now
    _note("took an invitation back", invitation)


def invitation_of(token: str, *, now: datetime) -> Invitation | None:
    """The invitation behind a link that works; looking does not use it up."""
    return db.session.scalar(
        select(Invitation)
        .join(AccountLetter, AccountLetter.invitation_id == Invitation.id)
        .where(
            AccountLetter.token_sha256 == secret_hash(token),
            AccountLetter.used_at.is_(None),
            AccountLetter.expires_at > now,
            Invitation.ended_at.is_(None),
        )
        .execution_options(populate_existing=True)
    )


def accept_as_new(token: str, name: str, password: str, *, now: datetime) -> None:
    """Make an account for the address and a member of it. Where there is one already nothing happens at all, after the
    same work: whoever holds only a link must neither enter somebody's account nor learn of it. Raises InvalidInput.
    """
    invitation = _use(token, now=now)
    if not name.strip():
        raise InvalidInput("Enter your name.", field="name")
    require_good_password(password, email=invitation.email, name=name)
    if user_by_email(invitation.email) is not None:
        hash_password(password)
        return
    _join(create_user(email=invitation.email, name=name.strip(), password=password), invitation, now=now)


def accept_as(user_id: int, token: str, *, now: datetime) -> str:
    """Join as somebody who is signed in with the invited address; the organization's name. Raises InvalidInput."""
    invitation = _use(token, now=now)
    user = db.session.get_one(User, user_id, populate_existing=True)
    if user.email.lower() != invitation.email.lower() or user.staff_role is not None:
        raise InvalidInput("This invitation is for another address. Sign in with that one.", field="token")
    _join(user, invitation, now=now)
    return invitation.organization.name


def _join(user: User, invitation: Invitation, *, now: datetime) -> None:
    add_member(user, invitation.organization, invitation.role)
    _end_links(invitation, now=now)
    invitation.ended_at = now
    audit.record(
        "accepted an invitation",
        subject="user",
        subject_id=user.id,
        organization_id=invitation.organization_id,
        after={"role": invitation.role},
    )


def _use(token: str, *, now: datetime) -> Invitation:
    """The invitation of a link, after whoever else is using it has finished."""
    found = invitation_of(token, now=now)
    if found is not None:
        lock_organization(found.organization_id)
        found = invitation_of(token, now=now)
    if found is None:
        raise InvalidInput(SPENT, field="token")
    return found


def _lock(organization_id: int, public_id: UUID) -> Invitation:
    lock_organization(organization_id)
    found = next((each for each in open_invitations(organization_id) if each.public_id == public_id), None)
    if found is None:
        raise NotFound("There is no such invitation any more.")
    return found


def _send(invitation: Invitation, *, now: datetime) -> None:
    ask_for_letter(LetterKind.INVITATION, None, invitation.email, now=now, invitation_id=invitation.id)


def _end_links(invitation: Invitation, *, now: datetime) -> None:
    db.session.execute(
        update(AccountLetter)
        .where(AccountLetter.invitation_id == invitation.id, AccountLetter.used_at.is_(None))
        .values(used_at=now)
    )


def _is_member(organization_id: int, email: str) -> bool:
    found = (
        select(Membership.id)
        .join(User, User.id == Membership.user_id)
        .where(Membership.organization_id == organization_id, func.lower(User.email) == email.lower())
    )
    return db.session.scalar(found) is not None


def _note(action: str, invitation: Invitation) -> None:
    audit.record(
        action,
        subject="invitation",
        subject_id=invitation.id,
        organization_id=invitation.organization_id,
        after={"email": invitation.email, "role": invitation.role},
    )
