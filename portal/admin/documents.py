"""Invoices as files for staff: the same that the customer gets."""

from uuid import UUID

from flask import Response

from portal.admin.staff import staff_blueprint
from portal.infra.pages import policy
from portal.invoicing.exporting.sending import send_invoice, send_year
from portal.invoicing.queries import invoice_of
from portal.organizations.queries import organization_of

bp = staff_blueprint("admin_documents")


@bp.get("/invoices/<uuid:public_id>.<any(pdf, csv, json):kind>")
@policy("view organizations")
def download(public_id: UUID, kind: str) -> Response:
    """One invoice as a file; a draft has no JSON, because it has no document yet."""
    return send_invoice(invoice_of(public_id), kind)


@bp.get("/organizations/<uuid:public_id>/year-<int(fixed_digits=4, min=2000):year>.zip")
@policy("view organizations")
def download_year(public_id: UUID, year: int) -> Response:
    """All invoices that an organization was sent in a year."""
    return send_year(organization_of(public_id).id, year)
