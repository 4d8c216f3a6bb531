"""Where a frozen invoice is on its way, in words, and whether the page must keep looking."""

from typing import Any

from portal.core.lifecycle import InvoiceState, PaymentState, SyncState
from portal.invoicing.models import Invoice
from portal.payments.journal import calls_for

SOON_SECONDS, LATER_SECONDS = 2, 5
SYNC_SENTENCES = {
    SyncState.NONE: "Nothing is sent to Stripe.",
    SyncState.PENDING: "It is being sent to Stripe.",
    SyncState.UNKNOWN: "We don’t know yet if Stripe received it. Nothing is sent twice; we check again by ourselves.",
    SyncState.SYNCED: "Stripe has it, line by line and with the same total.",
    SyncState.MISMATCH: "What stands at Stripe is not what we sent. Nothing more is sent until somebody decides.",
    SyncState.DEAD: "Sending has stopped. Mend the cause, then sync again; nothing is sent twice.",
}
PAYMENT_SENTENCES = {
    PaymentState.NONE: "Nothing is owed yet.",
    PaymentState.OPEN: "The customer has not paid yet.",
    PaymentState.PROCESSING: "The payment is on its way.",
    PaymentState.ACTION_REQUIRED: "The customer’s bank wants the payment to be confirmed.",
    PaymentState.FAILED: "The payment failed; the customer can pay again.",
    PaymentState.PAID: "It is paid.",
    PaymentState.UNCOLLECTIBLE: "It was given up as uncollectible at Stripe.",
    PaymentState.REFUNDED: "The payment was given back.",
    PaymentState.DISPUTED: "The customer disputes the payment at the bank.",
}
_STOPPED = (SyncState.MISMATCH, SyncState.DEAD)
_MAY_BE_PAID = (PaymentState.OPEN, PaymentState.PROCESSING, PaymentState.ACTION_REQUIRED, PaymentState.FAILED)


def status_of(invoice: Invoice) -> dict[str, Any]:
    """What the status part of a page shows."""
    return {
        "calls": calls_for(invoice.id),
        "poll_seconds": poll_seconds(invoice),
        "sync_sentence": SYNC_SENTENCES[SyncState(invoice.sync_state)],
        "payment_sentence": _payment_sentence(invoice),
        "can_sync_again": invoice.state == InvoiceState.FINALIZED and invoice.sync_state in _STOPPED,
    }


def _payment_sentence(invoice: Invoice) -> str:
    if invoice.state == InvoiceState.VOID:
        return "It is void, so nothing is owed."
    if invoice.moved < 0:
        return f"{invoice.payer_name} is billed for it."
    return PAYMENT_SENTENCES[PaymentState(invoice.payment_state)]


def poll_seconds(invoice: Invoice) -> int | None:
    """After how many seconds to look again; None when nothing moves by itself any more."""
    if invoice.state == InvoiceState.SCHEDULED:
        return SOON_SECONDS
    if invoice.state != InvoiceState.FINALIZED or invoice.sync_state in _STOPPED:
        return None
    if invoice.sync_state in (SyncState.PENDING, SyncState.UNKNOWN):
        return SOON_SECONDS
    return LATER_SECONDS if invoice.payment_state in _MAY_BE_PAID else None
