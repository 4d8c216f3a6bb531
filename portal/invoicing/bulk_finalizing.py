"""Finishing many frozen invoices in one transaction, with exactly what finishing each alone would write.

What everybody waits for is locked last and once for all of them, in the order of keys: month totals of organizations,
of the platform, and the number series, of which a block is taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import joinedload

from portal.core.lifecycle import InvoiceState
from portal.infra.db import db
from portal.invoicing.finalizing import Terms, make_owed, seal
from portal.invoicing.models import Invoice, InvoiceItem
from portal.invoicing.month_totals import COUNTED, SLOTS, InvoiceMonth, PlatformMonth, Totals
from portal.invoicing.numbering import INVOICES, take_numbers

_Key = tuple[Any, ...]


def finish_many(invoice_ids: Sequence[int], *, now: datetime, terms: Terms) -> list[Invoice]:
    """Make those of these invoices final that are scheduled, in the order of their ids. Idempotent.

    Returns them all, also those that were left alone because they are drafts again or final already.
    """
    invoices = _lock(invoice_ids)
    due = [invoice for invoice in invoices if invoice.state == InvoiceState.SCHEDULED]
    if due:
        items = _items_by_invoice(due)
        # All columns of an invoice change in one UPDATE, because a trigger freezes the row from then on.
        with db.session.no_autoflush:
            for invoice in due:
                make_owed(invoice, now, terms)
            _count(due)
            for invoice, number in zip(due, take_numbers(INVOICES, now.year, len(due)), strict=True):
                seal(invoice, items.get(invoice.id, []), number, terms)
        db.session.flush()
    return invoices


def _lock(invoice_ids: Sequence[int]) -> list[Invoice]:
    query = (
        select(Invoice)
        .where(Invoice.id.in_(invoice_ids))
        .options(joinedload(Invoice.organization))
        .order_by(Invoice.id)
        .with_for_update(of=Invoice)
        .execution_options(populate_existing=True)
    )
    return list(db.session.scalars(query))


def _items_by_invoice(invoices: Sequence[Invoice]) -> dict[int, list[InvoiceItem]]:
    query = (
        select(InvoiceItem)
        .where(InvoiceItem.invoice_id.in_([invoice.id for invoice in invoices]))
        .order_by(InvoiceItem.invoice_id, InvoiceItem.position)
    )
    found: dict[int, list[InvoiceItem]] = {}
    for item in db.session.scalars(query):
        found.setdefault(item.invoice_id, []).append(item)
    return found


def _count(invoices: Sequence[Invoice]) -> None:
    """Add invoices to their months, each row of the totals once."""
    of_organizations: dict[_Key, Totals] = {}
    of_platform: dict[_Key, Totals] = {}
    for invoice in invoices:
        month, currency, counts = invoice.month.first_day, invoice.currency, Totals.of(invoice)
        _add(of_organizations, (invoice.organization_id, month, currency), counts)
        _add(of_platform, (month, currency, invoice.organization_id % SLOTS), counts)
    _write(InvoiceMonth, ("organization_id", "month", "currency"), of_organizations)
    _write(PlatformMonth, ("month", "currency", "slot"), of_platform)


def _add(sums: dict[_Key, Totals], key: _Key, counts: Totals) -> None:
    sums[key] = sums.get(key, Totals()) + counts


def _write(table: type[InvoiceMonth | PlatformMonth], names: Sequence[str], sums: Mapping[_Key, Totals]) -> None:
    rows = [dict(zip(names, key, strict=True)) | asdict(sums[key]) for key in sorted(sums)]
    new = insert(table).values(rows)
    added = {name: getattr(table, name) + new.excluded[name] for name in COUNTED}
    db.session.execute(new.on_conflict_do_update(index_elements=list(names), set_=added))
