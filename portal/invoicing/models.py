"""Tables of what is owed. Amounts are in minor units of the invoice's currency."""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import Date, Integer, Numeric, Text

from portal.core.lifecycle import InvoiceState, PaymentState, SyncState
from portal.core.periods import Month
from portal.core.statement import LineKind
from portal.infra.db import Model, Numbered, Public, Quantity, words_index
from portal.organizations.models import Organization, User


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(value.value) for value in values)})"


# What went wrong with Stripe or with a payment, or is unknown: so few that a page finds them by an index of their own.
WRONG = "sync_state IN ('mismatch', 'unknown', 'dead') OR payment_state IN ('failed', 'disputed')"


class Invoice(Public, Model):
    """One month of one organization. A draft's lines are computed live; freezing writes them down."""

    __tablename__ = "invoices"
    __table_args__ = (
        Index(
            "uq_invoices_organization_id_period_start_kind",
            "organization_id",
            "period_start",
            "kind",
            unique=True,
            postgresql_where=text("state <> 'void'"),
        ),
        Index("ix_invoices_period_start_state", "period_start", "state"),
        Index(
            "ix_invoices_sync_state",
            "sync_state",
            postgresql_where=text("sync_state NOT IN ('none', 'synced')"),
        ),
        Index("ix_invoices_drafts", "period_start", "organization_id", postgresql_where=text("state = 'draft'")),
        Index("ix_invoices_wrong", "period_start", "id", postgresql_where=text(WRONG)),
        CheckConstraint(_one_of("state", InvoiceState), name="state_known"),
        CheckConstraint(_one_of("sync_state", SyncState), name="sync_state_known"),
        CheckConstraint(_one_of("payment_state", PaymentState), name="payment_state_known"),
        CheckConstraint("kind IN ('monthly')", name="kind_known"),
        CheckConstraint("period_end > period_start", name="period_not_empty"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_is_iso"),
        ForeignKeyConstraint(["organization_id", "currency"], ["organizations.id", "organizations.currency"]),
        CheckConstraint(
            "amount_due = greatest(total, 0) - credits_applied - balance_applied + moved", name="amount_due_adds_up"
        ),
        CheckConstraint(
            "moved >= 0 OR (payer_organization_id IS NOT NULL AND amount_due = 0)", name="moved_to_a_payer"
        ),
        CheckConstraint(
            "credits_applied >= 0 AND balance_applied >= 0 AND amount_due >= 0", name="amounts_not_negative"
        ),
        CheckConstraint("(number IS NULL) = (finalized_at IS NULL)", name="number_when_finalized"),
    )

    organization_id: Mapped[int]
    kind: Mapped[str] = mapped_column(server_default="monthly")
    period_start: Mapped[date] = mapped_column(Date)
    period_end: Mapped[date] = mapped_column(Date)
    currency: Mapped[str]
    state: Mapped[InvoiceState] = mapped_column(Text, server_default="draft")
    sync_state: Mapped[SyncState] = mapped_column(Text, server_default="none")
    payment_state: Mapped[PaymentState] = mapped_column(Text, server_default="none")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    # What the total holds of tax, whether it was added or the prices include it; by rate in the details.
    tax: Mapped[int] = mapped_column(server_default=text("0"))
    tax_details: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    total: Mapped[int] = mapped_column(server_default=text("0"))
    credits_applied: Mapped[int] = mapped_column(server_default=text("0"))
    balance_applied: Mapped[int] = mapped_column(server_default=text("0"))
    amount_due: Mapped[int] = mapped_column(server_default=text("0"))
    # Who pays for a linked organization. What is `moved` is on the payer's invoice: below zero here, above zero there,
    # where `sections` are those of the linked organizations until the document has them (of a draft as last looked at).
    payer_organization_id: Mapped[int | None]
    payer_name: Mapped[str | None]
    moved: Mapped[int] = mapped_column(server_default=text("0"))
    sections: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB(none_as_null=True))
    fingerprint: Mapped[str | None]
    finalize_at: Mapped[datetime | None]
    scheduled_by: Mapped[str | None]
    # Of this invoice; without one the organization's own purchase order is on it. The memo is for the customer.
    purchase_order: Mapped[str | None]
    memo: Mapped[str | None]

    number: Mapped[str | None] = mapped_column(unique=True)
    finalized_at: Mapped[datetime | None]
    invoiced_at: Mapped[datetime | None]
    due_date: Mapped[date | None] = mapped_column(Date)
    document: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    content_sha256: Mapped[str | None]

    stripe_id: Mapped[str | None] = mapped_column(unique=True)
    stripe_status: Mapped[str | None]
    hosted_invoice_url: Mapped[str | None]
    sync_message: Mapped[str | None]
    synced_at: Mapped[datetime | None]
    amount_paid: Mapped[int] = mapped_column(server_default=text("0"))
    # Of what was paid, what has gone back for certain: refunds, lost disputes and credit notes that refunded.
    amount_refunded: Mapped[int] = mapped_column(server_default=text("0"))
    paid_at: Mapped[datetime | None]
    payment_message: Mapped[str | None]
    voided_at: Mapped[datetime | None]
    void_reason: Mapped[str | None]

    organization: Mapped[Organization] = relationship()

    @property
    def month(self) -> Month:
        """The calendar month of this invoice."""
        return Month.of(self.period_start)

    @property
    def payment_word(self) -> str:
        """How the payment stands, in one word for lists: its state, `partly_refunded`, or `moved` to its payer."""
        if self.moved < 0:
            return "moved"
        partly = self.payment_state == PaymentState.PAID and self.amount_refunded
        return "partly_refunded" if partly else str(self.payment_state)


