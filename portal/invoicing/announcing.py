"""Having the customer told: what happened to a document, as work for whoever writes mails (see portal/mailing).

One call inside the transaction of the change itself. Whom to tell, in which words, and whether it is still true, is
decided when the mail is written.
"""

from portal.infra import outbox
from portal.invoicing.credit_note_models import CreditNote
from portal.invoicing.models import Invoice

ISSUED = "mail_issued_invoice"
RECEIPT = "mail_receipt"
FAILED_PAYMENT = "mail_failed_payment"
VOIDED = "mail_void_invoice"
CREDITED = "mail_credit_note"


def announce_issued(invoice: Invoice) -> None:
    """Have a final invoice mailed: one that can be paid now, or of which nothing is to be paid."""
    outbox.enqueue(ISSUED, dedupe_key=str(invoice.id), organization_id=invoice.organization_id, invoice_id=invoice.id)


def announce_paid(invoice: Invoice) -> None:
    """Have a receipt mailed."""
    outbox.enqueue(RECEIPT, dedupe_key=str(invoice.id), organization_id=invoice.organization_id, invoice_id=invoice.id)


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


def announce_voided(invoice: Invoice) -> None:
    """Have it mailed that an invoice is void, to those who got it."""
    outbox.enqueue(VOIDED, dedupe_key=str(invoice.id), organization_id=invoice.organization_id, invoice_id=invoice.id)


def announce_credit_note(note: CreditNote) -> None:
    """Have a credit note mailed."""
    outbox.enqueue(CREDITED, dedupe_key=str(note.id), organization_id=note.organization_id, credit_note_id=note.id)
