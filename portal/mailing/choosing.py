"""Who gets mails about invoices: members by their role and their own choice, and the organization's billing address.

Asked when a mail is sent, so that somebody who has left since it was written gets nothing.
"""

import re

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from portal.infra import audit
from portal.infra.db import db
from portal.infra.mail import is_address
from portal.mailing.models import MailChoice
from portal.organizations.models import Membership, Organization, User
from portal.organizations.roles import CUSTOMER_ROLES, STAFF_ROLES, Permission

# Who gets them without having asked.
BY_DEFAULT = frozenset({"owner", "billing"})
_BETWEEN_ADDRESSES = re.compile(r"[\s,;]+")


def wants_invoice_mails(organization_id: int, user_id: int, role: str) -> bool:
    """Whether a member gets mails about invoices: as they chose, else by their role."""
    choice = db.session.scalar(
        select(MailChoice.about_invoices).where(
            MailChoice.organization_id == organization_id, MailChoice.user_id == user_id
        )
    )
    return role in BY_DEFAULT if choice is None else choice


def choose_invoice_mails(organization_id: int, user_id: int, *, wanted: bool) -> None:
    """Keep a member's choice, in the current transaction. Idempotent."""
    db.session.execute(
        insert(MailChoice)
        .values(organization_id=organization_id, user_id=user_id, about_invoices=wanted)
        .on_conflict_do_update(index_elements=["organization_id", "user_id"], set_={"about_invoices": wanted})
    )
    audit.record(
        "chose mails about invoices",
        subject="user",
        subject_id=user_id,
        organization_id=organization_id,
        after={"about_invoices": wanted},
    )


def recipients_about_webhooks(organization_id: int) -> list[str]:
    """Everybody who may manage the webhooks of an organization now; they cannot choose not to hear that one stopped."""
    rows = db.session.execute(
        select(User.email, Membership.role)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.organization_id == organization_id, User.disabled_at.is_(None))
        .order_by(User.email)
    )
    return [email for email, role in rows if Permission.MANAGE_WEBHOOKS in CUSTOMER_ROLES[role] and is_address(email)]


def recipients_about_disputes() -> list[str]:
    """Everybody of staff who may give money back now; they cannot choose not to hear that a bank wants an answer."""
    rows = db.session.execute(
        select(User.email, User.staff_role)
        .where(User.staff_role.is_not(None), User.disabled_at.is_(None))
        .order_by(User.email)
    )
    return [
        email for email, role in rows if role and Permission.VOID_INVOICES in STAFF_ROLES[role] and is_address(email)
    ]


def addresses_of(organization: Organization) -> list[str]:
    """The organization's own billing addresses; there may be several, with commas."""
    return [each for each in _BETWEEN_ADDRESSES.split(organization.billing_email or "") if each]


def recipients_of(organization: Organization) -> list[str]:
    """Everybody who gets mails about this organization's invoices now, each address once; none that is not one."""
    rows = db.session.execute(
        select(User.email, Membership.role, MailChoice.about_invoices)
        .join(Membership, Membership.user_id == User.id)
        .outerjoin(
            MailChoice,
            (MailChoice.user_id == User.id) & (MailChoice.organization_id == Membership.organization_id),
        )
        .where(Membership.organization_id == organization.id, User.disabled_at.is_(None))
        .order_by(User.email)
    )
    members = [
        email
        for email, role, choice in rows
        if Permission.VIEW_INVOICES in CUSTOMER_ROLES[role] and (role in BY_DEFAULT if choice is None else choice)
    ]
    once: dict[str, str] = {}
    for address in filter(is_address, [*addresses_of(organization), *members]):
        once.setdefault(address.lower(), address)
    return list(once.values())
