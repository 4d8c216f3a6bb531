"""Having the customer told: what happened to a document, as work for whoever writes mails (see portal/mailing).

One call inside the transaction of the change itself. Whom to tell, in which words, and whether it is still true, is
decided when the mail is written. The customer's programs are told the same by webhooks, as soon as it is true.
"""

from collections.abc import Sequence
from typing import Any

from portal.core.lifecycle import PaymentState
from portal.infra import outbox
from portal.invoicing.credit_note_models import CreditNote
from portal.invoicing.models import Invoice
from portal.webhooks.models import EventType
from portal.webhooks.telling import Event, tell

ISSUED = "mail_issued_invoice"
RECEIPT = "mail_receipt"
FAILED_PAYMENT = "mail_failed_payment"
VOIDED = "mail_void_invoice"
CREDITED = "mail_credit_note"


def tell_finalized(invoices: Sequence[Invoice]) -> None:
    """Tell programs of invoices that are final; an invoice of nothing is settled, so it is paid as well."""
    settled = [invoice for invoice in invoices if invoice.payment_state == PaymentState.PAID]
    tell([_event(EventType.FINALIZED, each) for each in invoices] + [_event(EventType.PAID, each) for each in settled])


def announce_issued(invoice: Invoice) -> None:
    """Have a final invoice mailed: one that can be paid now, or of which nothing is to be paid."""
    outbox.enqueue(ISSUED, dedupe_key=str(invoice.id), organization_id=invoice.organization_id, invoice_id=invoice.id)


def announce_paid(invoice: Invoice) -> None:
    """Have a receipt mailed."""
    outbox.enqueue(RECEIPT, dedupe_key=str(invoice.id), organization_id=invoice.organization_id, invoice_id=invoice.id)
    tell([_event(EventType.PAID, invoice)])


def announce_failed_payment(invoice: Invoice, *, attempt: int, next_attempt_at: int) -> None:
    """Have it mailed that an attempt to pay failed or wants a confirmation; `attempt` counts them from 1.

    `next_attempt_at` is when Stripe tries by itself, in seconds since 1970; 0 if it does not.
    """
    outbox.enqueue(
        FAILED_PAYMENT,
        dedupe_key=f"{invoice.id}-{attempt}",
        organization_id=invoice.organization_id,
        invoice_id=invoice.id,
        attempt=attempt,
        next_attempt_at=next_attempt_at,
    )
    if invoice.payment_state == PaymentState.FAILED:
        tell([_event(EventType.PAYMENT_FAILED, invoice, f"{invoice.id}-{attempt}", attempt=attempt)])


def announce_voided(invoice: Invoice) -> None:
    """Have it mailed that an invoice is void, to those who got it."""
    outbox.enqueue(VOIDED, dedupe_key=str(invoice.id), organization_id=invoice.organization_id, invoice_id=invoice.id)
    tell([_event(EventType.VOIDED, invoice)])


def announce_credit_note(note: CreditNote) -> None:
    """Have a credit note mailed."""
    outbox.enqueue(CREDITED, dedupe_key=str(note.id), organization_id=note.organization_id, credit_note_id=note.id)
    data = {"credit_note": str(note.public_id), "number": note.number, "invoice": str(note.invoice.public_id)}
    tell([Event(note.organization_id, EventType.CREDITED, str(note.id), data)])


def _event(event_type: EventType, invoice: Invoice, key: str | None = None, **more: Any) -> Event:
    """An event of an invoice, by default once: what it is asked for by, and no amounts."""
    data = {"invoice": str(invoice.public_id), "number": invoice.number, "month": str(invoice.month), **more}
    return Event(invoice.organization_id, event_type, key or str(invoice.id), data)
