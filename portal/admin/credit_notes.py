"""Credit notes: fill in, look at the figures, confirm; each note's page, and files."""

from typing import Any
from uuid import UUID

from flask import Response as FlaskResponse
from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal.admin.credit_note_form import CreditNoteForm, form_for
from portal.admin.refusing import refused
from portal.admin.staff import staff_blueprint
from portal.core.errors import DraftChanged, InvalidInput, InvalidTransition
from portal.core.lifecycle import InvoiceState, SyncState
from portal.core.money import major_text
from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.formats import money
from portal.infra.pages import csv_response, policy
from portal.invoicing.credit_note_documents import is_intact
from portal.invoicing.credit_note_figures import Given, by_rate, left_of
from portal.invoicing.credit_note_models import CreditNote
from portal.invoicing.credit_note_queries import (
    PAID,
    corrections_of,
    credit_note_of,
    creditable_lines,
    lines_on,
    list_credit_notes,
    note_made_with,
)
from portal.invoicing.credit_notes import figures_for, issue_credit_note, prices_include_tax
from portal.invoicing.exporting.sending import send_credit_note
from portal.invoicing.models import Invoice
from portal.invoicing.queries import invoice_of
from portal.payments.crediting import sync_credit_note_again
from portal.signed_in import me

LIST_HEAD = (
    *("number", "organization", "invoice", "issued_at", "currency", "net", "tax", "total"),
    *("off_due", "refunded", "to_balance", "sync_state", "reason", "issued_by"),
)
LINES_HEAD = ("line", "description", "quantity", "unit", "tax_percent", "net", "tax", "total", "currency")
bp = staff_blueprint("admin_credit_notes")


@bp.app_context_processor
def _offer_corrections() -> dict[str, Any]:
    """The pages of an invoice ask for what became of it since."""
    return {"corrections_of": corrections_of}


@bp.get("/invoices/<uuid:public_id>/credit-notes/new")
@policy("void invoices")
def new(public_id: UUID) -> str | tuple[str, int]:
    """The empty form, with a token of its own and all that is left of each line."""
    invoice = invoice_of(public_id)
    if invoice.state != InvoiceState.FINALIZED:
        return _refused(invoice, InvalidTransition(f"It is {invoice.state}; only a final invoice is credited."))
    return _form_page(invoice, form_for(creditable_lines(invoice))(formdata=None))


@bp.post("/invoices/<uuid:public_id>/credit-notes/new")
@policy("void invoices")
def create(public_id: UUID) -> str | Response | tuple[str, int]:
    """Three steps, each a plain form: review shows the figures, edit goes back, confirm makes the note."""
    invoice = invoice_of(public_id)
    if invoice.state != InvoiceState.FINALIZED:
        return _refused(invoice, InvalidTransition(f"It is {invoice.state}; only a final invoice is credited."))
    form = form_for(creditable_lines(invoice))()
    step = request.form.get("step")
    made = note_made_with(form.token()) if step == "confirm" and form.form_token.validate(form) else None
    if made is not None:
        flash(f"{made.number} was already made; nothing was credited twice.", "info")
        return redirect(url_for(".show", public_id=made.public_id), 303)
    if step == "edit":
        return _form_page(invoice, form)
    if not form.validate():
        return _form_page(invoice, form), 422
    try:
        return _issue(invoice, form) if step == "confirm" else _review(invoice, form)
    except InvalidInput as refusal:
        form.take(refusal)
        return _form_page(invoice, form), 422
    except (DraftChanged, InvalidTransition) as refusal:
        return _refused(invoice, refusal)


@bp.get("/credit-notes/<uuid:public_id>")
@policy("view organizations")
def show(public_id: UUID) -> str:
    """One credit note as it was frozen, and its way to Stripe."""
    note = credit_note_of(public_id)
    items = lines_on(note.id)
    return render_template(
        "admin/credit_notes/show.html",
        note=note,
        invoice=note.invoice,
        lines=items,
        rates=note.document["rates"] if note.document else [],
        intact=is_intact(note, items),
        can_sync_again=note.sync_state in (SyncState.DEAD, SyncState.MISMATCH),
    )


