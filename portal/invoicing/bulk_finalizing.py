"""Finishing many frozen invoices in one transaction, with exactly what finishing each alone would write.

What everybody waits for is locked last and once for all of them, in the order of keys: month totals of organizations,
of the platform, and the number series, of which a block is taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, select

from portal.core.keys import content_hash
from portal.core.lifecycle import InvoiceState, PaymentState, SyncState, require_move
from portal.infra import audit, outbox
from portal.infra.db import among, db
from portal.infra.many_rows import add_rows, save_together
from portal.invoicing.announcing import announce_issued, tell_finalized
from portal.invoicing.documents import COLUMNS_OF_LINES, document_of
from portal.invoicing.linked_parts import name_parts
from portal.invoicing.models import BalanceEntry, Invoice, InvoiceItem
from portal.invoicing.month_totals import COUNTED, SLOTS, InvoiceMonth, PlatformMonth, Totals
from portal.invoicing.numbering import INVOICES, take_numbers
from portal.invoicing.queries import lock_invoices
from portal.invoicing.terms import SYNC, Terms
from portal.invoicing.trail import change_of

_Key = tuple[Any, ...]
_FINAL = (
    *("state", "payment_state", "sync_state", "finalized_at", "invoiced_at", "due_date", "paid_at"),
    *("number", "document", "content_sha256", "sections"),
)


def finish_many(invoice_ids: Sequence[int], *, now: datetime, terms: Terms) -> list[Invoice]:
    """Make those of these invoices final that are scheduled, in the order of their ids. Idempotent.

    Returns them all, also those that were left alone because they are drafts again or final already. An invoice of
    nothing is settled here and never sent.
    """
    invoices = lock_invoices(invoice_ids)
    due = [invoice for invoice in invoices if invoice.state == InvoiceState.SCHEDULED]
    if due:
        items = _items_by_invoice(due)
        # All columns of an invoice change in one UPDATE, because a trigger freezes the row from then on.
        with db.session.no_autoflush:
            for invoice in due:
                _make_owed(invoice, now, terms)
            _carry_forward(due)
            _hand_on(due)
            # Before the locks that everybody else who makes one final waits for: all but their numbers.
            documents = [document_of(invoice, items.get(invoice.id, []), terms.seller) for invoice in due]
            paying = [invoice for invoice in due if invoice.sections]
            _count(due)
            numbers = take_numbers(INVOICES, now.year, len(due))
            for invoice, document, number in zip(due, documents, numbers, strict=True):
                _seal(invoice, document, number)
            save_together(due, _FINAL)
            name_parts(paying)
            audit.record_many([_entry(invoice) for invoice in due])
            tell_finalized(due)
        db.session.flush()
    return invoices


def _make_owed(invoice: Invoice, now: datetime, terms: Terms) -> None:
    """From now on it is owed: dates, and on to the sync; an invoice of nothing is settled at once."""
    require_move(InvoiceState.SCHEDULED, InvoiceState.FINALIZED, what=f"The invoice of {invoice.month}")
    invoice.state = InvoiceState.FINALIZED
    invoice.finalized_at = invoice.invoiced_at = now
    invoice.due_date = (now + timedelta(days=terms.days_until_due)).date()
    if invoice.amount_due == 0:
        invoice.payment_state = PaymentState.PAID
        invoice.paid_at = now
    else:
        invoice.payment_state = PaymentState.OPEN
        invoice.sync_state = SyncState.PENDING


def _carry_forward(invoices: Sequence[Invoice]) -> None:
    """What credits were above charges is balance of the next invoice."""
    rows = [
        {
            "organization_id": each.organization_id,
            "invoice_id": each.id,
            "amount": -each.total,
            "reason": "carried forward: credits above charges",
        }
        for each in invoices
        if each.total < 0
    ]
    add_rows(BalanceEntry.__table__, rows)  # type: ignore[arg-type]


def _hand_on(invoices: Sequence[Invoice]) -> None:
    """Have the invoices sent to the payment provider, and mailed where nothing is to be paid."""
    for invoice in invoices:
        if invoice.amount_due == 0:
            announce_issued(invoice)
    owed = [invoice for invoice in invoices if invoice.amount_due]
    if len(owed) == 1:
        [one] = owed
        outbox.enqueue(SYNC, dedupe_key=str(one.id), organization_id=one.organization_id, invoice_id=one.id)
    else:
        outbox.enqueue_many(SYNC, [(str(each.id), each.organization_id, {"invoice_id": each.id}) for each in owed])


def _seal(invoice: Invoice, document: dict[str, Any], number: str) -> None:
    """Give an invoice that is owed its number, its document (which has its sections from now on) and its hash."""
    invoice.number = number
    invoice.document = document | {"number": number}
    invoice.content_sha256 = content_hash(invoice.document)
    invoice.sections = None


def _entry(invoice: Invoice) -> audit.Entry:
    return change_of(
        invoice,
        "finalized",
        before={"state": "scheduled"},
        after={"state": "finalized", "number": invoice.number, "amount_due": invoice.amount_due},
    )


def _items_by_invoice(invoices: Sequence[Invoice]) -> dict[int, list[Row[Any]]]:
    """The lines of invoices as plain rows, in their order."""
    items = InvoiceItem.__table__
    query = (
        select(*(items.c[name] for name in ("invoice_id", *COLUMNS_OF_LINES)))
        .where(among(items.c.invoice_id, [invoice.id for invoice in invoices]))
        .order_by(items.c.invoice_id, items.c.position)
    )
    found: dict[int, list[Row[Any]]] = {}
    for item in db.session.execute(query).all():
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
    add_rows(table.__table__, rows, key=names, adding=COUNTED)  # type: ignore[arg-type]
