"""Which invoice at Stripe belongs to which of ours, and what differs between them: read here, compared, noted."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, cast, exists, func, or_, select
from sqlalchemy.orm import defer

from portal.core.lifecycle import SyncState
from portal.infra import clock
from portal.infra.db import db
from portal.infra.outbox import OutboxJob
from portal.invoicing.models import Invoice, InvoiceItem
from portal.invoicing.terms import SYNC
from portal.invoicing.voiding import VOID_AT_STRIPE
from portal.invoicing.writing_off import WRITE_OFF_AT_STRIPE
from portal.organizations.models import Organization
from portal.payments import drift, restoring
from portal.payments.comparing import (
    Difference,
    Ours,
    Theirs,
    differences,
    missing_at_stripe,
    moment_of,
    unadopted,
    unmanaged,
    uuid_in,
)
from portal.payments.drift_models import Field
from portal.payments.lines import count_lines
from portal.payments.restoring import Within


def adopt_forgotten(theirs: Sequence[Theirs], *, within: Within) -> int:
    """Adopt what a restored backup has forgotten and is ours exactly; returns how many."""
    with within():
        by_mark = {each.public_id: each for each in load(Invoice.public_id.in_(_marks(theirs)))}
        asked_for = restoring.asked_for_among([each.id for each in by_mark.values()])
    return sum(
        restoring.adopt(by_mark[each.mark], each, within=within, now=clock.now())
        for each in theirs
        if each.mark in by_mark and restoring.is_forgotten(by_mark[each.mark], asked_for=asked_for)
    )


def compare(theirs: Sequence[Theirs], *, now: datetime) -> list[Ours]:
    """Compare invoices at Stripe with ours and note what differs, in the current transaction; returns ours."""
    known = load(or_(Invoice.public_id.in_(_marks(theirs)), Invoice.stripe_id.in_([each.id for each in theirs])))
    by_mark, by_id = {each.public_id: each for each in known}, {each.stripe_id: each for each in known}
    asked_for = restoring.asked_for_among([each.id for each in known])
    organizations = _organizations_of(theirs)
    found: list[Difference | None] = []
    for each in theirs:
        ours = by_id.get(each.id) or (by_mark.get(each.mark) if each.mark else None)
        organization_id = organizations.get(each.customer) or organizations.get(each.customer_mark)
        if ours is not None and not restoring.is_forgotten(ours, asked_for=asked_for):
            # Before the sync has stored the id it is on its way, and no second one.
            found += differences(ours, each) if ours.stripe_id is not None else ()
        elif each.mark is not None:
            found.append(unadopted(each, ours, organization_id))
        else:
            found.append(unmanaged(each, organization_id))
    drift.note([each for each in found if each is not None], now=now)
    drift.keep([each.id for each in known if each.is_on_its_way], now=now)
    return known


def compare_missing(known: Sequence[Ours], *, now: datetime) -> None:
    """Note which of our invoices Stripe should have and has not, in the current transaction."""
    found = [missing_at_stripe(each) for each in known]
    drift.note([each for each in found if each is not None], now=now)
    drift.keep([each.id for each in known if each.is_on_its_way], now=now)


def load(which: ColumnElement[bool], *, limit: int | None = None) -> list[Ours]:
    """Invoices as they are compared, by their ids."""
    items = select(func.count()).where(InvoiceItem.invoice_id == Invoice.id).scalar_subquery()
    moving = exists().where(
        or_(
            OutboxJob.kind.in_((VOID_AT_STRIPE, WRITE_OFF_AT_STRIPE)),
            # The sync of an invoice that was adopted has nothing left to do.
            (OutboxJob.kind == SYNC) & (Invoice.sync_state != SyncState.SYNCED),
        ),
        OutboxJob.dedupe_key == cast(Invoice.id, Text),
        OutboxJob.finished_at.is_(None),
        OutboxJob.dead_at.is_(None),
    )
    rows = db.session.execute(
        select(Invoice, Organization.public_id, Organization.stripe_customer_id, items, moving)
        .join(Organization, Organization.id == Invoice.organization_id)
        .where(which)
        .options(defer(Invoice.document))
        .order_by(Invoice.id)
        .limit(limit)
        .execution_options(populate_existing=True)
    )
    return [_ours(*row) for row in rows]


def _ours(invoice: Invoice, organization: UUID, customer: str | None, items: int, moving: bool) -> Ours:
    return Ours(
        id=invoice.id,
        public_id=invoice.public_id,
        organization_id=invoice.organization_id,
        organization_public_id=organization,
        state=invoice.state,
        sync_state=invoice.sync_state,
        payment_state=invoice.payment_state,
        currency=invoice.currency,
        amount_due=invoice.amount_due,
        stripe_id=invoice.stripe_id,
        customer=customer,
        lines=count_lines(invoice, items),
        is_on_its_way=moving,
    )


def _marks(theirs: Sequence[Theirs]) -> list[UUID]:
    return [each.mark for each in theirs if each.mark is not None]


def _organizations_of(theirs: Sequence[Theirs]) -> dict[Any, int]:
    """Organizations by their Stripe customers and by their own marks on them."""
    rows = db.session.execute(
        select(Organization.id, Organization.public_id, Organization.stripe_customer_id).where(
            or_(
                Organization.stripe_customer_id.in_([each.customer for each in theirs]),
                Organization.public_id.in_([each.customer_mark for each in theirs if each.customer_mark]),
            )
        )
    )
    found: dict[Any, int] = {}
    for organization_id, public_id, customer in rows:
        found[public_id] = organization_id
        if customer is not None:
            found[customer] = organization_id
    return found


def compare_customers(customers: Sequence[dict[str, Any]], *, now: datetime) -> None:
    """Adopt customers that we have forgotten, and note second ones of an organization. In the current transaction."""
    marks = {uuid_in(each, "organization_id"): each for each in customers}
    marks.pop(None, None)
    query = select(Organization).where(Organization.public_id.in_(marks)).order_by(Organization.id).with_for_update()
    organizations = {each.public_id: each for each in db.session.scalars(query)}
    found = []
    for each in customers:
        organization = organizations.get(uuid_in(each, "organization_id"))  # type: ignore[arg-type]
        if organization is None:
            continue
        restoring.adopt_customer(organization, each["id"])
        known = organization.stripe_customer_id
        if known is not None and known != each["id"]:
            found.append(
                Difference(
                    field=Field.DUPLICATE_CUSTOMER,
                    organization_id=organization.id,
                    invoice_id=None,
                    stripe_id=each["id"],
                    stripe_created_at=moment_of(each["created"]),
                    ours=known,
                    theirs=each["id"],
                )
            )
    drift.note(found, now=now)
