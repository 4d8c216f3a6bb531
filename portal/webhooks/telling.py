"""Writing down that something has happened, for every endpoint that wants to know, in the transaction of the change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select
from sqlalchemy.dialects.postgresql import insert

from portal.infra import outbox
from portal.infra.db import db
from portal.infra.ids import uuid7
from portal.webhooks.models import EventType, WebhookDelivery, WebhookEndpoint

SEND = "send_webhook"
_ROWS_AT_ONCE, _FEW = 1_000, 10


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened to a record of an organization, once for its type and `key`; `data` is ids."""

    organization_id: int
    type: EventType
    key: str
    data: Mapping[str, Any]
    id: UUID = field(default_factory=uuid7)


def tell(events: Sequence[Event]) -> None:
    """Have events sent to the endpoints that want them. Idempotent by organization, type and key.

    One statement if nobody wants to know, as nearly always in a bill run.
    """
    if not events:
        return
    organization_ids = {event.organization_id for event in events}
    endpoints = db.session.scalars(
        select(WebhookEndpoint).where(
            WebhookEndpoint.organization_id.in_(organization_ids),
            WebhookEndpoint.removed_at.is_(None),
            WebhookEndpoint.disabled_at.is_(None),
        )
    ).all()
    rows = [
        {
            "public_id": uuid7(),
            "organization_id": event.organization_id,
            "endpoint_id": endpoint.id,
            "event_id": event.id,
            "dedupe_key": f"{event.type}:{event.key}",
            "type": event.type,
            "data": dict(event.data),
        }
        for event in events
        for endpoint in endpoints
        if endpoint.organization_id == event.organization_id and event.type in endpoint.events
    ]
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        written = insert(WebhookDelivery).values(rows[start : start + _ROWS_AT_ONCE]).on_conflict_do_nothing()
        _queue(db.session.execute(written.returning(WebhookDelivery.id, WebhookDelivery.organization_id)).all())


def _queue(written: Sequence[Row[int, int]]) -> None:
    """Have new deliveries sent: a few at once, many when the sweep comes for them."""
    if len(written) <= _FEW:
        for delivery_id, organization_id in written:
            queue_delivery(delivery_id, organization_id)
    else:
        jobs = [(str(each), organization_id, {"delivery_id": each}) for each, organization_id in written]
        outbox.enqueue_many(SEND, jobs)


def queue_delivery(delivery_id: int, organization_id: int) -> None:
    """Have a delivery sent, in the current transaction. Idempotent while it waits."""
    outbox.enqueue(SEND, dedupe_key=str(delivery_id), organization_id=organization_id, delivery_id=delivery_id)
