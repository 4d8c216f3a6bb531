"""A file as an answer: whole or not at all; a final one is sent again only if it changed, and it never does."""

from flask import Response, current_app, request, send_file

from portal.config import Settings
from portal.core.periods import Month
from portal.infra import clock
from portal.invoicing.credit_note_models import CreditNote
from portal.invoicing.drafting import Draft
from portal.invoicing.exporting.files import (
    File,
    Paper,
    credit_note_json,
    credit_note_pdf,
    csv_file,
    draft_pdf,
    json_file,
    pdf_file,
)
from portal.invoicing.exporting.year import issued_in, notes_issued_in, zip_of
from portal.invoicing.jobs import terms_of
from portal.invoicing.models import Invoice
from portal.organizations.models import Organization


def send_invoice(invoice: Invoice, kind: str) -> Response:
    """An invoice as "pdf", "csv" or "json". Raises NotFound for the document of one that is not final."""
    match kind:
        case "pdf":
            return _send(pdf_file(invoice, _paper(), now=clock.now()))
        case "csv":
            return _send(csv_file(invoice))
        case _:
            return _send(json_file(invoice))


def send_draft(organization: Organization, month: Month, draft: Draft, invoice: Invoice | None) -> Response:
    """A month that is not final as a PDF, also before anybody has opened its draft."""
    return _send(draft_pdf(organization, month, draft, _paper(), now=clock.now(), invoice=invoice))


def send_credit_note(note: CreditNote, kind: str) -> Response:
    """A credit note as "pdf" or "json"."""
    return _send(credit_note_pdf(note) if kind == "pdf" else credit_note_json(note))


def send_year(organization_id: int, year: int) -> Response:
    """The ZIP of the invoices and credit notes of an organization and year. Raises NotFound, InvalidInput."""
    archive = zip_of(
        issued_in(organization_id, year), _paper(), now=clock.now(), notes=notes_issued_in(organization_id, year)
    )
    return send_file(archive, mimetype="application/zip", as_attachment=True, download_name=f"invoices-{year}.zip")


def _send(file: File) -> Response:
    if file.etag is not None and request.if_none_match.contains_weak(file.etag):
        response = Response(status=304)
    else:
        response = Response(file.make(), mimetype=file.mimetype)
        response.headers["Content-Disposition"] = f'attachment; filename="{file.name}"'
    if file.etag is not None:
        response.set_etag(file.etag)
        # Whoever keeps it asks each time whether they may still see it.
        response.headers["Cache-Control"] = "private, no-cache"
    return response


def _paper() -> Paper:
    settings: Settings = current_app.config["SETTINGS"]
    return Paper(terms_of(settings).seller, settings.portal_url)
