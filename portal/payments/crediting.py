"""Telling Stripe of what was credited or written off here. Never twice; what Stripe has of it is compared with ours.

A credit note waits until its invoice is at Stripe. Stripe decides whether it lowers what is open or gives back what
was paid: the customer may have paid while the note was on its way. Our account balance is not Stripe's, so what goes
there is settled outside of Stripe ("out of band").
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from portal.core.errors import InvalidInput
from portal.core.lifecycle import InvoiceState, SyncState, require_move
from portal.infra import clock, outbox
from portal.infra.db import db
from portal.infra.outbox import GiveUp, Lease, RetryLater
from portal.invoicing.credit_note_models import CreditNote
from portal.invoicing.credit_note_queries import lock_credit_note
from portal.invoicing.credit_notes import SYNC_CREDIT_NOTE, give_to_balance
from portal.invoicing.models import Invoice
from portal.invoicing.queries import lock_invoice
from portal.invoicing.terms import SYNC
from portal.invoicing.trail import record_change
from portal.invoicing.writing_off import WRITE_OFF_AT_STRIPE
from portal.payments import gateway, journal
from portal.payments.adopting import LookUp
from portal.payments.breaker import Parked
from portal.payments.reversing import settle_reversals
from portal.payments.settling import take_over
from portal.payments.stripe_units import is_same, stripe_text, to_stripe

SOON_SECONDS, LATER_SECONDS = 1, 600
_ON_THE_WAY = (SyncState.PENDING, SyncState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to stand at Stripe, as plain facts."""

    credit_note_id: int
    public_id: UUID
    organization_id: int
    invoice_id: int
    stripe_invoice: str
    number: str
    currency: str
    amount: int
    refund: bool
    content_sha256: str

    def parameters(self, *, is_paid: bool) -> dict[str, Any]:
        """What Stripe is asked for, by whether its invoice is paid. Raises GiveUp for an amount that it cannot take."""
        try:
            amount = to_stripe(self.amount, self.currency)
        except InvalidInput as refusal:
            raise GiveUp(refusal.sentence) from refusal
        given_back = {"refund_amount" if self.refund else "out_of_band_amount": amount}
        return {
            "invoice": self.stripe_invoice,
            "amount": amount,
            **(given_back if is_paid else {}),
            "email_type": "none",
            "memo": f"Credit note {self.number}",
            "metadata": {"credit_note_id": str(self.public_id), "content_sha256": self.content_sha256},
        }


class Mismatch(Exception):
    """Stripe's credit note is not ours; the text shows both."""


@outbox.handles(SYNC_CREDIT_NOTE)
def sync_credit_note(lease: Lease, *, credit_note_id: int) -> None:
    """Bring one credit note to Stripe. Idempotent: its one call is journalled, so any retry goes on from there."""
    plan = _plan_of(lease, credit_note_id)
    if plan is None:
        return
    try:
        theirs = _bring_to_stripe(lease, plan)
        invoice_now = journal.read_now(lambda: gateway.read_invoice(plan.stripe_invoice))
    except Parked:
        # Nothing was sent just now, so what is known of the credit note has not changed.
        raise
    except RetryLater as wait:
        _mark(lease, plan, SyncState.UNKNOWN, str(wait))
        raise
    except GiveUp as reason:
        _mark(lease, plan, SyncState.DEAD, str(reason))
        raise
    except Mismatch as difference:
        _mark(lease, plan, SyncState.MISMATCH, str(difference))
        raise GiveUp(str(difference)) from difference
    _mark_synced(lease, plan, theirs, invoice_now)


def sync_credit_note_again(credit_note_id: int) -> None:
    """Send a credit note once more after somebody has repaired what stopped it. Idempotent.

    Raises InvalidTransition unless its sync has stopped.
    """
    invoice = lock_invoice(db.session.get_one(CreditNote, credit_note_id).invoice_id)
    note = lock_credit_note(credit_note_id)
    require_move(SyncState(note.sync_state), SyncState.PENDING, what=f"The sync of {note.number}")
    note.sync_state, note.sync_message = SyncState.PENDING, None
    outbox.enqueue(
        SYNC_CREDIT_NOTE, dedupe_key=str(note.id), organization_id=note.organization_id, credit_note_id=note.id
    )
    record_change(invoice, "asked to sync a credit note again", after={"number": note.number})


def _plan_of(lease: Lease, credit_note_id: int) -> Plan | None:
    """What to send; None if there is nothing (left) to do. Raises RetryLater while the invoice is not at Stripe."""
    with lease.transaction() as session:
        invoice = lock_invoice(session.get_one(CreditNote, credit_note_id).invoice_id)
        note = lock_credit_note(credit_note_id)
        if note.sync_state == SyncState.SYNCED:
            return None
        _wait_for(invoice)
        assert invoice.stripe_id is not None
        assert note.number is not None
        assert note.content_sha256 is not None
        return Plan(
            credit_note_id=note.id,
            public_id=note.public_id,
            organization_id=note.organization_id,
            invoice_id=note.invoice_id,
            stripe_invoice=invoice.stripe_id,
            number=note.number,
            currency=note.currency,
            amount=note.stripe_amount,
            refund=note.to_refund > 0,
            content_sha256=note.content_sha256,
        )


