"""Endpoints: made, tested, given new secrets, disabled, enabled, removed; their deliveries, and sending one again."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import joinedload

from portal.core.errors import InvalidInput, InvalidTransition, NotFound
from portal.core.saying import Said
from portal.infra import audit
from portal.infra.calling import check_url
from portal.infra.db import db, transaction
from portal.infra.ids import uuid7
from portal.infra.sealing import seal, unseal
from portal.webhooks.models import TEST, DeliveryState, EventType, WebhookDelivery, WebhookEndpoint
from portal.webhooks.signing import secret_text
from portal.webhooks.telling import SEND, queue_delivery

MOST_ENDPOINTS, MOST_LISTED = 10, 50
SECRET_BYTES = 32
# Long enough to bring the new secret to the receiver while the old one still signs too.
ROTATION_OVERLAP = timedelta(hours=24)
_PURPOSE = b"webhook secrets"
_FAIL_ABANDONED = text("""
    UPDATE webhook_deliveries SET state = 'failed', next_attempt_at = NULL,
           last_error = 'The job that sends it has died; send it again.'
    WHERE state = 'pending' AND NOT EXISTS (
        SELECT FROM outbox WHERE kind = :kind AND dedupe_key = CAST(webhook_deliveries.id AS text)
        AND finished_at IS NULL AND dead_at IS NULL)
""")


def add_endpoint(
    organization_id: int, url: str, events: Sequence[str], *, keys: Sequence[str], private_too: bool, now: datetime
) -> tuple[WebhookEndpoint, str]:
    """Register an address; returns it and its secret, which can be shown again only by making a new one. Audited.

    Raises InvalidInput, naming the field, for an address that is never called and for no events.
    """
    check_url(url, private_too=private_too)
    if not events or not set(events) <= set(EventType):
        raise InvalidInput("Choose at least one event.", field="events")
    known = endpoints_of(organization_id)
    if len(known) >= MOST_ENDPOINTS:
        raise InvalidInput(Said("There are %(most)s endpoints already; remove one first.", most=MOST_ENDPOINTS))
    if url in {each.url for each in known}:
        raise InvalidInput("This address is registered already.", field="url")
    secret = secret_text(secrets.token_bytes(SECRET_BYTES))
    endpoint = WebhookEndpoint(
        organization_id=organization_id,
        url=url,
        events=sorted(set(events)),
        sealed_secret=seal(secret, keys=keys, purpose=_PURPOSE),
        created_at=now,
    )
    db.session.add(endpoint)
    db.session.flush()
    _record("added a webhook endpoint", endpoint, url=url, events=endpoint.events)
    return endpoint, secret


def rotate_secret(organization_id: int, public_id: UUID, *, keys: Sequence[str], now: datetime) -> str:
    """Make a new secret and return it; for a day, the old one signs as well. Audited. Raises NotFound."""
    endpoint = _lock(organization_id, public_id)
    secret = secret_text(secrets.token_bytes(SECRET_BYTES))
    endpoint.sealed_secret_before, endpoint.secret_before_until = endpoint.sealed_secret, now + ROTATION_OVERLAP
    endpoint.sealed_secret = seal(secret, keys=keys, purpose=_PURPOSE)
    _record("rotated the secret of a webhook endpoint", endpoint)
    return secret


def secrets_of(endpoint: WebhookEndpoint, *, keys: Sequence[str], now: datetime) -> list[str]:
    """The secrets that sign now, the newest first; empty if the portal's own key is gone that sealed them."""
    sealed = [endpoint.sealed_secret]
    if endpoint.sealed_secret_before and endpoint.secret_before_until and endpoint.secret_before_until > now:
        sealed.append(endpoint.sealed_secret_before)
    return [secret for each in sealed if (secret := unseal(each, keys=keys, purpose=_PURPOSE)) is not None]


def disable(endpoint: WebhookEndpoint, because: str, *, now: datetime) -> None:
    """Send nothing to it any more; what waits is failed when its turn comes. Idempotent, audited."""
    if endpoint.disabled_at is None:
        endpoint.disabled_at, endpoint.disabled_because = now, because
        _record("disabled a webhook endpoint", endpoint, because=because)


def disable_by_hand(organization_id: int, public_id: UUID, *, by: str, now: datetime) -> None:
    """Disable an endpoint of an organization. Raises NotFound."""
    disable(_lock(organization_id, public_id), f"Disabled by {by}.", now=now)


def enable_endpoint(organization_id: int, public_id: UUID) -> None:
    """Send to it again what happens from now on. Idempotent, audited. Raises NotFound."""
    endpoint = _lock(organization_id, public_id)
    if endpoint.disabled_at is not None:
        endpoint.disabled_at = endpoint.disabled_because = endpoint.failing_since = None
        _record("enabled a webhook endpoint", endpoint)


