"""Webhooks: store, answer, apply. An event only says "look again": the invoice is re-read at Stripe.

So order does not matter, duplicates do nothing, and an old event cannot bring back an old state.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert

from portal.infra import clock, outbox
from portal.infra.db import db
from portal.infra.outbox import GiveUp, Lease
from portal.invoicing.models import Invoice
from portal.payments import gateway, journal, methods, reversing
from portal.payments.models import StripeEvent
from portal.payments.settling import take_over

APPLY = "apply_stripe_event"
NOT_OURS = "not about an invoice of ours"


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
    """Look again at the invoice or customer that an event names. Idempotent; events of foreign objects are ignored."""
    with lease.transaction():
        event = db.session.get_one(StripeEvent, stripe_event_id)
        if event.state != "stored":
            return
        look = _what_to_look_at(event) if event.livemode == gateway.is_live() else None
        if look is None:
            event.state, event.note = "ignored", NOT_OURS
            return
    try:
        apply = look(lease)
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
        if apply is None:
            event = db.session.get_one(StripeEvent, stripe_event_id)
            event.state, event.note = "ignored", NOT_OURS
            return
        apply(now)
        event = db.session.get_one(StripeEvent, stripe_event_id)
        event.state, event.applied_at = "applied", now


def _what_to_look_at(event: StripeEvent) -> Callable[[Lease], methods.TakeOver | None] | None:
    """The reading at Stripe that an event asks for, which returns what is to be applied; None if it is not ours."""
    if event.type in methods.EVENTS:
        return methods.looking_again(event.type, _object_in(event.payload))
    if event.type in reversing.EVENTS:
        return reversing.looking_again(_object_in(event.payload))
    invoice_id = _invoice_of(event) if event.type.startswith("invoice.") else None
    if invoice_id is None or event.object_id is None:
        return None
    return partial(_look_at_invoice, invoice_id, event.object_id, event.type)


def _look_at_invoice(invoice_id: int, stripe_id: str, event_type: str, _: Lease) -> methods.TakeOver:
    theirs = journal.read_now(lambda: gateway.read_invoice(stripe_id))

    def apply(now: datetime) -> None:
        take_over(invoice_id, theirs, now=now, event_type=event_type)

    return apply


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