@bp.post("/credit-notes/<uuid:public_id>/sync")
@policy("repair the Stripe sync")
def sync_again(public_id: UUID) -> Response | tuple[str, int]:
    """Send a credit note whose sync has stopped once more."""
    note = credit_note_of(public_id)
    try:
        with transaction():
            sync_credit_note_again(note.id)
    except InvalidTransition as refusal:
        return refused(note.invoice.public_id, refusal, title="Nothing was sent")
    flash("The credit note is sent again. What Stripe has answered is not repeated.", "success")
    return redirect(url_for(".show", public_id=public_id), 303)


@bp.get("/credit-notes.csv")
@policy("view organizations")
def as_csv() -> FlaskResponse:
    """All credit notes, newest first; of one invoice if the address names it."""
    named = request.args.get("invoice", type=UUID)
    invoice_id = invoice_of(named).id if named else None
    notes = list_credit_notes(invoice_id=invoice_id)
    return csv_response("credit-notes", LIST_HEAD, (_csv_row(note) for note in notes))


@bp.get("/credit-notes/<uuid:public_id>/lines.csv")
@policy("view organizations")
def lines_as_csv(public_id: UUID) -> FlaskResponse:
    """The lines of one credit note."""
    note = credit_note_of(public_id)
    rows = (
        (
            line.line_number,
            line.description,
            line.quantity,
            line.unit,
            line.percent,
            *(major_text(amount, note.currency) for amount in (line.net, line.tax, line.net + line.tax)),
            note.currency,
        )
        for line in lines_on(note.id)
    )
    return csv_response(f"{note.organization.slug}-{note.number}", LINES_HEAD, rows)


@bp.get("/credit-notes/<uuid:public_id>.pdf")
@policy("view organizations")
def download(public_id: UUID) -> FlaskResponse:
    """The credit note to print, as its customer has it."""
    return send_credit_note(credit_note_of(public_id), "pdf")


def _form_page(invoice: Invoice, form: CreditNoteForm) -> str:
    lines = creditable_lines(invoice)
    return render_template(
        "admin/credit_notes/form.html",
        invoice=invoice,
        form=form,
        lines=lines,
        left=left_of(lines).gross,
        included=prices_include_tax(invoice),
        is_paid=invoice.payment_state in PAID,
    )


def _review(invoice: Invoice, form: CreditNoteForm) -> str:
    figures = figures_for(invoice, form.wish(invoice.currency), refund=form.wants_refund())
    return render_template(
        "admin/credit_notes/review.html",
        invoice=invoice,
        form=form,
        figures=figures,
        shown=[_shown(each) for each in figures.given],
        rates=by_rate((each.line.percent, each.part) for each in figures.given),
    )


def _shown(given: Given) -> dict[str, Any]:
    """A line of the note as its table shows it, before there is a note."""
    line = given.line
    return {
        "line_number": line.number,
        "description": line.description,
        "quantity": given.quantity,
        "unit": line.unit,
        "percent": line.percent,
        "net": given.part.net,
        "tax": given.part.tax,
    }


def _issue(invoice: Invoice, form: CreditNoteForm) -> Response:
    with transaction():
        note = issue_credit_note(
            invoice.id,
            form.wish(invoice.currency),
            reason=form.reason.data or "",
            by=me().name,
            form_token=form.token(),
            now=clock.now(),
            refund=form.wants_refund(),
            seen_total=request.form.get("seen_total", type=int),
        )
    flash(f"{note.number} credits {money(note.total, note.currency)} of {invoice.number}.", "success")
    return redirect(url_for(".show", public_id=note.public_id), 303)


def _refused(invoice: Invoice, refusal: DraftChanged | InvalidTransition) -> tuple[str, int]:
    return refused(invoice.public_id, refusal, title="Nothing was credited")


def _csv_row(note: CreditNote) -> tuple[Any, ...]:
    amounts = (note.net, note.tax, note.total, note.off_due, note.to_refund, note.to_balance)
    net, tax, total, off_due, refunded, to_balance = (major_text(amount, note.currency) for amount in amounts)
    return (
        *(note.number, note.organization.name, note.invoice.number, note.issued_at.isoformat(), note.currency),
        *(net, tax, total, off_due, refunded, to_balance),
        *(note.sync_state, note.reason, note.created_by),
    )
