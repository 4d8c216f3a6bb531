"""Tables of the endpoints of organizations, and of what is delivered to them."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import Integer, Text

from portal.infra.db import Model, Public
from portal.organizations.models import Organization


class EventType(StrEnum):
    """What an endpoint can be told of."""

    FINALIZED = "invoice.finalized"
    PAID = "invoice.paid"
    PAYMENT_FAILED = "invoice.payment_failed"
    VOIDED = "invoice.voided"
    CREDITED = "credit_note.finalized"
    BUDGET = "budget.threshold_reached"


# Sent by the button of the page only; no endpoint asks for it.
TEST = "endpoint.test"


class DeliveryState(StrEnum):
    """How far a delivery is; `failed` is never tried again by itself."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class WebhookEndpoint(Public, Model):
    """Where an organization wants to be told, and of what. `failing_since`: no attempt has been taken since then.

    The secret before the current one signs too until `secret_before_until`, so that it can be replaced without a gap.
    """

    __tablename__ = "webhook_endpoints"
    __table_args__ = (
        Index("ix_webhook_endpoints_organization_id", "organization_id", postgresql_where=text("removed_at IS NULL")),
        CheckConstraint("cardinality(events) > 0", name="some_events"),
        CheckConstraint("(disabled_at IS NULL) = (disabled_because IS NULL)", name="disabled_with_a_reason"),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    url: Mapped[str]
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    sealed_secret: Mapped[bytes] = mapped_column(LargeBinary)
    sealed_secret_before: Mapped[bytes | None] = mapped_column(LargeBinary)
    secret_before_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    failing_since: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    disabled_because: Mapped[str | None]
    removed_at: Mapped[datetime | None]

    organization: Mapped[Organization] = relationship()


class WebhookDelivery(Public, Model):
    """One event for one endpoint. `event_id` is the id that the receiver sees, the same for all its endpoints."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("endpoint_id", "dedupe_key"),
        Index("ix_webhook_deliveries_organization_id_id", "organization_id", "id"),
        Index("ix_webhook_deliveries_created_at", "created_at"),
        CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="state_known"),
        CheckConstraint("(state = 'delivered') = (delivered_at IS NOT NULL)", name="delivered_at_when_delivered"),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    endpoint_id: Mapped[int] = mapped_column(ForeignKey("webhook_endpoints.id"))
    event_id: Mapped[UUID]
    dedupe_key: Mapped[str]
    type: Mapped[str]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    state: Mapped[DeliveryState] = mapped_column(Text, server_default="pending")
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    begun_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_attempt_at: Mapped[datetime | None]
    next_attempt_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    last_status: Mapped[int | None] = mapped_column(Integer)
    last_milliseconds: Mapped[int | None] = mapped_column(Integer)
    last_answer: Mapped[str | None]
    last_error: Mapped[str | None]

    endpoint: Mapped[WebhookEndpoint] = relationship()
