"""Invoices as files for customers: PDF, CSV, JSON, and all of a year as one ZIP."""

from uuid import UUID

from flask import Blueprint, Response, redirect, url_for
from flask.typing import ResponseReturnValue

from portal.core.lifecycle import InvoiceState
from portal.infra import clock
from portal.infra.pages import policy
from portal.invoicing.exporting.sending import send_draft, send_invoice, send_year
from portal.invoicing.queries import invoice_for_month, invoice_of
from portal.signed_in import guard_page, my_seat
from portal.web.drafts import open_month
from portal.web.months import chosen_month

bp = Blueprint("documents", __name__, url_prefix="/invoices")
bp.before_request(guard_page)


@bp.get("/<uuid:public_id>.<any(pdf, csv, json):kind>")
@policy("view invoices")
def download(public_id: UUID, kind: str) -> Response:
    """One invoice as a file; a draft has no JSON, because it has no document yet."""
    return send_invoice(invoice_of(public_id, organization_id=my_seat().organization_id), kind)


@bp.get("/draft.pdf")
@policy("view invoices")
def download_draft() -> ResponseReturnValue:
    """A month that is not final, as it stands; a final one has its invoice."""
    month = chosen_month(clock.now())
    invoice = invoice_for_month(my_seat().organization_id, month)
    if invoice is not None and invoice.state == InvoiceState.FINALIZED:
        return redirect(url_for(".download", public_id=invoice.public_id, kind="pdf"), 303)
    opened = open_month(month, invoice)
    return send_draft(opened.organization, month, opened.draft, invoice)


@bp.get("/year-<int(fixed_digits=4, min=2000):year>.zip")
@policy("view invoices")
def download_year(year: int) -> Response:
    """All my invoices that were issued in a year."""
    return send_year(my_seat().organization_id, year)
