"""Tables of money that goes back after an invoice was paid: refunds, and disputes at the customer's bank."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from portal.infra.db import Model, Numbered, Public


class Refund(Public, Model):
    """A part of what was paid that goes back, in minor units. Without `created_by` it was made at Stripe.

    `pending` is on its way to Stripe or to the bank; `failed` came back from the bank; `dead` was refused by Stripe.
    """

    __tablename__ = "refunds"
    __table_args__ = (
        Index("ix_refunds_organization_id", "organization_id"),
        Index("ix_refunds_invoice_id", "invoice_id"),
        CheckConstraint("state IN ('pending', 'succeeded', 'failed', 'dead')", name="state_known"),
        CheckConstraint("amount > 0", name="amount_above_zero"),
        CheckConstraint("(created_by IS NULL) = (form_token IS NULL)", name="token_of_its_form"),
        CheckConstraint("stripe_id IS NOT NULL OR created_by IS NOT NULL", name="made_by_somebody"),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    invoice_id: Mapped[int] = mapped_column(ForeignKey("invoices.id"))
    amount: Mapped[int]
    reason: Mapped[str | None]
    created_by: Mapped[str | None]
    created_at: Mapped[datetime]
    form_token: Mapped[UUID | None] = mapped_column(unique=True)
    state: Mapped[str] = mapped_column(server_default="pending")
    message: Mapped[str | None]
    stripe_id: Mapped[str | None] = mapped_column(unique=True)

    @property
    def counts(self) -> bool:
        """Whether the money has gone back or is on its way."""
        return self.state in ("pending", "succeeded")


class Dispute(Numbered, Model):
    """A customer's claim at the bank, as Stripe showed it last; `status` is Stripe's word."""

    __tablename__ = "disputes"
    __table_args__ = (
        Index("ix_disputes_organization_id", "organization_id"),
        Index("ix_disputes_invoice_id", "invoice_id"),
        CheckConstraint("amount > 0", name="amount_above_zero"),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    invoice_id: Mapped[int] = mapped_column(ForeignKey("invoices.id"))
    stripe_id: Mapped[str] = mapped_column(unique=True)
    amount: Mapped[int]
    status: Mapped[str]
    opened_at: Mapped[datetime]
    due_by: Mapped[datetime | None]

    @property
    def is_open(self) -> bool:
        """Whether the bank has still to decide. A mere inquiry ("warning…") takes no money."""
        return self.status in ("needs_response", "under_review")
