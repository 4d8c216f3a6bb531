"""Tables of what corrects a final invoice: credit notes with their lines, and which invoice replaces which."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import Integer, Numeric, Text

from portal.core.lifecycle import SyncState
from portal.infra.db import Model, Numbered, Public, Quantity
from portal.invoicing.models import Invoice
from portal.organizations.models import Organization


class CreditNote(Public, Model):
    """What is taken back of a final invoice. Frozen once it has its hash; only its way to Stripe moves on.

    All amounts are zero or more. The total goes where it is of use: off what is due, back through Stripe, or to the
    account balance. `stripe_amount` is the part of it that Stripe knows of: of the invoice's amount due, not of what
    credit had paid. `overpaid` is what of `off_due` the customer had paid before Stripe heard of the note; it went to
    the account balance instead.
    """

    __tablename__ = "credit_notes"
    __table_args__ = (
        Index("ix_credit_notes_organization_id", "organization_id"),
        Index("ix_credit_notes_invoice_id", "invoice_id"),
        CheckConstraint(
            "sync_state IN ('none', 'pending', 'unknown', 'synced', 'mismatch', 'dead')", name="sync_state_known"
        ),
        CheckConstraint("total = net + tax AND total > 0", name="total_adds_up"),
        CheckConstraint("total = off_due + to_refund + to_balance", name="uses_add_up"),
        CheckConstraint("off_due >= 0 AND to_refund >= 0 AND to_balance >= 0", name="amounts_not_negative"),
        CheckConstraint("stripe_amount BETWEEN off_due + to_refund AND total", name="stripe_amount_in_range"),
        CheckConstraint("overpaid BETWEEN 0 AND off_due", name="overpaid_in_range"),
        CheckConstraint("reason <> ''", name="has_a_reason"),
        CheckConstraint("(number IS NULL) = (content_sha256 IS NULL)", name="number_when_frozen"),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    invoice_id: Mapped[int] = mapped_column(ForeignKey("invoices.id"))
    number: Mapped[str | None] = mapped_column(unique=True)
    currency: Mapped[str]
    reason: Mapped[str]
    created_by: Mapped[str]
    issued_at: Mapped[datetime]
    form_token: Mapped[UUID] = mapped_column(unique=True)
    net: Mapped[int]
    tax: Mapped[int]
    total: Mapped[int]
    off_due: Mapped[int]
    to_refund: Mapped[int]
    to_balance: Mapped[int]
    stripe_amount: Mapped[int]
    document: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    content_sha256: Mapped[str | None]

    sync_state: Mapped[SyncState] = mapped_column(Text, server_default="none")
    sync_message: Mapped[str | None]
    stripe_id: Mapped[str | None] = mapped_column(unique=True)
    synced_at: Mapped[datetime | None]
    overpaid: Mapped[int] = mapped_column(server_default=text("0"))

    organization: Mapped[Organization] = relationship()
    invoice: Mapped[Invoice] = relationship()


class CreditNoteItem(Numbered, Model):
    """What a note gives back of one line of the invoice; below zero for a line that was a credit itself."""

    __tablename__ = "credit_note_items"
    __table_args__ = (
        UniqueConstraint("credit_note_id", "invoice_item_id"),
        Index("ix_credit_note_items_organization_id", "organization_id"),
        Index("ix_credit_note_items_invoice_item_id", "invoice_item_id"),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    credit_note_id: Mapped[int] = mapped_column(ForeignKey("credit_notes.id"))
    invoice_item_id: Mapped[int] = mapped_column(ForeignKey("invoice_items.id"))
    line_number: Mapped[int] = mapped_column(Integer)
    description: Mapped[str]
    quantity: Mapped[Decimal | None] = mapped_column(Quantity)
    unit: Mapped[str]
    percent: Mapped[Decimal] = mapped_column(Numeric(9, 6))
    net: Mapped[int]
    tax: Mapped[int]


class InvoiceReplacement(Model):
    """The draft or invoice of a month that stands for a void one of the same month."""

    __tablename__ = "invoice_replacements"
    __table_args__ = (Index("ix_invoice_replacements_organization_id", "organization_id"),)

    invoice_id: Mapped[int] = mapped_column(ForeignKey("invoices.id"), primary_key=True, autoincrement=False)
    replaces_id: Mapped[int] = mapped_column(ForeignKey("invoices.id"), unique=True)
    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
