"""What drafts come to, for lists: kept by the clock and shown with its age. Nothing is billed by it.

A draft's total changes with usage, items, prices, agreements, taxes and credit. So all of them are computed anew in
turn, the oldest figure first, instead of guessing which ones could have moved.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import Select, delete, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import joinedload

from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month
from portal.infra.db import db, transaction
from portal.invoicing.linked_drafts import keep_what_links_add, whole_draft_of
from portal.invoicing.models import DraftTotal, Invoice

AGE = timedelta(minutes=15)
CHUNK = 50


def refresh_by_clock(*, now: datetime) -> int:
    """Compute the totals that are missing or old, a chunk of them, each in a transaction of its own; returns how many.

    Idempotent. Totals of what is no longer a draft are taken away.
    """
    with transaction() as session:
        session.execute(delete(DraftTotal).where(DraftTotal.invoice_id.in_(_no_longer_drafts())))
        due = session.scalars(_due(now)).all()
    for invoice_id in due:
        with transaction():
            _refresh(invoice_id, now)
    return len(due)


def draft_totals_of(invoices: Iterable[Invoice]) -> dict[int, DraftTotal]:
    """The totals of the drafts among these, by the invoices' inner ids; without those not computed yet."""
    ids = [invoice.id for invoice in invoices if invoice.state == InvoiceState.DRAFT]
    if not ids:
        return {}
    return {
        each.invoice_id: each for each in db.session.scalars(select(DraftTotal).where(DraftTotal.invoice_id.in_(ids)))
    }


def draft_totals_in(month: Month, organization_ids: Iterable[int]) -> dict[int, DraftTotal]:
    """The totals of these organizations' drafts of a month, by the organizations' inner ids."""
    query = (
        select(DraftTotal)
        .join(Invoice, Invoice.id == DraftTotal.invoice_id)
        .where(
            DraftTotal.organization_id.in_(list(organization_ids)),
            Invoice.period_start == month.first_day,
            Invoice.state == InvoiceState.DRAFT,
        )
    )
    return {each.organization_id: each for each in db.session.scalars(query)}


def _no_longer_drafts() -> Select[int]:
    return (
        select(DraftTotal.invoice_id)
        .join(Invoice, Invoice.id == DraftTotal.invoice_id)
        .where(Invoice.state != InvoiceState.DRAFT)
    )


def _due(now: datetime) -> Select[int]:
    return (
        select(Invoice.id)
        .outerjoin(DraftTotal, DraftTotal.invoice_id == Invoice.id)
        .where(
            Invoice.state == InvoiceState.DRAFT,
            or_(DraftTotal.invoice_id.is_(None), DraftTotal.computed_at <= now - AGE),
        )
        .order_by(DraftTotal.computed_at.asc().nulls_first(), Invoice.id)
        .limit(CHUNK)
    )


def _refresh(invoice_id: int, now: datetime) -> None:
    invoice = db.session.scalar(
        select(Invoice).where(Invoice.id == invoice_id).options(joinedload(Invoice.organization))
    )
    if invoice is None or invoice.state != InvoiceState.DRAFT:
        return
    draft = whole_draft_of(invoice.organization, invoice.month)
    keep_what_links_add(invoice, draft)
    values = {"total": draft.statement.total, "amount_due": draft.amount_due, "computed_at": now}
    db.session.execute(
        insert(DraftTotal)
        .values(invoice_id=invoice.id, organization_id=invoice.organization_id, **values)
        .on_conflict_do_update(index_elements=[DraftTotal.invoice_id], set_=values)
    )
