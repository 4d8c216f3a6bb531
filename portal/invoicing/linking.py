"""Which organization pays for which others, by whole months.

Each organization still gets an invoice of its own; what it asks for is moved to the payer's (see linked_drafts.py).
"""

from collections.abc import Iterable
from datetime import date

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import joinedload

from portal.core.errors import InvalidInput
from portal.core.periods import Month
from portal.infra import audit
from portal.infra.db import among, db
from portal.invoicing.linked_models import PayerLink
from portal.invoicing.queries import open_from
from portal.organizations.locking import lock_organization, lock_organizations


def link_to_payer(organization_id: int, payer_id: int, *, first_month: Month) -> PayerLink:
    """Agree that the payer pays for the organization from a month on. Idempotent.

    Raises InvalidInput if their currencies differ, if one of the two has a payer already or the organization pays
    for others, and for a month that is final for either. NotFound if one does not exist.
    """
    if organization_id == payer_id:
        raise InvalidInput("An organization pays for itself without a link.", field="payer")
    lock_organizations([organization_id, payer_id])
    organization, payer = lock_organization(organization_id), lock_organization(payer_id)
    if organization.currency != payer.currency:
        raise InvalidInput(
            f"{organization.name} is billed in {organization.currency} and {payer.name} in {payer.currency};"
            " a payer has the same currency.",
            field="payer",
        )
    # A link that ended in its first month never held.
    held = PayerLink.end_day > func.greatest(PayerLink.first_day, first_month.first_day)
    lasting = or_(PayerLink.end_day.is_(None), held)
    own = _first(lasting, PayerLink.organization_id == organization_id)
    if own is not None and (own.payer_id, own.first_day, own.end_day) == (payer_id, first_month.first_day, None):
        return own
    if own is not None:
        raise InvalidInput(f"{organization.name} has a payer in that month or later: {own.payer.name}.", field="payer")
    if _first(lasting, PayerLink.organization_id == payer_id) is not None:
        raise InvalidInput(f"{payer.name} has a payer itself, and cannot be one.", field="payer")
    if _first(lasting, PayerLink.payer_id == organization_id) is not None:
        raise InvalidInput(f"{organization.name} pays for others, and cannot have a payer.", field="payer")
    _require_open(organization_id, payer_id, first_month.first_day)
    link = PayerLink(
        organization_id=organization_id,
        payer_id=payer_id,
        currency=payer.currency,
        first_day=first_month.first_day,
    )
    db.session.add(link)
    db.session.flush()
    _record("linked to a payer", link, before=None)
    return link


def end_link(organization_id: int, *, end_month: Month, payer_id: int | None = None) -> PayerLink:
    """Let the organization pay for itself again from a month on. Idempotent for the same month.

    Raises InvalidInput if it has no payer (or another than `payer_id`), for a month before the link's first, and for
    one that is final for either.
    """
    ended = PayerLink.end_day == end_month.first_day
    found = _first(PayerLink.organization_id == organization_id, or_(PayerLink.end_day.is_(None), ended))
    if found is None or payer_id not in (None, found.payer_id):
        raise InvalidInput("That organization has no payer, or another one.", field="organization")
    lock_organizations([organization_id, found.payer_id])
    link = db.session.get_one(PayerLink, found.id, populate_existing=True)
    if link.end_day == end_month.first_day:
        return link
    if link.end_day is not None:
        raise InvalidInput("That organization has no payer any more.", field="organization")
    if end_month.first_day < link.first_day:
        raise InvalidInput(f"The link begins in {Month.of(link.first_day)}; end it then or later.", field="month")
    _require_open(organization_id, link.payer_id, end_month.first_day)
    link.end_day = end_month.first_day
    db.session.flush()
    _record("unlinked from its payer", link, before={"end_day": None})
    return link


def links_of(organization_ids: Iterable[int], month: Month) -> list[PayerLink]:
    """The links in force in a month that these organizations have on either side, in the order of their making."""
    among_these = [among(side, organization_ids) for side in (PayerLink.organization_id, PayerLink.payer_id)]
    query = (
        select(PayerLink)
        .where(
            or_(*among_these),
            PayerLink.first_day <= month.first_day,
            or_(PayerLink.end_day.is_(None), PayerLink.end_day > month.first_day),
        )
        .options(joinedload(PayerLink.organization), joinedload(PayerLink.payer))
        .order_by(PayerLink.id)
    )
    return list(db.session.scalars(query))


def _first(*conditions: ColumnElement[bool]) -> PayerLink | None:
    # An open link comes before one that has ended.
    query = select(PayerLink).where(*conditions).order_by(PayerLink.end_day.desc().nulls_first(), PayerLink.id)
    return db.session.scalar(query.limit(1))


def _require_open(organization_id: int, payer_id: int, day: date) -> None:
    for each in (organization_id, payer_id):
        opens = open_from(organization_id=each)
        if opens is not None and day < opens:
            raise InvalidInput(f"Months before {opens:%Y-%m} are final for one of the two.", field="month")


def _record(action: str, link: PayerLink, before: dict[str, object] | None) -> None:
    audit.record(
        action,
        subject="organization",
        subject_id=link.organization_id,
        organization_id=link.organization_id,
        before=before,
        after={
            "payer_id": link.payer_id,
            "first_day": str(link.first_day),
            "end_day": str(link.end_day) if link.end_day else None,
        },
    )
