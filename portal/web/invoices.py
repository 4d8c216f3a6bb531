"""Invoices: the list, and each final one as it was frozen, with how its payment stands."""

from datetime import date
from typing import Any
from uuid import UUID

from flask import Blueprint, current_app, render_template, request, url_for
from flask.typing import ResponseReturnValue

from portal.core.errors import InvalidInput
from portal.core.lifecycle import InvoiceState
from portal.core.money import major_text
from portal.infra import clock
from portal.infra.pages import csv_response, policy
from portal.invoicing.exporting.files import document_of_final
from portal.invoicing.late_standing import late_usage_of
from portal.invoicing.linked_parts import billed_on
from portal.invoicing.models import Invoice
from portal.invoicing.queries import invoice_of, invoices_of
from portal.invoicing.shown import shown_sections
from portal.invoicing.sums import sums_of_invoice
from portal.signed_in import guard_page, my_seat
from portal.standing import overdue_since, standing_of, word_of
from portal.web.drafts import draft_page, open_month
from portal.web.explaining import explain
from portal.web.lines import chosen_line, lines_of_document

PAGE_ROWS = 24
_LONGEST_ID = 18
# A hundred years of months: every invoice that an organization can have.
MOST_INVOICES = 1_200
LIST_HEAD = ("Number", "Period from", "Period to", "Issued", "Due", "Currency", "Total", "Amount due", "State")
_OPEN = (InvoiceState.DRAFT, InvoiceState.SCHEDULED)
bp = Blueprint("invoices", __name__)
bp.before_request(guard_page)


@bp.app_context_processor
def _offer_overdue() -> dict[str, Any]:
    """Lists of invoices say since when one is overdue."""
    return {"overdue_since": lambda invoice: overdue_since(invoice, clock.now().date())}


@bp.get("/invoices")
@policy("view invoices")
def index() -> ResponseReturnValue:
    """One page of my invoices, newest first."""
    found = invoices_of(my_seat().organization_id, before=_cursor(), limit=PAGE_ROWS + 1)
    invoices = found[:PAGE_ROWS]
    last = invoices[-1] if len(found) > PAGE_ROWS else None
    return render_template(
        "web/invoices/index.html",
        invoices=invoices,
        older=url_for(".index", before=f"{last.period_start}.{last.id}") if last else None,
        newest=url_for(".index") if request.args.get("before") else None,
        years=sorted({each.invoiced_at.year for each in invoices if each.invoiced_at}, reverse=True),
    )


@bp.get("/invoices.csv")
@policy("view invoices")
def download_index() -> ResponseReturnValue:
    """All my invoices as a file."""
    rows = [_csv_row(invoice) for invoice in invoices_of(my_seat().organization_id, limit=MOST_INVOICES)]
    return csv_response("invoices", LIST_HEAD, rows)


@bp.get("/invoices/<uuid:public_id>")
@policy("view invoices")
def show(public_id: UUID) -> ResponseReturnValue:
    """One invoice: a draft live, a final one as it was frozen."""
    invoice, now = _mine(public_id), clock.now()
    if invoice.state in _OPEN or invoice.document is None:
        return draft_page(open_month(invoice.month, invoice), now)
    lines = lines_of_document(invoice.document)
    line = next((each for each in lines if each.number == chosen_line()), None)
    return render_template(
        "web/invoices/show.html",
        document=invoice.document,
        sums=sums_of_invoice(invoice, lines),
        lines=lines,
        sections=shown_sections(invoice.document.get("sections", ())),
        billed_on=billed_on(invoice),
        explained=line,
        explanation=explain(line, invoice.currency, lines) if line else None,
        late=late_usage_of(invoice, now=now),
        **_status(invoice),
    )


@bp.get("/invoices/<uuid:public_id>/status")
@policy("view invoices")
def status(public_id: UUID) -> ResponseReturnValue:
    """The status panel of a final invoice, which loads itself again while something moves."""
    invoice = _mine(public_id)
    document_of_final(invoice)
    return render_template("web/invoices/_status.html", **_status(invoice))


def _mine(public_id: UUID) -> Invoice:
    return invoice_of(public_id, organization_id=my_seat().organization_id)


def _status(invoice: Invoice) -> dict[str, Any]:
    standing = standing_of(invoice, now=clock.now(), settings=current_app.config["SETTINGS"])
    return {"invoice": invoice, "standing": standing}


def _cursor() -> tuple[date, int] | None:
    """Where the page before ended: "2026-03-01.42". Raises InvalidInput for anything else."""
    text = request.args.get("before")
    if not text:
        return None
    day, _, last_id = text.partition(".")
    try:
        return date.fromisoformat(day), int(last_id[:_LONGEST_ID])
    except ValueError:
        raise InvalidInput("The page that this link names is not there.", field="before") from None


def _csv_row(invoice: Invoice) -> tuple[Any, ...]:
    final = invoice.state not in _OPEN
    return (
        invoice.number,
        invoice.month.first_day,
        invoice.month.last_day,
        invoice.invoiced_at.date() if invoice.invoiced_at else None,
        invoice.due_date,
        invoice.currency,
        major_text(invoice.total, invoice.currency) if final else None,
        major_text(invoice.amount_due, invoice.currency) if final else None,
        word_of(invoice),
    )
