"""Webhooks: store, answer, apply. An event only says "look again": the invoice is re-read at Stripe.

So order does not matter, duplicates do nothing, and an old event cannot bring back an old state.
"""

from contextlib import suppress
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert

from portal.infra import clock, outbox
from portal.infra.db import db
from portal.infra.outbox import GiveUp, Lease
from portal.invoicing.models import Invoice
from portal.payments import gateway, journal
from portal.payments.models import StripeEvent
from portal.payments.settling import take_over

APPLY = "apply_stripe_event"


def store_event(event: dict[str, Any]) -> bool:
    """Keep an event and have it applied, in the current transaction. Idempotent by its id; says if it was new."""
    object_id = _object_in(event).get("id")
    row_id = db.session.scalar(
        insert(StripeEvent)
        .values(
            event_id=event["id"],
            type=event["type"],
            livemode=bool(event.get("livemode")),
            object_id=object_id if isinstance(object_id, str) else None,
            payload=event,
        )
        .on_conflict_do_nothing()
        .returning(StripeEvent.id)
    )
    if row_id is None:
        return False
    outbox.enqueue(APPLY, dedupe_key=event["id"], organization_id=None, stripe_event_id=row_id)
    return True


@outbox.handles(APPLY)
def apply_event(lease: Lease, *, stripe_event_id: int) -> None:
    """Look again at the invoice that an event names. Idempotent; events of foreign objects are ignored."""
    with lease.transaction():
        event = db.session.get_one(StripeEvent, stripe_event_id)
        if event.state != "stored":
            return
        invoice_id = _invoice_of(event) if event.type.startswith("invoice.") else None
        stripe_id, event_type = event.object_id, event.type
        if event.livemode != gateway.is_live():
            invoice_id = None
        if invoice_id is None or stripe_id is None:
            event.state, event.note = "ignored", "not about an invoice of ours"
            return
    try:
        theirs = journal.read_now(lambda: gateway.read_invoice(stripe_id))
    except GiveUp as reason:
        with lease.transaction():
            event = db.session.get_one(StripeEvent, stripe_event_id)
            event.state, event.note = "ignored", str(reason)
        if isinstance(reason, journal.Gone):
            # A draft that was deleted, by our own voiding for example; nobody has to look at that.
            return
        raise
    with lease.transaction():
        now = clock.now()
        take_over(invoice_id, theirs, now=now, event_type=event_type)
        event = db.session.get_one(StripeEvent, stripe_event_id)
        event.state, event.applied_at = "applied", now


def _object_in(event: dict[str, Any]) -> dict[str, Any]:
    """The object that an event carries; empty if it has another shape than Stripe's."""
    data = event.get("data")
    found = data.get("object") if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def _invoice_of(event: StripeEvent) -> int | None:
    """The invoice that an event is about: by Stripe's id, or by our id in its metadata if ours was not saved yet."""
    metadata = _object_in(event.payload).get("metadata")
    named = metadata.get("invoice_id") if isinstance(metadata, dict) else None
    conditions = [Invoice.stripe_id == event.object_id]
    with suppress(ValueError):
        conditions.append(Invoice.public_id == UUID(str(named)))
    return db.session.scalar(
        select(Invoice.id).where(
            or_(*conditions), or_(Invoice.stripe_id.is_(None), Invoice.stripe_id == event.object_id)
        )
    )