class InvoiceItem(Public, Model):
    """One line of an invoice, written when its figures are frozen.

    Coupons, credits before tax and the tax are lines too, so the lines add up to the total. Beside a line that is
    charged stands what of it they took off (`discount`, `credited`) and the tax on the rest.
    """

    __tablename__ = "invoice_items"
    __table_args__ = (
        UniqueConstraint("invoice_id", "position"),
        Index("ix_invoice_items_organization_id", "organization_id"),
        Index("ix_invoice_items_price_version_id_invoice_id", "price_version_id", "invoice_id"),
        CheckConstraint(_one_of("kind", LineKind), name="kind_known"),
        CheckConstraint("quantity < 'Infinity' AND quantity > '-Infinity'", name="quantity_finite"),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    invoice_id: Mapped[int] = mapped_column(ForeignKey("invoices.id"))
    position: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str]
    description: Mapped[str]
    quantity: Mapped[Decimal] = mapped_column(Quantity)
    unit: Mapped[str]
    unit_amount: Mapped[Decimal | None] = mapped_column(Numeric)
    amount: Mapped[int]
    discount: Mapped[int] = mapped_column(server_default=text("0"))
    credited: Mapped[int] = mapped_column(server_default=text("0"))
    tax: Mapped[int] = mapped_column(server_default=text("0"))
    period_start: Mapped[date] = mapped_column(Date)
    period_end: Mapped[date] = mapped_column(Date)
    derivation: Mapped[dict[str, Any]] = mapped_column(JSONB)
    series: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    price_version_id: Mapped[int | None] = mapped_column(ForeignKey("price_versions.id"))
    subscription_id: Mapped[int | None] = mapped_column(ForeignKey("subscriptions.id"))
    one_off_item_id: Mapped[int | None] = mapped_column(ForeignKey("one_off_items.id"))
    coupon_redemption_id: Mapped[int | None] = mapped_column(ForeignKey("coupon_redemptions.id"))
    credit_grant_id: Mapped[int | None] = mapped_column(ForeignKey("credit_grants.id"))


