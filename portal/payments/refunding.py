"""Refunds that staff start: recorded here, made at Stripe by one journalled call, never twice."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from portal.core.errors import InvalidInput, InvalidTransition
from portal.core.lifecycle import InvoiceState, PaymentState, SyncState
from portal.core.money import major_text
from portal.infra import outbox
from portal.infra.db import db
from portal.infra.outbox import GiveUp, Lease
from portal.invoicing.credit_note_queries import lowered_by, notes_on
from portal.invoicing.models import Invoice
from portal.invoicing.queries import lock_invoice
from portal.invoicing.trail import record_change
from portal.payments import journal
from portal.payments.reading_reversals import payment_behind, reversals_of
from portal.payments.reversal_models import Refund
from portal.payments.reversing import refunds_on, take_over_reversals
from portal.payments.stripe_units import to_stripe

SYNC_REFUND = "sync_refund"
LONGEST_REASON = 500


def refundable(invoice: Invoice) -> int:
    """How much of what was paid can still be given back, in minor units; zero if a refund makes no sense now."""
    if invoice.state != InvoiceState.FINALIZED or invoice.sync_state != SyncState.SYNCED:
        return 0
    if invoice.payment_state != PaymentState.PAID:
        return 0
    notes = notes_on(invoice.id)
    # What credit notes gave back, to the customer or to the balance, is not given back once more.
    by_notes = sum(note.stripe_amount - note.off_due + note.overpaid for note in notes)
    received = invoice.amount_paid - lowered_by(notes)
    return received - by_notes - sum(each.amount for each in refunds_on(invoice.id) if each.counts)


def check_refund(invoice: Invoice, amount: int, reason: str) -> None:
    """Raise InvalidTransition if nothing can be refunded, InvalidInput (naming the field) if not this."""
    left = refundable(invoice)
    if left <= 0:
        raise InvalidTransition("Nothing of this invoice can be refunded now.")
    if not 0 < amount <= left:
        most = f"{major_text(left, invoice.currency)} {invoice.currency}"
        raise InvalidInput(f"A refund is more than nothing and at most {most}.", field="amount")
    to_stripe(amount, invoice.currency)
    if not 0 < len(reason.strip()) <= LONGEST_REASON:
        raise InvalidInput(f"Say why, in up to {LONGEST_REASON} characters.", field="reason")


def start_refund(invoice_id: int, *, amount: int, reason: str, by: str, form_token: UUID, now: datetime) -> Refund:
    """Record a refund and have it made at Stripe. Idempotent by `form_token`. Raises as `check_refund`."""
    invoice = lock_invoice(invoice_id)
    known = db.session.scalar(select(Refund).where(Refund.form_token == form_token))
    if known is not None:
        return known
    check_refund(invoice, amount, reason)
    refund = Refund(
        organization_id=invoice.organization_id,
        invoice_id=invoice.id,
        amount=amount,
        reason=reason.strip(),
        created_by=by,
        created_at=now,
        form_token=form_token,
        state="pending",
    )
    db.session.add(refund)
    db.session.flush()
    record_change(invoice, "refund started", after={"amount": amount}, reason=refund.reason)
    outbox.enqueue(SYNC_REFUND, dedupe_key=str(refund.id), organization_id=refund.organization_id, refund_id=refund.id)
    return refund


@outbox.handles(SYNC_REFUND)
def sync_refund(lease: Lease, *, refund_id: int) -> None:
    """Make one refund at Stripe and take over what came of it. Idempotent: its one call is journalled."""
    with lease.transaction() as session:
        refund = session.get_one(Refund, refund_id)
        invoice = session.get_one(Invoice, refund.invoice_id)
        if refund.stripe_id is not None or refund.state == "dead":
            return
        stripe_invoice, public_id = invoice.stripe_id, refund.public_id
        assert stripe_invoice is not None
        wanted = {"amount": to_stripe(refund.amount, invoice.currency), "metadata": {"refund_id": str(public_id)}}
        organization_id, invoice_id = refund.organization_id, refund.invoice_id
    try:
        intent = payment_behind(stripe_invoice)
        journal.perform(
            lease,
            "refund",
            subject=public_id,
            organization_id=organization_id,
            invoice_id=invoice_id,
            parameters=lambda: {"payment_intent": intent, **wanted},
            look_up=lambda _: _at_stripe(stripe_invoice, intent, public_id),
        )
    except GiveUp as reason:
        with lease.transaction() as session:
            _bury(session.get_one(Refund, refund_id), str(reason))
        raise
    theirs = reversals_of(stripe_invoice, intent)
    with lease.transaction():
        take_over_reversals(invoice_id, theirs)


def _at_stripe(stripe_invoice: str, intent: str, public_id: UUID) -> dict[str, Any] | None:
    """This refund as Stripe has it, found by our id in its metadata. Raises GiveUp if there are two."""
    listed = reversals_of(stripe_invoice, intent).refunds
    ours = [each for each in listed if (each.get("metadata") or {}).get("refund_id") == str(public_id)]
    if len(ours) > 1:
        raise GiveUp(f"Stripe has {len(ours)} refunds that carry our id. Somebody has to look at them there.")
    return ours[0] if ours else None


def _bury(refund: Refund, reason: str) -> None:
    invoice = lock_invoice(refund.invoice_id)
    refund.state, refund.message = "dead", reason
    record_change(invoice, "refund refused", after={"amount": refund.amount}, reason=reason)
