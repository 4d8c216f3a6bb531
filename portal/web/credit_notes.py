"""Credit notes as their customer sees them: each as it was frozen, and all of them as a file."""

from typing import Any
from uuid import UUID

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from portal.core.money import major_text
from portal.infra.pages import csv_response, policy
from portal.invoicing.credit_note_models import CreditNote
from portal.invoicing.credit_note_queries import corrections_of, credit_note_of, lines_on, list_credit_notes
from portal.invoicing.exporting.sending import send_credit_note
from portal.invoicing.queries import invoice_of
from portal.signed_in import guard_page, my_seat

LIST_HEAD = (
    *("Number", "Invoice", "Issued", "Currency", "Before tax", "Tax", "Total"),
    *("Off what was due", "Refunded", "To the account balance", "Reason"),
)
LINES_HEAD = ("Line", "Item", "Quantity", "Unit", "Tax rate, %", "Before tax", "Tax", "Total", "Currency")
bp = Blueprint("credit_notes", __name__)
bp.before_request(guard_page)


@bp.app_context_processor
def _offer_corrections() -> dict[str, Any]:
    """The pages of an invoice ask for what became of it since."""
    return {"corrections_of": corrections_of}


@bp.get("/credit-notes/<uuid:public_id>")
@policy("view invoices")
def show(public_id: UUID) -> ResponseReturnValue:
    """One credit note."""
    note = _mine(public_id)
    return render_template(
        "web/credit_notes/show.html",
        note=note,
        invoice=note.invoice,
        document=note.document,
        lines=lines_on(note.id),
    )


@bp.get("/credit-notes/<uuid:public_id>.csv")
@policy("view invoices")
def lines_as_csv(public_id: UUID) -> ResponseReturnValue:
    """The lines of one credit note as a file."""
    note = _mine(public_id)
    rows = [
        (
            *(line.line_number, line.description, line.quantity, line.unit, line.percent),
            *(major_text(amount, note.currency) for amount in (line.net, line.tax, line.net + line.tax)),
            note.currency,
        )
        for line in lines_on(note.id)
    ]
    return csv_response(f"credit-note-{note.number}", LINES_HEAD, rows)


@bp.get("/credit-notes/<uuid:public_id>.<any(pdf, json):kind>")
@policy("view invoices")
def download_document(public_id: UUID, kind: str) -> ResponseReturnValue:
    """The credit note to print, or its frozen document with its hash, for machines and for checking."""
    return send_credit_note(_mine(public_id), kind)


@bp.get("/credit-notes.csv")
@policy("view invoices")
def as_csv() -> ResponseReturnValue:
    """All my credit notes, newest first; of one invoice if the address names it."""
    organization_id = my_seat().organization_id
    named = request.args.get("invoice", type=UUID)
    invoice_id = invoice_of(named, organization_id=organization_id).id if named else None
    notes = list_credit_notes(organization_id=organization_id, invoice_id=invoice_id)
    return csv_response("credit-notes", LIST_HEAD, [_csv_row(note) for note in notes])


def _mine(public_id: UUID) -> CreditNote:
    return credit_note_of(public_id, organization_id=my_seat().organization_id)


def _csv_row(note: CreditNote) -> tuple[Any, ...]:
    amounts = (
        *(note.net, note.tax, note.total),
        *(note.off_due - note.overpaid, note.to_refund, note.to_balance + note.overpaid),
    )
    return (
        *(note.number, note.invoice.number, note.issued_at.date(), note.currency),
        *(major_text(amount, note.currency) for amount in amounts),
        note.reason,
    )
