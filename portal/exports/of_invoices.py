"""Files of what invoices say: charges as FOCUS rows, and the documents themselves, one a line."""

import json
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import joinedload
from sqlalchemy.sql.elements import ColumnElement

from portal.core.lifecycle import InvoiceState
from portal.exports.focus import COLUMNS, Bill, rows_of_invoice, rows_of_note
from portal.exports.wishes import Piece, Wish
from portal.infra.db import db
from portal.infra.pages import csv_text
from portal.invoicing.credit_note_queries import lines_on, notes_on
from portal.invoicing.exporting.files import document_of_final, sealed
from portal.invoicing.models import Invoice, InvoiceItem
from portal.invoicing.shown import lines_of_document


class FocusCharges:
    """A row for every line of a final invoice and of its credit notes; void invoices charge nothing."""

    def head(self) -> str:
        """The names of the columns; without a mark, because programs read it."""
        return csv_text([COLUMNS])

    def units(self, organization_id: int, wish: Wish) -> int:
        """Lines of invoices."""
        return _count_lines(_of(organization_id, wish, InvoiceState.FINALIZED))

    def piece(self, organization_id: int, wish: Wish, reached: str) -> Piece:
        """One invoice with its credit notes."""
        invoice = _next(_of(organization_id, wish, InvoiceState.FINALIZED), reached)
        if invoice is None:
            return Piece("", 0, 0, None)
        rows = _focus_rows(invoice)
        return Piece(csv_text(rows), len(rows), len(document_of_final(invoice)["lines"]), str(invoice.id))


class Documents:
    """The frozen document of every final or void invoice with its hash, an object a line."""

    def head(self) -> str:
        """Lines of JSON have none."""
        return ""

    def units(self, organization_id: int, wish: Wish) -> int:
        """Lines of invoices."""
        return _count_lines(_of(organization_id, wish, InvoiceState.FINALIZED, InvoiceState.VOID))

    def piece(self, organization_id: int, wish: Wish, reached: str) -> Piece:
        """One invoice."""
        invoice = _next(_of(organization_id, wish, InvoiceState.FINALIZED, InvoiceState.VOID), reached)
        if invoice is None:
            return Piece("", 0, 0, None)
        facts = {"id": str(invoice.public_id), "state": invoice.state, **sealed(invoice)}
        lines = len(facts["document"]["lines"])
        return Piece(json.dumps(facts, ensure_ascii=False) + "\n", 1, lines, str(invoice.id))


def _of(organization_id: int, wish: Wish, *states: InvoiceState) -> tuple[ColumnElement[bool], ...]:
    """Invoices of months that have a day among those of the wish; each once, in the order in which they were opened."""
    return (
        Invoice.organization_id == organization_id,
        Invoice.state.in_(states),
        Invoice.number.is_not(None),
        Invoice.period_start <= wish.last_day,
        Invoice.period_end > wish.first_day,
    )


def _count_lines(conditions: tuple[ColumnElement[bool], ...]) -> int:
    query = select(func.count()).select_from(InvoiceItem).join(Invoice, Invoice.id == InvoiceItem.invoice_id)
    return db.session.scalar(query.where(*conditions)) or 0


def _next(conditions: tuple[ColumnElement[bool], ...], reached: str) -> Invoice | None:
    query = select(Invoice).where(*conditions, Invoice.id > int(reached or 0)).order_by(Invoice.id).limit(1)
    return db.session.scalar(query.options(joinedload(Invoice.organization)))


def _focus_rows(invoice: Invoice) -> list[tuple[Any, ...]]:
    document, organization = document_of_final(invoice), invoice.organization
    lines = lines_of_document(document)
    by_number = {line.number: line for line in lines}

    def bill(number: str | None) -> Bill:
        return Bill(
            account=str(organization.public_id),
            account_name=organization.name,
            issuer=document["seller"]["name"],
            currency=invoice.currency,
            month=invoice.month,
            document=number or "",
        )

    rows = rows_of_invoice(bill(invoice.number), lines)
    for note in notes_on(invoice.id):
        given = [(by_number[each.line_number], each.net, each.tax) for each in lines_on(note.id)]
        rows += rows_of_note(bill(note.number), given)
    return rows