def _wait_for(invoice: Invoice) -> None:
    """Raise RetryLater until the invoice is at Stripe as it should be; a sync that has stopped waits for somebody."""
    if invoice.sync_state == SyncState.SYNCED:
        return
    moves = invoice.sync_state in _ON_THE_WAY and outbox.is_open(SYNC, str(invoice.id))
    raise RetryLater(
        "Its invoice is not at Stripe yet; this waits for it.", seconds=SOON_SECONDS if moves else LATER_SECONDS
    )


def _bring_to_stripe(lease: Lease, plan: Plan) -> dict[str, Any]:
    """Have Stripe issue the note, and return it as Stripe has it. Raises Mismatch if that is not ours."""
    status = _status_of(plan)
    try:
        answer = journal.perform(
            lease,
            "credit_note",
            subject=plan.public_id,
            organization_id=plan.organization_id,
            invoice_id=plan.invoice_id,
            parameters=lambda: plan.parameters(is_paid=status == "paid"),
            look_up=lambda _: _at_stripe(plan),
        )
    except GiveUp as refusal:
        if _status_of(plan) == status:
            raise
        raise RetryLater("The invoice was paid at Stripe in between.", seconds=SOON_SECONDS) from refusal
    theirs = _at_stripe(plan)
    if theirs is None or theirs["status"] == "void":
        raise Mismatch(f"Stripe does not show {answer['id']} any more, or it was voided there.")
    # What Stripe shows now counts, not what it answered once: a wrong answer would stand in the journal for ever.
    if not is_same(plan.amount, theirs.get("total"), plan.currency) or theirs["currency"].upper() != plan.currency:
        total = stripe_text(theirs.get("total"), theirs["currency"].upper())
        raise Mismatch(f"Stripe's credit note is of {total}, and ours is of another amount.")
    return theirs


def _at_stripe(plan: Plan) -> dict[str, Any] | None:
    """This credit note as Stripe has it, found by our id in its metadata. Raises GiveUp if there are two."""
    listed = journal.read_now(lambda: gateway.credit_notes_on(plan.stripe_invoice))
    ours = [each for each in listed if (each.get("metadata") or {}).get("credit_note_id") == str(plan.public_id)]
    if len(ours) > 1:
        ids = ", ".join(sorted(each["id"] for each in ours))
        raise GiveUp(f"Stripe has {len(ours)} credit notes that carry our id: {ids}. Void all but one there.")
    return ours[0] if ours else None


def _status_of(plan: Plan) -> str:
    status: str = journal.read_now(lambda: gateway.read_invoice(plan.stripe_invoice))["status"]
    return status


def _mark(lease: Lease, plan: Plan, state: SyncState, message: str) -> None:
    with lease.transaction():
        invoice = lock_invoice(plan.invoice_id)
        note = lock_credit_note(plan.credit_note_id)
        if note.sync_state != state:
            record_change(
                invoice,
                "sync of a credit note changed",
                before={"sync_state": note.sync_state},
                after={"sync_state": state.value, "number": note.number},
                reason=message,
            )
        note.sync_state, note.sync_message = state, message


def _mark_synced(lease: Lease, plan: Plan, theirs: dict[str, Any], invoice_now: dict[str, Any]) -> None:
    with lease.transaction():
        now = clock.now()
        take_over(plan.invoice_id, invoice_now, now=now)
        invoice = lock_invoice(plan.invoice_id)
        note = lock_credit_note(plan.credit_note_id)
        before = note.sync_state
        note.sync_state, note.sync_message = SyncState.SYNCED, None
        note.stripe_id, note.synced_at = theirs["id"], now
        # In Stripe's units; of a note that lowers what is due, all is off it or was paid already, or a part of each.
        note.overpaid = note.off_due * theirs["post_payment_amount"] // theirs["total"]
        if note.overpaid:
            give_to_balance(note, note.overpaid, "the customer had paid before Stripe heard of it")
        record_change(
            invoice,
            "credit note synced to Stripe",
            before={"sync_state": before},
            after={"sync_state": "synced", "number": note.number, "stripe_id": note.stripe_id},
        )
        db.session.flush()
        settle_reversals(invoice)


@outbox.handles(WRITE_OFF_AT_STRIPE)
def write_off_at_stripe(lease: Lease, *, invoice_id: int) -> None:
    """Mark at Stripe what has been written off here. Idempotent; a payment that came meanwhile is taken over."""
    with lease.transaction():
        invoice = lock_invoice(invoice_id)
        if invoice.state != InvoiceState.FINALIZED:
            return
        _wait_for(invoice)
        stripe_id = invoice.stripe_id
        assert stripe_id is not None
        subject: dict[str, Any] = {
            "subject": invoice.public_id,
            "organization_id": invoice.organization_id,
            "invoice_id": invoice.id,
        }
    if journal.read_now(lambda: gateway.read_invoice(stripe_id)).get("status") == "open":
        journal.perform(
            lease,
            "write_off",
            **subject,
            target=stripe_id,
            parameters=dict,
            look_up=_written_off(stripe_id),
            repeatable=True,
        )
    theirs = journal.read_now(lambda: gateway.read_invoice(stripe_id))
    with lease.transaction():
        take_over(invoice_id, theirs, now=clock.now())


def _written_off(stripe_id: str) -> LookUp:
    """Whether an invoice is marked as uncollectible at Stripe."""

    def look_up(_: object) -> dict[str, Any] | None:
        found: dict[str, Any] = journal.read_now(lambda: gateway.read_invoice(stripe_id))
        return found if found["status"] == "uncollectible" else None

    return look_up
