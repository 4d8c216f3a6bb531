"""Taking over what Stripe says of an invoice: its status and payments, forward only."""

from datetime import datetime
from typing import Any

from portal.core.lifecycle import InvoiceState, PaymentState, SyncState, may_move
from portal.core.money import major_text
from portal.invoicing.models import Invoice
from portal.invoicing.queries import lock_invoice
from portal.invoicing.trail import record_change
from portal.payments.announcing import announce_payment
from portal.payments.stripe_units import is_same, stripe_text

# How far along an invoice is at Stripe: an older reading never takes back a later one.
_RANK = {"draft": 0, "open": 1, "uncollectible": 2, "paid": 3, "void": 3}
_AFTER_PAYMENT = (PaymentState.REFUNDED, PaymentState.DISPUTED)
ACTION_REQUIRED_EVENT = "invoice.payment_action_required"


def take_over(invoice_id: int, theirs: dict[str, Any], *, now: datetime, event_type: str | None = None) -> Invoice:
    """Move our payment state to what Stripe's invoice says. Idempotent, and never backwards.

    A payment that is not of our total and currency, or not of all that was due, and a void that was not ours, are shown
    as a mismatch instead of being applied.
    """
    invoice = lock_invoice(invoice_id)
    before = {"payment_state": invoice.payment_state, "sync_state": invoice.sync_state}
    if _RANK.get(theirs["status"], 0) < _RANK.get(invoice.stripe_status or "", 0):
        return invoice
    invoice.stripe_status = theirs["status"]
    invoice.hosted_invoice_url = theirs.get("hosted_invoice_url") or invoice.hosted_invoice_url
    target = _payment_state_of(theirs, event_type)
    difference = _difference(invoice, theirs)
    if difference is not None:
        _flag(invoice, difference)
    elif theirs["status"] == "void" and invoice.state != InvoiceState.VOID:
        _flag(invoice, "The invoice was voided at Stripe, not here.")
    elif invoice.payment_state in _AFTER_PAYMENT:
        # Stripe goes on calling it paid; only what is read of its refunds and disputes moves it.
        pass
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
    announce_payment(invoice, theirs, before["payment_state"], event_type)
    return invoice


def _difference(invoice: Invoice, theirs: dict[str, Any]) -> str | None:
    """What is not ours, or not paid in full, about an invoice that Stripe asks for; a sentence.

    Stripe's `amount_due` may differ from the total by what it carries on the customer's balance or has credited.
    """
    if theirs["status"] not in ("open", "paid"):
        return None
    currency = theirs["currency"].upper()
    if currency != invoice.currency or not is_same(invoice.amount_due, theirs.get("total"), currency):
        ours = major_text(invoice.amount_due, invoice.currency)
        return f"Stripe's total is {stripe_text(theirs.get('total'), currency)}; ours is {ours} {invoice.currency}."
    if theirs["status"] == "paid" and theirs["amount_paid"] != theirs["amount_due"]:
        paid, due = (stripe_text(theirs[name], currency) for name in ("amount_paid", "amount_due"))
        return f"Stripe says paid, but {paid} came in where {due} was due. Settle the difference at Stripe."
    return None


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
