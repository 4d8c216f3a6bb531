"""Credit notes: a new document that takes back all or a part of a final invoice, which itself never changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from portal.core.errors import DraftChanged, InvalidInput, InvalidTransition
from portal.core.keys import content_hash
from portal.core.lifecycle import InvoiceState, PaymentState, SyncState
from portal.core.taxes import Taxed, total_of
from portal.infra import outbox
from portal.infra.db import db
from portal.invoicing.announcing import announce_credit_note
from portal.invoicing.credit_note_documents import document_of
from portal.invoicing.credit_note_figures import Billed, Chosen, Given, all_of, amount_of, lines_of
from portal.invoicing.credit_note_models import CreditNote, CreditNoteItem
from portal.invoicing.credit_note_queries import PAID, creditable_lines, lowered_by, note_made_with, notes_on
from portal.invoicing.models import BalanceEntry, Invoice
from portal.invoicing.month_totals import Totals, count_document
from portal.invoicing.numbering import CREDIT_NOTES, next_number
from portal.invoicing.queries import items_of, lock_invoice
from portal.invoicing.trail import record_change

SYNC_CREDIT_NOTE = "sync_credit_note"
LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Wish:
    """How much to credit: an amount with its tax, or parts of lines by their numbers; neither is all that is left."""

    amount: int | None = None
    lines: Mapping[int, Chosen] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a credit note would say and do. `due_before` and `due_after` are what is owed, in minor units."""

    given: list[Given]
    total: Taxed
    off_due: int
    to_refund: int
    to_balance: int
    stripe_amount: int
    due_before: int

    @property
    def due_after(self) -> int:
        """What is owed once the note is made."""
        return self.due_before - self.off_due


def figures_for(invoice: Invoice, wish: Wish, *, refund: bool = False) -> Figures:
    """What a credit note would come to; nothing is changed.

    It first lowers what is due; of a paid invoice it gives back what was paid: through Stripe (`refund`) or to the
    account balance. What prepaid credit or balance had paid goes to the balance. Raises InvalidTransition if the
    invoice cannot be credited, InvalidInput if there is less left than is wished.
    """
    _require_creditable(invoice)
    notes = notes_on(invoice.id)
    given = _given(creditable_lines(invoice), wish, invoice)
    total = total_of([each.part for each in given])
    # Stripe knows of the amount due alone; the rest was paid with credit before Stripe heard of the invoice.
    stripe_amount = min(total.gross, invoice.amount_due - sum(note.stripe_amount for note in notes))
    is_paid = invoice.payment_state in PAID
    if refund and not (is_paid and stripe_amount):
        raise InvalidInput("Nothing of this was paid through Stripe, so nothing can be refunded.", field="refund")
    off_due = 0 if is_paid else stripe_amount
    to_refund = stripe_amount if refund else 0
    return Figures(
        given=given,
        total=total,
        off_due=off_due,
        to_refund=to_refund,
        to_balance=total.gross - off_due - to_refund,
        stripe_amount=stripe_amount,
        due_before=0 if is_paid else invoice.amount_due - lowered_by(notes),
    )


def issue_credit_note(
    invoice_id: int,
    wish: Wish,
    *,
    reason: str,
    by: str,
    form_token: UUID,
    now: datetime,
    refund: bool = False,
    seen_total: int | None = None,
) -> CreditNote:
    """Make a credit note, number and freeze it, let its amount take effect, and have it sent to Stripe.

    Idempotent by `form_token`. Raises InvalidInput (naming the field), InvalidTransition, and DraftChanged if its
    total is not the one that was seen.
    """
    invoice = lock_invoice(invoice_id)
    known = note_made_with(form_token)
    if known is not None:
        return known
    if not 0 < len(reason.strip()) <= LONGEST_REASON:
        raise InvalidInput(f"Say why, in up to {LONGEST_REASON} characters; the credit note shows it.", field="reason")
    figures = figures_for(invoice, wish, refund=refund)
    if seen_total not in (None, figures.total.gross):
        raise DraftChanged("Something else has been credited since you looked. Nothing was done; look again.")
    note = _note(invoice, figures, reason=reason.strip(), by=by, form_token=form_token, now=now)
    items = _add_lines(note, invoice, figures)
    count_document(invoice, Totals(credited=note.total))
    # One UPDATE, because the row is frozen by a trigger from that UPDATE on.
    with db.session.no_autoflush:
        note.number = next_number(CREDIT_NOTES, now.year)
        note.document = document_of(note, items, invoice)
        note.content_sha256 = content_hash(note.document)
    db.session.flush()
    _take_effect(note, invoice)
    return note


