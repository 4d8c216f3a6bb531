"""Taking over what went back of a payment: refunds wherever they were made, and disputes at the bank.

An event only says "look again": all refunds and disputes of the payment are re-read, so order does not matter.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import select

from portal.core.lifecycle import PaymentState, SyncState, may_move
from portal.infra.db import db, transaction
from portal.infra.outbox import Lease
from portal.invoicing.credit_note_queries import lowered_by, notes_on
from portal.invoicing.models import Invoice
from portal.invoicing.queries import lock_invoice
from portal.invoicing.trail import record_change
from portal.payments.announcing import announce_dispute, announce_refund
from portal.payments.comparing import moment_of
from portal.payments.reading_reversals import Reversals, invoice_paid_with, reversals_of
from portal.payments.reversal_models import Dispute, Refund
from portal.payments.stripe_units import from_stripe

EVENTS = frozenset(
    {
        *("charge.refunded", "refund.created", "refund.updated", "refund.failed"),
        *("charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed"),
    }
)
# Stripe's words for a refund, and ours; one that is cancelled has not gone back either.
_STATES = {"pending": "pending", "requires_action": "pending", "succeeded": "succeeded"}
_SETTLED = (PaymentState.PAID, PaymentState.REFUNDED, PaymentState.DISPUTED)


def refunds_on(invoice_id: int) -> list[Refund]:
    """The refunds of an invoice, oldest first."""
    return list(db.session.scalars(select(Refund).where(Refund.invoice_id == invoice_id).order_by(Refund.id)))


def disputes_on(invoice_id: int) -> list[Dispute]:
    """The disputes of an invoice, oldest first."""
    return list(db.session.scalars(select(Dispute).where(Dispute.invoice_id == invoice_id).order_by(Dispute.id)))


def looking_again(subject: Mapping[str, Any]) -> Callable[[Lease], Callable[[datetime], None] | None] | None:
    """The reading that an event about a refund or dispute asks for; it returns None for a payment that is not ours."""
    intent = subject.get("payment_intent")
    return partial(_look, intent) if isinstance(intent, str) else None


def _look(intent: str, _: Lease) -> Callable[[datetime], None] | None:
    stripe_invoice = invoice_paid_with(intent)
    with transaction():
        invoice_id = db.session.scalar(select(Invoice.id).where(Invoice.stripe_id == stripe_invoice))
    if stripe_invoice is None or invoice_id is None:
        return None
    theirs = reversals_of(stripe_invoice, intent)

    def apply(_: datetime) -> None:
        take_over_reversals(invoice_id, theirs)

    return apply


def take_over_reversals(invoice_id: int, theirs: Reversals) -> None:
    """Store Stripe's refunds and disputes of an invoice's payment and move its payment state. Idempotent."""
    invoice = lock_invoice(invoice_id)
    for refund in theirs.refunds:
        _store_refund(invoice, refund)
    for dispute in theirs.disputes:
        _store_dispute(invoice, dispute)
    db.session.flush()
    settle_reversals(invoice)


def _store_refund(invoice: Invoice, theirs: Mapping[str, Any]) -> None:
    ours = _known_refund(invoice, theirs)
    if ours is None:
        ours = Refund(
            organization_id=invoice.organization_id,
            invoice_id=invoice.id,
            amount=from_stripe(theirs["amount"], invoice.currency),
            created_at=moment_of(theirs["created"]),
            state="pending",
        )
        db.session.add(ours)
    before = ours.state if ours.stripe_id else None
    ours.stripe_id = theirs["id"]
    # A failed refund never comes back to life; an older reading is not taken for news.
    if ours.state != "failed":
        ours.state = _STATES.get(theirs["status"], "failed")
    ours.message = "The bank did not take it; the money is at Stripe again." if ours.state == "failed" else None
    if ours.state != before:
        if ours.state == "succeeded":
            db.session.flush()
            announce_refund(invoice, ours.id)
        what = {"succeeded": "refunded", "failed": "refund failed"}.get(ours.state, "refund is on its way")
        record_change(invoice, what, after={"amount": ours.amount, "stripe_id": ours.stripe_id})


def _known_refund(invoice: Invoice, theirs: Mapping[str, Any]) -> Refund | None:
    """Our row of a refund: by Stripe's id, or by our id in its metadata if Stripe's was not saved yet."""
    known = db.session.scalar(select(Refund).where(Refund.stripe_id == theirs["id"]))
    named = (theirs.get("metadata") or {}).get("refund_id")
    if known is not None or not named:
        return known
    candidates = (each for each in refunds_on(invoice.id) if each.stripe_id is None)
    return next((each for each in candidates if str(each.public_id) == named), None)


def _store_dispute(invoice: Invoice, theirs: Mapping[str, Any]) -> None:
    known = db.session.scalar(select(Dispute).where(Dispute.stripe_id == theirs["id"]))
    before = known.status if known is not None else None
    if before in ("won", "lost"):
        return
    if known is None:
        known = Dispute(
            organization_id=invoice.organization_id,
            invoice_id=invoice.id,
            stripe_id=theirs["id"],
            amount=from_stripe(theirs["amount"], invoice.currency),
            opened_at=moment_of(theirs["created"]),
        )
        db.session.add(known)
    due_by = (theirs.get("evidence_details") or {}).get("due_by")
    known.status, known.due_by = theirs["status"], moment_of(due_by) if due_by else None
    if known.status != before:
        if known.is_open and before is None:
            db.session.flush()
            announce_dispute(invoice, known.id)
        record_change(invoice, "dispute changed", before={"status": before}, after={"status": known.status})


def settle_reversals(invoice: Invoice) -> None:
    """Say on a paid invoice how much has gone back, and move its state; the invoice is locked. Idempotent.

    Disputed while a bank has to decide, refunded once all that was received has gone back, else paid.
    """
    current = PaymentState(invoice.payment_state)
    if current not in _SETTLED:
        return
    notes, disputes = notes_on(invoice.id), disputes_on(invoice.id)
    given_back = sum(each.amount for each in refunds_on(invoice.id) if each.state == "succeeded")
    given_back += sum(each.amount for each in disputes if each.status == "lost")
    given_back += sum(note.to_refund for note in notes if note.sync_state == SyncState.SYNCED)
    invoice.amount_refunded = given_back
    if any(each.is_open for each in disputes):
        target = PaymentState.DISPUTED
    elif given_back and given_back >= invoice.amount_paid - lowered_by(notes):
        target = PaymentState.REFUNDED
    else:
        target = PaymentState.PAID
    if target is not current and may_move(current, target):
        invoice.payment_state = target
        record_change(
            invoice, "payment changed", before={"payment_state": current.value}, after={"payment_state": target.value}
        )