def remove_endpoint(organization_id: int, public_id: UUID, *, now: datetime) -> None:
    """Forget an endpoint and its secrets; its deliveries stay listed until they are old. Audited. Raises NotFound."""
    endpoint = _lock(organization_id, public_id)
    endpoint.removed_at = now
    endpoint.sealed_secret, endpoint.sealed_secret_before, endpoint.secret_before_until = b"", None, None
    _record("removed a webhook endpoint", endpoint, url=endpoint.url)


def send_test(organization_id: int, public_id: UUID, *, now: datetime) -> None:
    """Send a test event, to an endpoint that is not disabled. Raises NotFound, InvalidTransition."""
    endpoint = _lock(organization_id, public_id)
    _require_enabled(endpoint)
    event_id = uuid7()
    delivery = WebhookDelivery(
        organization_id=organization_id,
        endpoint_id=endpoint.id,
        event_id=event_id,
        dedupe_key=f"{TEST}:{event_id}",
        type=TEST,
        data={"endpoint": str(endpoint.public_id)},
        created_at=now,
        begun_at=now,
    )
    db.session.add(delivery)
    db.session.flush()
    queue_delivery(delivery.id, organization_id)
    _record("tested a webhook endpoint", endpoint)


def replay(organization_id: int | None, public_id: UUID, *, now: datetime) -> WebhookDelivery:
    """Send a delivery again, under its old id; for three days like a new one. Idempotent while it waits. Audited.

    Raises NotFound, also for another organization's (None is everybody, for the command), and InvalidTransition if the
    endpoint is disabled or removed.
    """
    delivery = db.session.scalar(
        select(WebhookDelivery)
        .options(joinedload(WebhookDelivery.endpoint))
        .where(WebhookDelivery.public_id == public_id)
        .with_for_update(of=WebhookDelivery)
        .execution_options(populate_existing=True)
    )
    if delivery is None or organization_id not in (None, delivery.organization_id):
        raise NotFound("There is no such delivery.")
    _require_enabled(delivery.endpoint)
    if delivery.state != DeliveryState.PENDING:
        before = delivery.state
        delivery.state, delivery.begun_at, delivery.delivered_at = DeliveryState.PENDING, now, None
        delivery.next_attempt_at = None
        queue_delivery(delivery.id, delivery.organization_id)
        _record("replayed a webhook delivery", delivery.endpoint, delivery=str(public_id), before=before)
    return delivery


def failed_deliveries(endpoint_id: UUID) -> list[UUID]:
    """The failed deliveries of an endpoint, by their public ids, oldest first."""
    query = (
        select(WebhookDelivery.public_id)
        .join(WebhookEndpoint, WebhookEndpoint.id == WebhookDelivery.endpoint_id)
        .where(WebhookEndpoint.public_id == endpoint_id, WebhookDelivery.state == DeliveryState.FAILED)
    )
    return list(db.session.scalars(query.order_by(WebhookDelivery.id)))


def endpoints_of(organization_id: int) -> list[WebhookEndpoint]:
    """An organization's endpoints, oldest first."""
    query = select(WebhookEndpoint).where(
        WebhookEndpoint.organization_id == organization_id, WebhookEndpoint.removed_at.is_(None)
    )
    return list(db.session.scalars(query.order_by(WebhookEndpoint.id)))


def deliveries_of(
    organization_id: int, *, before: UUID | None = None, limit: int | None = MOST_LISTED
) -> list[WebhookDelivery]:
    """One page of deliveries with their endpoints, newest first; `before` is the last one of the page before."""
    query = (
        select(WebhookDelivery)
        .options(joinedload(WebhookDelivery.endpoint))
        .where(WebhookDelivery.organization_id == organization_id)
        .order_by(WebhookDelivery.id.desc())
        .limit(limit)
    )
    if before is not None:
        last = select(func.coalesce(func.max(WebhookDelivery.id), 0)).where(WebhookDelivery.public_id == before)
        query = query.where(WebhookDelivery.id < last.scalar_subquery())
    return list(db.session.scalars(query))


def tidy_by_clock() -> None:
    """Fail deliveries whose job has died."""
    with transaction():
        db.session.execute(_FAIL_ABANDONED, {"kind": SEND})


def _require_enabled(endpoint: WebhookEndpoint) -> None:
    if endpoint.removed_at is not None:
        raise InvalidTransition("The endpoint has been removed.")
    if endpoint.disabled_at is not None:
        raise InvalidTransition("The endpoint is disabled; enable it first.")


def _lock(organization_id: int, public_id: UUID) -> WebhookEndpoint:
    query = (
        select(WebhookEndpoint)
        .where(
            WebhookEndpoint.organization_id == organization_id,
            WebhookEndpoint.public_id == public_id,
            WebhookEndpoint.removed_at.is_(None),
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    endpoint: WebhookEndpoint | None = db.session.scalar(query)
    if endpoint is None:
        raise NotFound("There is no such endpoint.")
    return endpoint


def _record(action: str, endpoint: WebhookEndpoint, **facts: object) -> None:
    audit.record(
        action,
        subject="webhook endpoint",
        subject_id=endpoint.id,
        organization_id=endpoint.organization_id,
        after=facts or None,
    )