class OneOffItem(Public, Model):
    """A charge or credit that somebody added to a draft by hand. Removing keeps the row."""

    __tablename__ = "one_off_items"
    __table_args__ = (
        Index("ix_one_off_items_organization_id_invoice_id", "organization_id", "invoice_id"),
        words_index("ix_one_off_items_words", "description"),
        CheckConstraint("kind IN ('charge', 'credit')", name="kind_known"),
        CheckConstraint("(kind = 'credit') = (amount < 0) OR amount = 0", name="credits_are_negative"),
        CheckConstraint("quantity > 0 AND quantity < 'Infinity'", name="quantity_positive"),
        CheckConstraint("kind = 'charge' OR internal_reason IS NOT NULL", name="credits_have_a_reason"),
        CheckConstraint(
            "(service_start IS NULL) = (service_end IS NULL) AND service_start <= service_end",
            name="service_period_whole",
        ),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    invoice_id: Mapped[int] = mapped_column(ForeignKey("invoices.id"))
    kind: Mapped[str]
    description: Mapped[str]
    quantity: Mapped[Decimal] = mapped_column(Quantity)
    unit_amount: Mapped[Decimal] = mapped_column(Quantity)
    amount: Mapped[int]
    # When the work was done, if not in the invoice's month; the product, and a tax code if its rate does not hold.
    service_start: Mapped[date | None] = mapped_column(Date)
    service_end: Mapped[date | None] = mapped_column(Date)
    product: Mapped[str | None]
    tax_code: Mapped[str | None]
    internal_reason: Mapped[str | None]
    form_token: Mapped[UUID] = mapped_column(unique=True)
    created_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    removed_at: Mapped[datetime | None]

    created_by: Mapped[User | None] = relationship()

    @property
    def service_period(self) -> tuple[date, date] | None:
        """When the work was done, first day and last; None if in the invoice's month."""
        if self.service_start is None or self.service_end is None:
            return None
        return self.service_start, self.service_end


class ItemTemplate(Public, Model):
    """A one-off item that is added often, under a name. A retired one is kept and no longer offered."""

    __tablename__ = "item_templates"
    __table_args__ = (
        Index("uq_item_templates_name", text("lower(name)"), unique=True, postgresql_where=text("retired_at IS NULL")),
        CheckConstraint("kind IN ('charge', 'credit')", name="kind_known"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_is_iso"),
    )

    name: Mapped[str]
    kind: Mapped[str]
    description: Mapped[str]
    currency: Mapped[str]
    quantity: Mapped[Decimal] = mapped_column(Quantity)
    unit_amount: Mapped[Decimal] = mapped_column(Quantity)
    product: Mapped[str | None]
    tax_code: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    retired_at: Mapped[datetime | None]


class DraftTotal(Model):
    """What a draft came to when the clock last looked, for lists; nothing is billed by it."""

    __tablename__ = "draft_totals"
    __table_args__ = (Index("ix_draft_totals_organization_id", "organization_id"),)

    invoice_id: Mapped[int] = mapped_column(ForeignKey("invoices.id"), primary_key=True, autoincrement=False)
    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    total: Mapped[int]
    amount_due: Mapped[int]
    computed_at: Mapped[datetime]


class BilledUsage(Model):
    """How much of each series and day an invoice bills; what a rollup holds beyond that is late usage."""

    __tablename__ = "billed_usage"
    __table_args__ = (Index("ix_billed_usage_organization_id_day", "organization_id", "day"),)

    invoice_id: Mapped[int] = mapped_column(ForeignKey("invoices.id"), primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    series_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    meter_id: Mapped[int]
    quantity: Mapped[Decimal] = mapped_column(Quantity)
    events: Mapped[int] = mapped_column(Integer)


class NumberSeries(Model):
    """The counter behind gapless invoice numbers: one row per seller and year, locked while a number is taken."""

    __tablename__ = "number_series"

    series: Mapped[str] = mapped_column(primary_key=True)
    last_number: Mapped[int] = mapped_column(server_default=text("0"))


class BalanceEntry(Numbered, Model):
    """One movement of an organization's credit balance; append-only. The balance is the sum of the amounts."""

    __tablename__ = "balance_entries"
    __table_args__ = (Index("ix_balance_entries_organization_id", "organization_id"),)

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    invoice_id: Mapped[int] = mapped_column(ForeignKey("invoices.id"))
    amount: Mapped[int]
    reason: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class CreditGrant(Public, Model):
    """Credit that an organization was given (promotional, used before tax) or has paid for (prepaid, after tax).

    `expires_on` is the last day of its last month that it pays; a lower rank is used first.
    """

    __tablename__ = "credit_grants"
    __table_args__ = (
        Index("ix_credit_grants_organization_id", "organization_id"),
        CheckConstraint("kind IN ('promotional', 'prepaid')", name="kind_known"),
        CheckConstraint("amount > 0", name="amount_positive"),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    kind: Mapped[str]
    name: Mapped[str]
    amount: Mapped[int]
    rank: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    expires_on: Mapped[date | None] = mapped_column(Date)
    reason: Mapped[str]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class CreditEntry(Numbered, Model):
    """One movement of a credit grant; append-only. What is left of a grant is the sum of its amounts."""

    __tablename__ = "credit_entries"
    __table_args__ = (
        Index("ix_credit_entries_credit_grant_id", "credit_grant_id"),
        Index("ix_credit_entries_organization_id", "organization_id"),
        Index("ix_credit_entries_invoice_id", "invoice_id"),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    credit_grant_id: Mapped[int] = mapped_column(ForeignKey("credit_grants.id"))
    invoice_id: Mapped[int | None] = mapped_column(ForeignKey("invoices.id"))
    amount: Mapped[int]
    reason: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    grant: Mapped[CreditGrant] = relationship()
