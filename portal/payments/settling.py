"""Taking over what Stripe says of an invoice: its status and payments, forward only."""

from datetime import datetime
from typing import Any

from portal.core.lifecycle import InvoiceState, PaymentState, SyncState, may_move
from portal.invoicing.models import Invoice
from portal.invoicing.queries import lock_invoice
from portal.invoicing.trail import record_change

# How far along an invoice is at Stripe: an older reading never takes back a later one.
_RANK = {"draft": 0, "open": 1, "uncollectible": 2, "paid": 3, "void": 3}
ACTION_REQUIRED_EVENT = "invoice.payment_action_required"


def take_over(invoice_id: int, theirs: dict[str, Any], *, now: datetime, event_type: str | None = None) -> Invoice:
    """Move our payment state to what Stripe's invoice says. Idempotent, and never backwards.

    A payment that is not of our total, and a void that was not ours, are shown as a mismatch instead of being applied.
    """
    invoice = lock_invoice(invoice_id)
    before = {"payment_state": invoice.payment_state, "sync_state": invoice.sync_state}
    if _RANK.get(theirs["status"], 0) < _RANK.get(invoice.stripe_status or "", 0):
        return invoice
    invoice.stripe_status = theirs["status"]
    invoice.hosted_invoice_url = theirs.get("hosted_invoice_url") or invoice.hosted_invoice_url
    target = _payment_state_of(theirs, event_type)
    if theirs.get("total") != invoice.amount_due and theirs["status"] in ("open", "paid"):
        _flag(invoice, f"Stripe's total is {theirs.get('total')}; ours is {invoice.amount_due}.")
    elif theirs["status"] == "void" and invoice.state != InvoiceState.VOID:
        _flag(invoice, "The invoice was voided at Stripe, not here.")
    elif target is not None and may_move(PaymentState(invoice.payment_state), target):
        invoice.payment_state = target
        invoice.payment_message = _message_of(target)
        if target is PaymentState.PAID:
            invoice.amount_paid = invoice.amount_due
            invoice.paid_at = now
    after = {"payment_state": invoice.payment_state, "sync_state": invoice.sync_state}
    if after != before:
        record_change(
            invoice,
            "payment changed",
            before=before,
            after={**after, "stripe_status": invoice.stripe_status},
            reason=event_type,
        )
    return invoice


def _payment_state_of(theirs: dict[str, Any], event_type: str | None) -> PaymentState | None:
    status = theirs["status"]
    if status == "paid":
        return PaymentState.PAID
    if status == "uncollectible":
        return PaymentState.UNCOLLECTIBLE
    if status == "open" and event_type == ACTION_REQUIRED_EVENT:
        return PaymentState.ACTION_REQUIRED
    if status == "open" and theirs.get("attempt_count"):
        return PaymentState.FAILED
    return None


def _message_of(state: PaymentState) -> str | None:
    return {
        PaymentState.FAILED: "The payment failed. Pay again with another card, or ask the bank.",
        PaymentState.ACTION_REQUIRED: "The bank wants the payment to be confirmed.",
    }.get(state)


def _flag(invoice: Invoice, sentence: str) -> None:
    invoice.sync_state = SyncState.MISMATCH
    invoice.sync_message = sentence
