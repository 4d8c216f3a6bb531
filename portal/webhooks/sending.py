"""Sending a delivery until its endpoint takes it: any answer from 200 to 299. The call is between two transactions."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import current_app

from portal.config import Settings
from portal.infra import audit, clock, outbox
from portal.infra.calling import Answer, CannotCall, call
from portal.infra.db import db
from portal.infra.outbox import Lease, RetryLater
from portal.webhooks.endpoints import disable, secrets_of
from portal.webhooks.models import TEST, DeliveryState, WebhookDelivery, WebhookEndpoint
from portal.webhooks.signing import body_of, headers_of
from portal.webhooks.telling import SEND

# Asks portal/mailing to tell the people of the organization.
MAIL_DISABLED = "mail_disabled_webhook"
KEEP_TRYING_FOR = timedelta(days=3)
# Seconds before the next attempt; the last of them stands for all that follow.
WAITS = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400)
GONE = 410
TAKEN = range(200, 300)


@dataclass(frozen=True, slots=True)
class Parcel:
    """What goes out: where to, which bytes, which headers."""

    url: str
    body: bytes
    headers: dict[str, str]


def wait_after(attempts: int, *, jitter: float) -> int:
    """Whole seconds before the next attempt, pure; `jitter` from 0 to 1 takes off up to half of them.

    So endpoints that came back are not called by everything that waited at once.
    """
    longest = WAITS[min(attempts, len(WAITS)) - 1]
    return longest - int(longest * min(max(jitter, 0), 1)) // 2


@outbox.handles(SEND)
def send_webhook(lease: Lease, *, delivery_id: int) -> None:
    """Send one delivery. Idempotent: one that was taken or has failed is left alone.

    A worker that dies after the answer and before our commit sends it again, under the same id.
    """
    settings: Settings = current_app.config["SETTINGS"]
    with lease.transaction():
        delivery = _lock(delivery_id)
        if delivery is None or delivery.state != DeliveryState.PENDING:
            return
        parcel = _prepare(delivery, settings, now=clock.now())
        if isinstance(parcel, str):
            _fail(delivery, parcel)
            return
        delivery.attempts += 1
        delivery.last_attempt_at = clock.now()
    answer, error = _attempt(parcel, private_too=settings.webhook_private_addresses)
    with lease.transaction():
        wait = _note(delivery_id, answer, error, now=clock.now())
    if wait is not None:
        # Its tries are counted here, by time: an endpoint may be away for longer than a job's tries last.
        raise RetryLater(error or f"Answered {answer.status if answer else ''}.", seconds=wait)


def _lock(delivery_id: int) -> WebhookDelivery | None:
    return db.session.get(WebhookDelivery, delivery_id, with_for_update=True, populate_existing=True)


def _prepare(delivery: WebhookDelivery, settings: Settings, *, now: datetime) -> Parcel | str:
    """What would go out now, or why nothing does; a sentence."""
    endpoint = db.session.get_one(WebhookEndpoint, delivery.endpoint_id, populate_existing=True)
    if endpoint.removed_at is not None:
        return "Not sent: the endpoint was removed."
    if endpoint.disabled_at is not None:
        return "Not sent: the endpoint is disabled."
    secrets = secrets_of(endpoint, keys=settings.secret_keys, now=now)
    if not secrets:
        return "Not sent: the secret cannot be read any more; rotate it."
    body = body_of(delivery.type, delivery.data, created_at=delivery.created_at)
    headers = {"content-type": "application/json", "user-agent": "Billing-Portal-Webhooks/1"}
    return Parcel(endpoint.url, body, headers | headers_of(str(delivery.event_id), body, secrets, now=now))


def _attempt(parcel: Parcel, *, private_too: bool) -> tuple[Answer | None, str | None]:
    try:
        return call(parcel.url, parcel.body, parcel.headers, private_too=private_too), None
    except CannotCall as trouble:
        return None, str(trouble)


def _note(delivery_id: int, answer: Answer | None, error: str | None, *, now: datetime) -> float | None:
    """Write down what came of an attempt; returns how long to wait for the next one, None if it is over."""
    delivery = _lock(delivery_id)
    if delivery is None:
        return None
    endpoint = db.session.get_one(WebhookEndpoint, delivery.endpoint_id, with_for_update=True, populate_existing=True)
    delivery.last_status = answer.status if answer else None
    delivery.last_milliseconds = answer.milliseconds if answer else None
    delivery.last_answer = answer.excerpt if answer else None
    delivery.last_error = error
    delivery.next_attempt_at = None
    if answer is not None and answer.status in TAKEN:
        delivery.state, delivery.delivered_at, endpoint.failing_since = DeliveryState.DELIVERED, now, None
        return None
    if delivery.type == TEST:
        _fail(delivery, error or f"The endpoint answered {answer.status if answer else ''}.")
        return None
    endpoint.failing_since = endpoint.failing_since or now
    if answer is not None and answer.status == GONE:
        _fail(delivery, "The endpoint answered 410 Gone: it does not want anything any more.")
        _give_up(endpoint, "It answered 410 Gone.", now=now)
        return None
    if now - delivery.begun_at >= KEEP_TRYING_FOR:
        _fail(delivery, error or f"The endpoint answered {answer.status if answer else ''}.")
        if now - endpoint.failing_since >= KEEP_TRYING_FOR:
            _give_up(endpoint, "It has taken nothing for three days.", now=now)
        return None
    wait = wait_after(delivery.attempts, jitter=random.random())
    delivery.next_attempt_at = now + timedelta(seconds=wait)
    return wait


def _fail(delivery: WebhookDelivery, why: str) -> None:
    delivery.state, delivery.last_error, delivery.next_attempt_at = DeliveryState.FAILED, why, None
    audit.record(
        "webhook delivery failed",
        subject="webhook delivery",
        subject_id=delivery.id,
        organization_id=delivery.organization_id,
        after={"type": delivery.type, "attempts": delivery.attempts},
        reason=why,
    )


def _give_up(endpoint: WebhookEndpoint, why: str, *, now: datetime) -> None:
    """Disable an endpoint and have its people told."""
    if endpoint.disabled_at is None and endpoint.removed_at is None:
        disable(endpoint, why, now=now)
        outbox.enqueue(
            MAIL_DISABLED,
            dedupe_key=str(endpoint.id),
            organization_id=endpoint.organization_id,
            endpoint_id=endpoint.id,
        )
