"""Finding anything by what one has of it: a name, a number, an address, an id of ours or of Stripe's.

One statement for each kind of thing, each by an index; a text of one's own is found anywhere in a name, by trigrams.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, or_, select

from portal.core.errors import InvalidInput
from portal.infra.audit import AuditEntry
from portal.infra.db import db
from portal.invoicing.credit_note_models import CreditNote
from portal.invoicing.models import Invoice, OneOffItem
from portal.organizations.models import ApiKey, Membership, Organization, User

LEAST_CHARACTERS, MOST_CHARACTERS = 3, 200
MOST_OF_A_KIND = 10


@dataclass(frozen=True, slots=True)
class Found:
    """One thing: of which kind, what it is called, what else tells it apart, and the id of the page that shows it.

    `is_exact` if what was typed is its number or id, and not only a part of a name.
    """

    kind: str
    name: str
    more: str
    public_id: UUID | None
    is_exact: bool


def search(typed: str) -> list[Found]:
    """What fits, by kind and at most ten of each. Raises InvalidInput for too short or too long a text."""
    typed = typed.strip()
    if not LEAST_CHARACTERS <= len(typed) <= MOST_CHARACTERS:
        raise InvalidInput(f"Type {LEAST_CHARACTERS} to {MOST_CHARACTERS} characters.", field="q")
    wanted = _Wanted(typed, _uuid_in(typed))
    return [found for look in _KINDS for found in look(wanted)]


@dataclass(frozen=True, slots=True)
class _Wanted:
    text: str
    id: UUID | None

    def is_(self, *values: object) -> bool:
        """Whether one of these is exactly what was typed."""
        return any(str(value).casefold() == self.text.casefold() for value in values if value is not None)


def _organizations(wanted: _Wanted) -> list[Found]:
    query = select(Organization).order_by(Organization.name, Organization.id)
    if wanted.id is not None:
        query = query.where(Organization.public_id == wanted.id)
    elif wanted.text.startswith("cus_"):
        query = query.where(Organization.stripe_customer_id == wanted.text)
    else:
        part = wanted.text
        query = query.where(
            or_(Organization.name.icontains(part, autoescape=True), Organization.slug.icontains(part, autoescape=True))
        )
    return [
        Found(
            "organization",
            each.name,
            each.slug,
            each.public_id,
            wanted.is_(each.public_id, each.slug, each.stripe_customer_id),
        )
        for each in db.session.scalars(query.limit(MOST_OF_A_KIND))
    ]


def _invoices(wanted: _Wanted) -> list[Found]:
    query = select(Invoice, Organization.name).join(Organization, Organization.id == Invoice.organization_id)
    if wanted.id is not None:
        query = query.where(Invoice.public_id == wanted.id)
    elif wanted.text.startswith("in_"):
        query = query.where(Invoice.stripe_id == wanted.text)
    else:
        query = query.where(Invoice.number == wanted.text.upper())
    rows = db.session.execute(query.limit(MOST_OF_A_KIND)).all()
    return [
        Found("invoice", each.number or f"Draft of {each.month}", name, each.public_id, True) for each, name in rows
    ]


def _credit_notes(wanted: _Wanted) -> list[Found]:
    by = CreditNote.public_id == wanted.id if wanted.id else CreditNote.number == wanted.text.upper()
    query = select(CreditNote, Organization.name).join(Organization, Organization.id == CreditNote.organization_id)
    rows = db.session.execute(query.where(by).limit(MOST_OF_A_KIND)).all()
    return [Found("credit note", each.number or "Credit note", name, each.public_id, True) for each, name in rows]


def _people(wanted: _Wanted) -> list[Found]:
    part = wanted.text
    rows = db.session.execute(
        select(User.name, User.email, User.staff_role, Organization.name, Organization.public_id)
        .outerjoin(Membership, Membership.user_id == User.id)
        .outerjoin(Organization, Organization.id == Membership.organization_id)
        .where(or_(User.email.icontains(part, autoescape=True), User.name.icontains(part, autoescape=True)))
        .order_by(func.lower(User.email), Organization.name)
        .limit(MOST_OF_A_KIND)
    )
    return [
        Found("person", email, f"{name}, {of or ('staff' if role else 'of no organization')}", place, False)
        for name, email, role, of, place in rows
    ]


def _items(wanted: _Wanted) -> list[Found]:
    rows = db.session.execute(
        select(OneOffItem.description, Organization.name, Invoice.public_id)
        .join(Invoice, Invoice.id == OneOffItem.invoice_id)
        .join(Organization, Organization.id == OneOffItem.organization_id)
        .where(OneOffItem.description.icontains(wanted.text, autoescape=True), OneOffItem.removed_at.is_(None))
        .order_by(OneOffItem.id.desc())
        .limit(MOST_OF_A_KIND)
    )
    return [Found("item", description, name, public_id, False) for description, name, public_id in rows]


def _keys(wanted: _Wanted) -> list[Found]:
    rows = db.session.execute(
        select(ApiKey.prefix, ApiKey.name, Organization.name, Organization.public_id)
        .join(Organization, Organization.id == ApiKey.organization_id)
        .where(ApiKey.prefix == wanted.text[:_PREFIX_CHARACTERS])
        .limit(MOST_OF_A_KIND)
    )
    return [Found("API key", f"{prefix}…", f"{name}, {of}", place, False) for prefix, name, of, place in rows]


def _requests(wanted: _Wanted) -> list[Found]:
    rows = db.session.execute(
        select(AuditEntry.request_id, func.count(), func.min(AuditEntry.actor_name))
        .where(AuditEntry.request_id == wanted.text.lower())
        .group_by(AuditEntry.request_id)
    )
    return [Found("request", request or "", f"{count} changes by {who}", None, True) for request, count, who in rows]


# As much of a key as is kept and shown.
_PREFIX_CHARACTERS = 12
_KINDS: tuple[Callable[[_Wanted], list[Found]], ...] = (
    *(_organizations, _invoices, _credit_notes, _people, _items, _keys, _requests),
)


def _uuid_in(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
