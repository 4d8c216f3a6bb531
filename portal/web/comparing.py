"""One of my invoices beside the one of the month before."""

from uuid import UUID

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from portal.comparing_months import CSV_HEAD, comparison_page, comparison_rows
from portal.infra.pages import csv_response, policy
from portal.invoicing.models import Invoice
from portal.invoicing.queries import invoice_of
from portal.signed_in import guard_page, my_seat

bp = Blueprint("comparing", __name__)
bp.before_request(guard_page)


@bp.get("/invoices/<uuid:public_id>/comparison")
@policy("view invoices")
def show(public_id: UUID) -> ResponseReturnValue:
    """What of the difference is volume, price, new, gone and so on."""
    return render_template("web/invoices/comparison.html", **comparison_page(_mine(public_id)))


@bp.get("/invoices/<uuid:public_id>/comparison.csv")
@policy("view invoices")
def download(public_id: UUID) -> ResponseReturnValue:
    """Every effect as a file."""
    invoice = _mine(public_id)
    return csv_response(f"comparison-{invoice.month}", CSV_HEAD, comparison_rows(invoice))


def _mine(public_id: UUID) -> Invoice:
    return invoice_of(public_id, organization_id=my_seat().organization_id)
