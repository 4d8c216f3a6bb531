"""Invoices: the list, a draft as it stands, a frozen one with its way to Stripe, and the part of it that moves."""

from collections.abc import Mapping
from datetime import date
from itertools import chain
from typing import Any
from uuid import UUID

from flask import Response, current_app, render_template, request

from portal.admin.staff import staff_blueprint
from portal.admin.status import status_of
from portal.billing_cycle import finalizable_from
from portal.core.errors import InvalidInput, NotFound
from portal.core.lifecycle import InvoiceState
from portal.core.money import major_text
from portal.core.periods import Month
from portal.infra import clock
from portal.infra.audit_reading import entries_about
from portal.infra.blocks import rows_of
from portal.infra.pages import csv_response, csv_streamed, policy
from portal.invoicing.documents import is_intact
from portal.invoicing.draft_totals import draft_totals_of
from portal.invoicing.late_standing import late_usage_of
from portal.invoicing.linked_drafts import whole_draft_of
from portal.invoicing.linked_parts import billed_on
from portal.invoicing.models import Invoice, OneOffItem
from portal.invoicing.one_off_items import item_on
from portal.invoicing.queries import invoice_of, items_of, list_invoices, one_off_items_on
from portal.invoicing.seconding import request_about
from portal.invoicing.sections import sections_in
from portal.invoicing.shown import shown_sections
from portal.invoicing.sums import sums_of_invoice, sums_of_whole

PER_PAGE = 50
MONTHS_TO_CHOOSE = 24
LINES_HEAD = (
    *("kind", "description", "first_day", "last_day", "quantity", "unit", "unit_price", "amount", "currency"),
    "section",
)
bp = staff_blueprint("admin_invoices")


@bp.app_context_processor
def _offer_draft_totals() -> dict[str, Any]:
    """Lists of invoices say what drafts came to lately, and when that was."""
    return {"draft_totals_of": draft_totals_of}


@bp.get("/invoices")
@policy("view organizations")
def index() -> str:
    """One page of invoices, newest month first, of one month or state if asked for."""
    wanted = _filter()
    found = list_invoices(**wanted, before=_cursor(), limit=PER_PAGE + 1)
    shown = found[:PER_PAGE]
    more = f"{shown[-1].period_start}|{shown[-1].id}" if len(found) > PER_PAGE else None
    this_month = Month.of(clock.now())
    return render_template(
        "admin/invoices/index.html",
        invoices=shown,
        chosen=wanted,
        months=[this_month.plus(-back) for back in range(MONTHS_TO_CHOOSE)],
        states=list(InvoiceState),
        more=more,
        paged="after" in request.args,
    )


@bp.get("/invoices.csv")
@policy("view organizations")
def as_csv() -> Response:
    """All invoices that the same filter finds; a draft has no amount yet."""
    header = ("id", "organization", "month", "number", "state", "sync_state", "payment_state", "currency")
    wanted = _filter()

    def read(last: Invoice | None, limit: int) -> list[Invoice]:
        return list_invoices(**wanted, before=(last.period_start, last.id) if last else None, limit=limit)

    rows = (
        (
            invoice.public_id,
            invoice.organization.name,
            invoice.month,
            invoice.number,
            invoice.state,
            invoice.sync_state,
            invoice.payment_word if invoice.state != InvoiceState.VOID else None,
            invoice.currency,
            *((None, None) if invoice.state == InvoiceState.DRAFT else _majors(invoice)),
            invoice.due_date,
            invoice.stripe_id,
        )
        for invoice in rows_of(read)
    )
    return csv_streamed("invoices", (*header, "total", "amount_due", "due_date", "stripe_id"), rows)


@bp.get("/invoices/<uuid:public_id>")
@policy("view organizations")
def show(public_id: UUID) -> str:
    """The live draft with what can be done to it, or the frozen invoice with its way to Stripe."""
    invoice = invoice_of(public_id)
    return _draft_page(invoice) if invoice.state == InvoiceState.DRAFT else _frozen_page(invoice)


