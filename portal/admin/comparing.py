"""One invoice beside the one of the month before."""

from uuid import UUID

from flask import Response, render_template

from portal.admin.staff import staff_blueprint
from portal.comparing_months import CSV_HEAD, comparison_page, comparison_rows
from portal.infra.pages import csv_response, policy
from portal.invoicing.queries import invoice_of

bp = staff_blueprint("admin_comparing")


@bp.get("/invoices/<uuid:public_id>/comparison")
@policy("view invoices")
def show(public_id: UUID) -> str:
    """What of the difference is volume, price, new, gone and so on."""
    return render_template("admin/invoices/comparison.html", **comparison_page(invoice_of(public_id)))


@bp.get("/invoices/<uuid:public_id>/comparison.csv")
@policy("view invoices")
def download(public_id: UUID) -> Response:
    """Every effect as a file."""
    invoice = invoice_of(public_id)
    return csv_response(f"comparison-{invoice.organization.slug}-{invoice.month}", CSV_HEAD, comparison_rows(invoice))
