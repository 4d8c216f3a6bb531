"""The demo's past: months closed, invoices paid, failed, voided and carried forward, as if the years had passed."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import NAMESPACE_URL, UUID, uuid5

from sqlalchemy import select

from portal.config import Settings
from portal.core.lifecycle import InvoiceState, PaymentState, SyncState
from portal.core.periods import Month
from portal.infra import outbox
from portal.infra.db import db, transaction
from portal.invoicing.announcing import ISSUED, RECEIPT
from portal.invoicing.drafting import draft_of
from portal.invoicing.finalizing import finalize
from portal.invoicing.jobs import terms_of
from portal.invoicing.models import Invoice
from portal.invoicing.one_off_items import add_item
from portal.invoicing.queries import invoice_for_month, lock_invoice, open_draft
from portal.invoicing.terms import SYNC, Terms
from portal.invoicing.voiding import VOID_AT_STRIPE, void_invoice
from portal.organizations.models import Organization
from portal.payments.settling import take_over
from portal.seeding.cast import Customer, Shape, Story

BY = "seed"


@dataclass(frozen=True, slots=True)
class Closing:
    """What the seed needs to close a month."""

    settings: Settings
    today: datetime

    @property
    def terms(self) -> Terms:
        """As set, but without a hold window: nobody is there to press Cancel."""
        terms = terms_of(self.settings)
        return Terms(terms.seller, 0, terms.days_until_due)


def close_month(customer: Customer, organization: Organization, month: Month, closing: Closing) -> bool:
    """Finalize a past month and settle its invoice as the customer's story goes.

    False if that was done before, and if something in it has no price: that waits for whoever reviews it.
    """
    when = min(month.end + timedelta(hours=closing.settings.grace_hours + 9), closing.today)
    last = month == Month.of(closing.today).previous
    with transaction():
        if _was_closed(organization, month):
            return False
        invoice_id = open_as_of(organization, month).id
        if customer.story is Story.HAS_CREDIT and month == Month.of(closing.today).plus(-2):
            _credit(organization, invoice_id, month)
        if not _finalize(invoice_id, when, closing.terms):
            return False
        if customer.story is Story.ONE_VOID and month == Month.of(closing.today).plus(-4):
            settle(invoice_id, PaymentState.OPEN, when, closing.settings)
            _void(invoice_id, when + timedelta(days=1))
            invoice_id = open_as_of(organization, month).id
            _finalize(invoice_id, when + timedelta(days=1), closing.terms)
        state, after = PaymentState.PAID, timedelta(days=6)
        if last and customer.story is Story.PAYMENT_FAILED:
            state, after = PaymentState.FAILED, timedelta(days=1)
        elif _is_still_open(customer, month, closing):
            state = PaymentState.OPEN
        settle(invoice_id, state, when + after, closing.settings)
    return True


def _was_closed(organization: Organization, month: Month) -> bool:
    """Whether anything but a first draft is there; a month that people have voided is theirs."""
    query = select(Invoice.id).where(
        Invoice.organization_id == organization.id,
        Invoice.period_start == month.first_day,
        Invoice.state != InvoiceState.DRAFT,
    )
    return db.session.scalar(query.limit(1)) is not None


def _is_still_open(customer: Customer, month: Month, closing: Closing) -> bool:
    """Some have not paid last month yet; whoever pays late is a month behind."""
    age = 1 if customer.shape is Shape.GROWING else 2 if customer.story is Story.PAYS_LATE else 0
    return month >= Month.of(closing.today).plus(-age)


def open_as_of(organization: Organization, month: Month) -> Invoice:
    """Open a month's draft as if it had been opened when the month began. Idempotent."""
    invoice = open_draft(organization, month)
    if invoice.state == InvoiceState.DRAFT:
        invoice.created_at = month.start
    return invoice


def add_original_invoices(organization: Organization, closing: Closing) -> None:
    """The two invoices of the platform's first billing system, by their due dates. Idempotent."""
    bills: list[tuple[Month, datetime, list[tuple[str, str]]]] = [
        (Month(2023, 4), datetime(2023, 6, 1, tzinfo=UTC), []),
        (Month(2023, 5), datetime(2023, 7, 1, tzinfo=UTC), [("VM usage", "12.00"), ("VM Network usage", "23.45")]),
    ]
    for month, due, items in bills:
        with transaction():
            if invoice_for_month(organization.id, month) is not None:
                continue
            invoice_id = open_as_of(organization, month).id
            for description, amount in items:
                add_item(
                    invoice_id,
                    kind="charge",
                    description=description,
                    quantity=Decimal(1),
                    unit_amount=Decimal(amount),
                    internal_reason=None,
                    form_token=_token(organization, month, description),
                    created_by_id=None,
                )
            terms = Terms(closing.terms.seller, 0, 14)
            _finalize(invoice_id, due - timedelta(days=14), terms)
            settle(invoice_id, PaymentState.PAID, due - timedelta(days=3), closing.settings)


def _finalize(invoice_id: int, when: datetime, terms: Terms) -> bool:
    """Finalize a draft as it stands; False if something in it has no price."""
    invoice = lock_invoice(invoice_id)
    draft = draft_of(invoice.organization, invoice.month)
    if draft.blockers:
        return False
    finalize(invoice_id, fingerprint=draft.fingerprint, by=BY, now=when, terms=terms)
    forget_jobs(invoice_id)
    return True


def forget_jobs(invoice_id: int) -> None:
    """What the history says of the sync is written by settling; nothing of it is sent again, or mailed."""
    outbox.cancel(SYNC, str(invoice_id))
    outbox.cancel(ISSUED, str(invoice_id))


def settle(invoice_id: int, state: PaymentState, when: datetime, settings: Settings) -> None:
    """Write what syncing and paying would have left behind; an invoice of nothing was never sent."""
    invoice = lock_invoice(invoice_id)
    if not invoice.amount_due:
        return
    invoice.stripe_id = "in_seed" + hashlib.sha256(str(invoice.number).encode()).hexdigest()[:18]
    invoice.sync_state = SyncState.SYNCED
    invoice.synced_at = invoice.finalized_at
    base = settings.stripe_api_base
    is_paid = state is PaymentState.PAID
    theirs = {
        "status": "paid" if is_paid else "open",
        "currency": invoice.currency.lower(),
        "total": invoice.amount_due,
        "amount_due": invoice.amount_due,
        "amount_paid": invoice.amount_due if is_paid else 0,
        "attempt_count": int(state is PaymentState.FAILED),
        "hosted_invoice_url": base and f"{base}/hosted/{invoice.stripe_id}",
    }
    take_over(invoice_id, theirs, now=when)
    outbox.cancel(RECEIPT, str(invoice_id))


def _void(invoice_id: int, when: datetime) -> None:
    void_invoice(invoice_id, reason="Billed to the wrong legal name; issued again.", now=when)
    outbox.cancel(VOID_AT_STRIPE, str(invoice_id))
    lock_invoice(invoice_id).stripe_status = "void"


def _credit(organization: Organization, invoice_id: int, month: Month) -> None:
    draft = draft_of(organization, month)
    add_item(
        invoice_id,
        kind="credit",
        description="Goodwill credit for the outage",
        quantity=Decimal(1),
        unit_amount=Decimal(draft.statement.total + 4000) / 100,
        internal_reason="Ticket 4411: outage of the region",
        form_token=_token(organization, month, "credit"),
        created_by_id=None,
    )


def _token(organization: Organization, month: Month, what: str) -> UUID:
    return uuid5(NAMESPACE_URL, f"seed:{organization.slug}:{month}:{what}")
