"""Tables of getting paid: the journal of calls to Stripe, the circuit before them, its account and its events."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Integer, SmallInteger

from portal.infra.db import Model, Numbered


class StripeCall(Numbered, Model):
    """One call that changes something at Stripe: written before it is made, answered in a transaction of its own.

    `outcome` is null while no answer has come: the call may or may not have worked. `adopted` means that what it made
    was found at Stripe later, `absent` that certainly nothing was. `failure_stored`: Stripe repeats an error for the
    key. `absent_since`: when a complete list at Stripe was first without it.
    """

    __tablename__ = "stripe_calls"
    __table_args__ = (
        UniqueConstraint("subject", "step", "generation"),
        Index("ix_stripe_calls_organization_id", "organization_id"),
        Index("ix_stripe_calls_invoice_id", "invoice_id"),
        CheckConstraint("outcome IN ('ok', 'unknown', 'refused', 'adopted', 'absent')", name="outcome_known"),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    invoice_id: Mapped[int | None] = mapped_column(ForeignKey("invoices.id"))
    subject: Mapped[UUID]
    step: Mapped[str]
    generation: Mapped[int] = mapped_column(Integer)
    idempotency_key: Mapped[str] = mapped_column(unique=True)
    parameters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    first_attempt_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    last_attempt_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    outcome: Mapped[str | None]
    failure_stored: Mapped[bool] = mapped_column(server_default=text("false"))
    absent_since: Mapped[datetime | None]
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    error: Mapped[str | None]


class StripeCircuit(Model):
    """One row: how many calls in a row had no good end, and since when nothing is sent. No row yet: all is well."""

    __tablename__ = "stripe_circuit"
    __table_args__ = (
        CheckConstraint("id = 1", name="one_row"),
        CheckConstraint("(opened_at IS NULL) = (retry_at IS NULL)", name="open_with_a_next_try"),
    )

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default=text("1"))
    failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    last_error: Mapped[str | None]
    opened_at: Mapped[datetime | None]
    failed_probes: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    retry_at: Mapped[datetime | None]


class StripeAccount(Model):
    """One row: the account at Stripe that our invoices go to, as it was first seen."""

    __tablename__ = "stripe_account"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default=text("1"))
    account_id: Mapped[str]
    seen_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class StripeEvent(Numbered, Model):
    """A webhook event as it came; its id makes it count once. It only says "look again" at an object."""

    __tablename__ = "stripe_events"
    __table_args__ = (
        Index("ix_stripe_events_with_payload", "received_at", postgresql_where=text("payload <> '{}'")),
        CheckConstraint("state IN ('stored', 'applied', 'ignored')", name="state_known"),
    )

    event_id: Mapped[str] = mapped_column(unique=True)
    type: Mapped[str]
    livemode: Mapped[bool]
    object_id: Mapped[str | None]
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    received_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    state: Mapped[str] = mapped_column(server_default="stored")
    applied_at: Mapped[datetime | None]
    note: Mapped[str | None]
