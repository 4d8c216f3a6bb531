"""All final invoices and credit notes that were issued in a year, as one ZIP: each as PDF and JSON, and an index."""

import io
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import joinedload

from portal.core.errors import InvalidInput, NotFound
from portal.core.money import major_text
from portal.infra.db import db
from portal.infra.pages import csv_response
from portal.invoicing.credit_note_models import CreditNote
from portal.invoicing.exporting.files import Paper, credit_note_json, credit_note_pdf, json_file, pdf_file
from portal.invoicing.models import Invoice

MOST_INVOICES = 24
INDEX_HEAD = (
    *("Number", "Period from", "Period to", "Issued", "Due", "State", "Currency"),
    *("Tax", "Total", "Credit used", "Amount due", "SHA-256", "Files"),
)
_READABLE_BY_ALL = 0o644 << 16


def years_issued(organization_id: int) -> list[int]:
    """The years (UTC) in which an organization's invoices were issued, newest first."""
    year = func.extract("year", Invoice.invoiced_at)
    query = select(year).where(Invoice.organization_id == organization_id, Invoice.number.is_not(None))
    return [int(each) for each in db.session.scalars(query.distinct().order_by(year.desc()))]


def issued_in(organization_id: int, year: int) -> list[Invoice]:
    """An organization's invoices that were issued in a year (UTC), void ones too, in the order of their numbers.

    Raises NotFound if there are none, InvalidInput if there are more than one ZIP takes.
    """
    first, end = (datetime(each, 1, 1, tzinfo=UTC) for each in (year, year + 1))
    issued = (
        Invoice.organization_id == organization_id,
        Invoice.number.is_not(None),
        Invoice.invoiced_at >= first,
        Invoice.invoiced_at < end,
    )
    count = db.session.scalar(select(func.count()).select_from(Invoice).where(*issued)) or 0
    if not count:
        raise NotFound(f"No invoice was issued in {year}.")
    if count > MOST_INVOICES:
        raise InvalidInput(
            f"{count} invoices were issued in {year}; one file takes {MOST_INVOICES}. Download them one by one, or by"
            " the API.",
            field="year",
        )
    query = select(Invoice).where(*issued).options(joinedload(Invoice.organization)).order_by(Invoice.number)
    return list(db.session.scalars(query))


def notes_issued_in(organization_id: int, year: int) -> list[CreditNote]:
    """An organization's credit notes that were issued in a year (UTC), in the order of their numbers."""
    first, end = (datetime(each, 1, 1, tzinfo=UTC) for each in (year, year + 1))
    query = (
        select(CreditNote)
        .where(
            CreditNote.organization_id == organization_id,
            CreditNote.number.is_not(None),
            CreditNote.issued_at >= first,
            CreditNote.issued_at < end,
        )
        .options(joinedload(CreditNote.invoice))
        .order_by(CreditNote.number)
    )
    return list(db.session.scalars(query))


def zip_of(invoices: Sequence[Invoice], paper: Paper, *, now: datetime, notes: Sequence[CreditNote] = ()) -> io.BytesIO:
    """The ZIP, whole and read from its start: every file is made before the first byte leaves.

    The same invoices give the same bytes. Raises CannotPrint.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for invoice in invoices:
            for file in (pdf_file(invoice, paper, now=now), json_file(invoice)):
                _put(archive, file.name, file.make(), invoice.invoiced_at)
        for note in notes:
            for file in (credit_note_pdf(note), credit_note_json(note)):
                _put(archive, file.name, file.make(), note.issued_at)
        index = csv_response("index", INDEX_HEAD, [*map(_row, invoices), *map(_note_row, notes)]).get_data()
        _put(archive, "index.csv", index, max(filter(None, (invoice.invoiced_at for invoice in invoices))))
    out.seek(0)
    return out


def _put(archive: zipfile.ZipFile, name: str, body: bytes, at: datetime | None) -> None:
    assert at is not None, name
    entry = zipfile.ZipInfo(name, at.astimezone(UTC).timetuple()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = _READABLE_BY_ALL
    archive.writestr(entry, body)


def _row(invoice: Invoice) -> tuple[Any, ...]:
    amounts = (invoice.tax, invoice.total, invoice.credits_applied + invoice.balance_applied, invoice.amount_due)
    return (
        invoice.number,
        invoice.month.first_day,
        invoice.month.last_day,
        invoice.invoiced_at.date() if invoice.invoiced_at else None,
        invoice.due_date,
        invoice.state,
        invoice.currency,
        *(major_text(value, invoice.currency) for value in amounts),
        invoice.content_sha256,
        f"invoice-{invoice.number}.pdf, invoice-{invoice.number}.json",
    )


def _note_row(note: CreditNote) -> tuple[Any, ...]:
    """A credit note below the invoices: its amounts are given back, so they are negative."""
    month = note.invoice.month
    return (
        *(note.number, month.first_day, month.last_day, note.issued_at.date(), None),
        f"credits {note.invoice.number}",
        note.currency,
        major_text(-note.tax, note.currency),
        major_text(-note.total, note.currency),
        *(None, None, note.content_sha256),
        f"credit-note-{note.number}.pdf, credit-note-{note.number}.json",
    )
