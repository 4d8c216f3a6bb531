"""An invoice as a file: its name, its bytes, and what identifies them for caches."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any

from portal.core.errors import NotFound
from portal.core.keys import canonical_json
from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month, midnight
from portal.infra.pages import csv_response
from portal.invoicing.credit_note_models import CreditNote
from portal.invoicing.documents import Seller, buyer_of
from portal.invoicing.drafting import Draft, draft_of
from portal.invoicing.exporting.electronic import electronic_invoice
from portal.invoicing.exporting.pdf import Pages, pages_of, render
from portal.invoicing.exporting.printed import printed_draft, printed_invoice
from portal.invoicing.exporting.printed_notes import printed_credit_note
from portal.invoicing.models import Invoice
from portal.invoicing.shown import CSV_HEAD, csv_rows, lines_of_document, lines_of_draft
from portal.organizations.models import Organization

_OPEN = (InvoiceState.DRAFT, InvoiceState.SCHEDULED)


@dataclass(frozen=True, slots=True)
class Paper:
    """What printing takes from the settings."""

    seller: Seller
    portal_url: str


@dataclass(frozen=True, slots=True)
class File:
    """One file. `etag` is None where the next one may differ; `make` gives all its bytes or raises."""

    name: str
    mimetype: str
    etag: str | None
    make: Callable[[], bytes]


def is_open(invoice: Invoice) -> bool:
    """Whether it is not final, so that there is no document of it yet."""
    return invoice.state in _OPEN


def open_figures(invoice: Invoice) -> Draft:
    """The figures of an invoice that is not final: live, or frozen while it is being finalized."""
    frozen = invoice.id if invoice.state == InvoiceState.SCHEDULED else None
    return draft_of(invoice.organization, invoice.month, frozen_invoice_id=frozen)


def pdf_file(invoice: Invoice, paper: Paper, *, now: datetime) -> File:
    """The invoice to print; a draft as it stands. Raises NotFound for a void draft."""
    if is_open(invoice):
        return draft_pdf(invoice.organization, invoice.month, open_figures(invoice), paper, now=now, invoice=invoice)
    pages = pages_of_final(invoice, paper)
    return File(f"{_name(invoice)}.pdf", "application/pdf", pages.id, lambda: render(pages))


def draft_pdf(
    organization: Organization, month: Month, draft: Draft, paper: Paper, *, now: datetime, invoice: Invoice | None
) -> File:
    """A month's figures as they stand, to print and marked as such; `invoice` is its row, once it was opened."""
    printed = printed_draft(organization, month, draft.statement, paper.seller, now=now, invoice=invoice)
    pages = pages_of(printed, made_at=now.replace(microsecond=0))
    return File(f"draft-invoice-{month}.pdf", "application/pdf", None, lambda: render(pages))


def pages_of_final(invoice: Invoice, paper: Paper) -> Pages:
    """A final or void invoice, ready to be rendered. Raises NotFound for a void draft."""
    document = document_of_final(invoice)
    printed = printed_invoice(invoice, portal_url=paper.portal_url)
    made_at = midnight(date.fromisoformat(document["invoiced_on"]))
    electronic = None if invoice.state == InvoiceState.VOID else electronic_invoice(document)
    return pages_of(printed, made_at=made_at, electronic=electronic)


def credit_note_pdf(note: CreditNote) -> File:
    """A credit note to print, from its frozen document."""
    made_at = note.issued_at.astimezone(UTC).replace(microsecond=0)
    pages = pages_of(printed_credit_note(note), made_at=made_at)
    return File(f"credit-note-{note.number}.pdf", "application/pdf", pages.id, lambda: render(pages))


def credit_note_json(note: CreditNote) -> File:
    """The frozen document of a credit note with its hash."""
    body = {"document": note.document, "content_sha256": note.content_sha256}
    text = json.dumps(body, ensure_ascii=False, indent=2) + "\n"
    return File(f"credit-note-{note.number}.json", "application/json", None, text.encode)


def csv_file(invoice: Invoice) -> File:
    """The lines, one a row, amounts in the major unit; a draft's as they stand."""
    if is_open(invoice):
        lines = lines_of_draft(open_figures(invoice).statement.lines)
        buyer, memo = buyer_of(invoice.organization, invoice.purchase_order), invoice.memo
        sections = invoice.sections or []
    else:
        document = document_of_final(invoice)
        lines, buyer, memo = lines_of_document(document), document["buyer"], document.get("memo")
        sections = document.get("sections", [])
    body = csv_response("lines", CSV_HEAD, csv_rows(lines, invoice.currency, buyer, memo, sections)).get_data()
    return _file(invoice, "csv", "text/csv", body)


def json_file(invoice: Invoice) -> File:
    """The frozen document with its hash, in canonical form: what `flask invoice verify` computes again.

    Raises NotFound for an invoice that is not final.
    """
    body = canonical_json(sealed(invoice)) + "\n"
    return _file(invoice, "json", "application/json", body.encode())


def sealed(invoice: Invoice) -> dict[str, Any]:
    """The frozen document and its hash. Raises NotFound for an invoice that is not final."""
    return {"content_sha256": invoice.content_sha256, "document": document_of_final(invoice)}


def document_of_final(invoice: Invoice) -> dict[str, Any]:
    """What was frozen. Raises NotFound for an invoice that is not final."""
    if is_open(invoice) or invoice.document is None:
        raise NotFound("This month is not final, so there is no document of it yet.")
    return invoice.document


def _file(invoice: Invoice, kind: str, mimetype: str, body: bytes) -> File:
    etag = None if is_open(invoice) else sha256(body).hexdigest()
    return File(f"{_name(invoice)}.{kind}", mimetype, etag, lambda: body)


def _name(invoice: Invoice) -> str:
    return f"invoice-{invoice.number}" if invoice.number else f"draft-invoice-{invoice.month}"
