"""Applying a stored event again: it only says "look again", so that is safe at any time and any number of times."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import defer

from portal.core.errors import NotFound
from portal.infra import audit, outbox
from portal.infra.db import db, transaction
from portal.payments.models import StripeEvent
from portal.payments.receiving import APPLY

EVENTS_PER_TRANSACTION = 200


def replay(event_id: str) -> StripeEvent:
    """Have a stored event applied again, in the current transaction. Idempotent. Raises NotFound."""
    event: StripeEvent | None = db.session.scalar(
        select(StripeEvent)
        .where(StripeEvent.event_id == event_id)
        .options(defer(StripeEvent.payload))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if event is None:
        raise NotFound(f"The portal has no event {event_id}. Events that never arrived are fetched every hour.")
    _again(event)
    return event


def replay_since(moment: datetime) -> int:
    """Have all events applied again that came in since a moment, oldest first; returns how many. Safe to run twice."""
    count, last_id = 0, 0
    while True:
        with transaction() as session:
            events = list(
                session.scalars(
                    select(StripeEvent)
                    .where(StripeEvent.received_at >= moment, StripeEvent.id > last_id)
                    .options(defer(StripeEvent.payload))
                    .order_by(StripeEvent.id)
                    .limit(EVENTS_PER_TRANSACTION)
                    .with_for_update()
                    .execution_options(populate_existing=True)
                )
            )
            for event in events:
                _again(event)
        if not events:
            return count
        count, last_id = count + len(events), events[-1].id


def list_events(*, before: int | None = None, limit: int = 50) -> list[StripeEvent]:
    """One page of stored events, newest first, without their payloads."""
    query = select(StripeEvent).options(defer(StripeEvent.payload)).order_by(StripeEvent.id.desc()).limit(limit)
    if before is not None:
        query = query.where(StripeEvent.id < before)
    return list(db.session.scalars(query))


def _again(event: StripeEvent) -> None:
    audit.record(
        "asked to apply an event again",
        subject="stripe event",
        subject_id=event.id,
        organization_id=None,
        before={"state": event.state, "note": event.note},
        after={"event_id": event.event_id, "type": event.type},
    )
    event.state, event.note, event.applied_at = "stored", None, None
    outbox.enqueue(APPLY, dedupe_key=event.event_id, organization_id=None, stripe_event_id=event.id)