def _require_creditable(invoice: Invoice) -> None:
    if invoice.state != InvoiceState.FINALIZED:
        raise InvalidTransition(f"The invoice of {invoice.month} is {invoice.state}; only a final one is credited.")
    if invoice.payment_state == PaymentState.DISPUTED:
        raise InvalidTransition(
            f"The payment of {invoice.number} is disputed at the bank; it is credited once that is decided."
        )


def _given(lines: list[Billed], wish: Wish, invoice: Invoice) -> list[Given]:
    if wish.lines:
        return lines_of(lines, wish.lines, included=prices_include_tax(invoice))
    return all_of(lines) if wish.amount is None else amount_of(lines, wish.amount)


def prices_include_tax(invoice: Invoice) -> bool:
    """Whether the amounts of an invoice's lines hold their tax already."""
    return bool(invoice.tax_details and invoice.tax_details["included"])


def _note(invoice: Invoice, figures: Figures, **more: Any) -> CreditNote:
    now = more.pop("now")
    by = more.pop("by")
    note = CreditNote(
        organization_id=invoice.organization_id,
        invoice_id=invoice.id,
        currency=invoice.currency,
        issued_at=now,
        created_by=by,
        net=figures.total.net,
        tax=figures.total.tax,
        total=figures.total.gross,
        off_due=figures.off_due,
        to_refund=figures.to_refund,
        to_balance=figures.to_balance,
        stripe_amount=figures.stripe_amount,
        sync_state=SyncState.PENDING if figures.stripe_amount else SyncState.NONE,
        **more,
    )
    db.session.add(note)
    db.session.flush()
    return note


def _add_lines(note: CreditNote, invoice: Invoice, figures: Figures) -> list[CreditNoteItem]:
    ids = {number: item.id for number, item in enumerate(items_of(invoice.id), 1)}
    items = [
        CreditNoteItem(
            organization_id=note.organization_id,
            credit_note_id=note.id,
            invoice_item_id=ids[each.line.number],
            line_number=each.line.number,
            description=each.line.description,
            quantity=each.quantity,
            unit=each.line.unit,
            percent=each.line.percent,
            net=each.part.net,
            tax=each.part.tax,
        )
        for each in figures.given
    ]
    db.session.add_all(items)
    db.session.flush()
    return items


def _take_effect(note: CreditNote, invoice: Invoice) -> None:
    announce_credit_note(note)
    if note.to_balance:
        give_to_balance(note, note.to_balance, "given back")
    if note.stripe_amount:
        outbox.enqueue(
            SYNC_CREDIT_NOTE,
            dedupe_key=str(note.id),
            organization_id=note.organization_id,
            credit_note_id=note.id,
        )
    record_change(
        invoice,
        "credited",
        after={
            "number": note.number,
            "total": note.total,
            "off_due": note.off_due,
            "to_refund": note.to_refund,
            "to_balance": note.to_balance,
        },
        reason=note.reason,
    )


def give_to_balance(note: CreditNote, amount: int, why: str) -> None:
    """Put an amount of a credit note on the organization's account balance."""
    db.session.add(
        BalanceEntry(
            organization_id=note.organization_id,
            invoice_id=note.invoice_id,
            amount=amount,
            reason=f"credit note {note.number}: {why}",
        )
    )
