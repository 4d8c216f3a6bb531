"""Reads of credit notes, and of what became of a final invoice since."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute, joinedload

from portal.core.errors import NotFound
from portal.core.exact import ZERO
from portal.core.lifecycle import InvoiceState, PaymentState
from portal.core.taxes import Taxed
from portal.infra.db import db
from portal.invoicing.credit_note_figures import Billed, billed_lines, with_credit
from portal.invoicing.credit_note_models import CreditNote, CreditNoteItem, InvoiceReplacement
from portal.invoicing.models import Invoice
from portal.invoicing.queries import items_of

PAID = frozenset({PaymentState.PAID, PaymentState.REFUNDED})
_WITH_INVOICE = (joinedload(CreditNote.invoice), joinedload(CreditNote.organization))


@dataclass(frozen=True, slots=True)
class Corrections:
    """What became of an invoice after it was final: its credit notes, what they changed, and what replaces what.

    `lowered` is what they took off the amount due, `still_due` what is owed after that; both zero or more.
    """

    notes: Sequence[CreditNote]
    credited: int
    lowered: int
    still_due: int
    replaces: Invoice | None
    replaced_by: Invoice | None


def corrections_of(invoice: Invoice) -> Corrections:
    """The credit notes on an invoice and its links, for its page."""
    notes = notes_on(invoice.id)
    lowered = lowered_by(notes)
    owed = invoice.state == InvoiceState.FINALIZED and invoice.payment_state not in PAID
    return Corrections(
        notes=notes,
        credited=sum(note.total for note in notes),
        lowered=lowered,
        still_due=invoice.amount_due - lowered if owed else 0,
        replaces=_linked(InvoiceReplacement.replaces_id, InvoiceReplacement.invoice_id == invoice.id),
        replaced_by=replacement_of(invoice.id),
    )


def lowered_by(notes: Sequence[CreditNote]) -> int:
    """What credit notes took off an amount due before it was paid."""
    return sum(note.off_due - note.overpaid for note in notes)


def replacement_of(invoice_id: int) -> Invoice | None:
    """The draft or invoice that stands for a void one."""
    return _linked(InvoiceReplacement.invoice_id, InvoiceReplacement.replaces_id == invoice_id)


def credit_note_of(public_id: UUID, *, organization_id: int | None = None) -> CreditNote:
    """The credit note with this public id, with its invoice; of one organization only, if it is given.

    Raises NotFound, also for another organization's.
    """
    query = select(CreditNote).where(CreditNote.public_id == public_id).options(*_WITH_INVOICE)
    if organization_id is not None:
        query = query.where(CreditNote.organization_id == organization_id)
    note: CreditNote | None = db.session.scalar(query)
    if note is None:
        raise NotFound("There is no such credit note.")
    return note


def lock_credit_note(note_id: int) -> CreditNote:
    """The credit note, fresh from the database and locked until the transaction ends. Lock its invoice before."""
    return db.session.get_one(CreditNote, note_id, with_for_update=True, populate_existing=True)


def note_made_with(form_token: UUID) -> CreditNote | None:
    """The credit note that a form with this token has made; None if it was never sent."""
    return db.session.scalar(select(CreditNote).where(CreditNote.form_token == form_token))


def notes_on(invoice_id: int) -> list[CreditNote]:
    """The credit notes on an invoice, oldest first."""
    return list(
        db.session.scalars(
            select(CreditNote)
            .where(CreditNote.invoice_id == invoice_id)
            .order_by(CreditNote.id)
            .execution_options(populate_existing=True)
        )
    )


def lines_on(note_id: int) -> list[CreditNoteItem]:
    """The lines of a credit note, in the order of the invoice."""
    return list(
        db.session.scalars(
            select(CreditNoteItem).where(CreditNoteItem.credit_note_id == note_id).order_by(CreditNoteItem.line_number)
        )
    )


def list_credit_notes(*, organization_id: int | None = None, invoice_id: int | None = None) -> list[CreditNote]:
    """All credit notes with their invoices, newest first; of one organization or invoice, if given."""
    query = select(CreditNote).options(*_WITH_INVOICE).order_by(CreditNote.id.desc())
    if organization_id is not None:
        query = query.where(CreditNote.organization_id == organization_id)
    if invoice_id is not None:
        query = query.where(CreditNote.invoice_id == invoice_id)
    return list(db.session.scalars(query))


def creditable_lines(invoice: Invoice) -> list[Billed]:
    """The charged lines of a final invoice, with what its credit notes have given back of each."""
    lines = billed_lines(items_of(invoice.id), total=invoice.total, tax=invoice.tax_details)
    rows = db.session.execute(
        select(
            CreditNoteItem.line_number,
            func.sum(CreditNoteItem.net),
            func.sum(CreditNoteItem.tax),
            func.sum(CreditNoteItem.quantity),
        )
        .join(CreditNote, CreditNote.id == CreditNoteItem.credit_note_id)
        .where(CreditNote.invoice_id == invoice.id)
        .group_by(CreditNoteItem.line_number)
    )
    credited = {number: (Taxed(int(net), int(tax)), quantity or ZERO) for number, net, tax, quantity in rows}
    return with_credit(lines, credited)


def _linked(wanted: InstrumentedAttribute[int], link: ColumnElement[bool]) -> Invoice | None:
    query = select(Invoice).join(InvoiceReplacement, Invoice.id == wanted).where(link)
    found: Invoice | None = db.session.scalar(query.options(joinedload(Invoice.organization)))
    return found