@bp.get("/invoices/<uuid:public_id>/status")
@policy("view organizations")
def status(public_id: UUID) -> Response:
    """Where the invoice is on its way; polls itself while it moves.

    When the document itself has changed since the page was made, the whole page is asked for again.
    """
    invoice = invoice_of(public_id)
    response = Response(render_template("admin/invoices/_status.html", invoice=invoice, **status_of(invoice)))
    if request.args.get("seen") not in (None, invoice.state):
        response.headers["HX-Refresh"] = "true"
    return response


@bp.get("/invoices/<uuid:public_id>/lines.csv")
@policy("view organizations")
def lines_as_csv(public_id: UUID) -> Response:
    """The lines of one invoice and then of its sections; of a draft as it stands now."""
    invoice = invoice_of(public_id)
    lines: Any
    if invoice.state == InvoiceState.DRAFT:
        draft = whole_draft_of(invoice.organization, invoice.month)
        lines, sections = draft.statement.lines, [section.facts for section in draft.sections]
    else:
        lines, sections = items_of(invoice.id), sections_in(invoice.document, invoice.sections)
    rows = (
        (
            str(line.kind),
            line.description,
            line.period_start,
            line.period_end,
            line.quantity,
            line.unit,
            line.unit_amount,
            major_text(line.amount, invoice.currency),
            invoice.currency,
            "",
        )
        for line in lines
    )
    of_sections = (
        (
            *(line.kind, line.description, line.first_day, line.last_day, line.quantity, line.unit, line.unit_amount),
            major_text(line.amount, invoice.currency),
            invoice.currency,
            section.name,
        )
        for section in shown_sections(sections)
        for line in section.lines
    )
    name = f"{invoice.organization.slug}-{invoice.number or f'draft-{invoice.month}'}"
    return csv_response(name, LINES_HEAD, chain(rows, of_sections))


def _draft_page(invoice: Invoice) -> str:
    draft = whole_draft_of(invoice.organization, invoice.month)
    return render_template(
        "admin/invoices/draft.html",
        invoice=invoice,
        draft=draft,
        sums=sums_of_whole(draft),
        sections=shown_sections(section.facts for section in draft.sections),
        items=one_off_items_on(invoice.id),
        removed=_removed_item(invoice),
        is_over=clock.now() >= invoice.month.end,
        complete_from=finalizable_from(invoice.month, current_app.config["SETTINGS"]),
        is_complete=clock.now() >= finalizable_from(invoice.month, current_app.config["SETTINGS"]),
        entries=entries_about("invoice", invoice.id),
        asked=request_about(invoice, now=clock.now()),
    )


def _frozen_page(invoice: Invoice) -> str:
    items, billed = items_of(invoice.id), billed_on(invoice)
    return render_template(
        "admin/invoices/frozen.html",
        invoice=invoice,
        items=items,
        sums=sums_of_invoice(invoice, items),
        sections=shown_sections(sections_in(invoice.document, invoice.sections)),
        billed_on=billed,
        can_void=invoice.state == InvoiceState.FINALIZED and not invoice.amount_paid and billed is None,
        late=late_usage_of(invoice, now=clock.now()) if invoice.finalized_at else [],
        intact=None if invoice.document is None else is_intact(invoice, items),
        entries=entries_about("invoice", invoice.id),
        **status_of(invoice),
    )


def _removed_item(invoice: Invoice) -> OneOffItem | None:
    """The item that was just removed, for its Undo; None once it is back."""
    named = request.args.get("removed", type=UUID)
    if named is None:
        return None
    try:
        item = item_on(invoice.id, named)
    except NotFound:
        return None
    return item if item.removed_at else None


def _filter() -> Mapping[str, Any]:
    month, state = request.args.get("month"), request.args.get("state")
    if state and state not in list(InvoiceState):
        raise InvalidInput(f"“{state}” is not a state of an invoice.", field="state")
    return {"month": Month.parse(month) if month else None, "state": InvoiceState(state) if state else None}


def _cursor() -> tuple[date, int] | None:
    """The last row of the page before, as the link to this page names it."""
    day, _, last_id = request.args.get("after", "").partition("|")
    try:
        return date.fromisoformat(day), int(last_id)
    except ValueError:
        return None


def _majors(invoice: Invoice) -> tuple[Any, Any]:
    return major_text(invoice.total, invoice.currency), major_text(invoice.amount_due, invoice.currency)
