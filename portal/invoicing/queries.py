"""Reads of invoices."""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import func, or_, select, text, tuple_, union_all
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import defer, joinedload

from portal.core.errors import NotFound
from portal.core.lifecycle import InvoiceState, SyncState
from portal.core.periods import Month
from portal.infra.db import among, db
from portal.invoicing.models import WRONG, Invoice, InvoiceItem, OneOffItem
from portal.organizations.models import Organization

COUNTED_UP_TO = 10_000


def invoice_of(public_id: UUID, *, organization_id: int | None = None) -> Invoice:
    """The invoice with this public id, with its organization; of one organization only, if it is given.

    Raises NotFound, also for another organization's invoice.
    """
    query = select(Invoice).where(Invoice.public_id == public_id).options(joinedload(Invoice.organization))
    if organization_id is not None:
        query = query.where(Invoice.organization_id == organization_id)
    invoice: Invoice | None = db.session.scalar(query)
    if invoice is None:
        raise NotFound("There is no such invoice.")
    return invoice


def lock_invoice(invoice_id: int) -> Invoice:
    """The invoice, fresh from the database and locked until the transaction ends. Raises NotFound."""
    return lock_invoices([invoice_id])[0]


def lock_invoices(invoice_ids: Collection[int]) -> list[Invoice]:
    """Many, in the order of their ids. Raises NotFound if one is missing."""
    invoices = list(
        db.session.scalars(
            select(Invoice)
            .where(among(Invoice.id, invoice_ids))
            .options(joinedload(Invoice.organization))
            .order_by(Invoice.id)
            .with_for_update(of=Invoice)
            .execution_options(populate_existing=True)
        )
    )
    if len(invoices) < len(set(invoice_ids)):
        raise NotFound("There is no such invoice.")
    return invoices


def invoice_for_month(organization_id: int, month: Month) -> Invoice | None:
    """The invoice of a month that is not void; None before its draft has been opened."""
    return db.session.scalar(
        select(Invoice)
        .where(
            Invoice.organization_id == organization_id,
            Invoice.period_start == month.first_day,
            Invoice.kind == "monthly",
            Invoice.state != InvoiceState.VOID,
        )
        .options(joinedload(Invoice.organization))
    )


def invoices_of(organization_id: int, *, before: tuple[date, int] | None = None, limit: int = 50) -> list[Invoice]:
    """One page of an organization's invoices, newest first; `before` is the last row of the page before."""
    query = (
        select(Invoice)
        .where(Invoice.organization_id == organization_id)
        .options(joinedload(Invoice.organization), defer(Invoice.document))
        .order_by(Invoice.period_start.desc(), Invoice.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(tuple_(Invoice.period_start, Invoice.id) < tuple_(*before))
    return list(db.session.scalars(query))


def items_of(invoice_id: int) -> list[InvoiceItem]:
    """The lines of a frozen or finalized invoice, in their order."""
    return list(
        db.session.scalars(
            select(InvoiceItem).where(InvoiceItem.invoice_id == invoice_id).order_by(InvoiceItem.position)
        )
    )


def one_off_items_on(invoice_id: int) -> list[OneOffItem]:
    """The one-off items of an invoice that have not been removed, with who added them."""
    return list(
        db.session.scalars(
            select(OneOffItem)
            .where(OneOffItem.invoice_id == invoice_id, OneOffItem.removed_at.is_(None))
            .options(joinedload(OneOffItem.created_by))
            .order_by(OneOffItem.id)
        )
    )


def items_ever_on(organization_id: int, month: Month) -> list[OneOffItem]:
    """All one-off items that an organization's invoice of a month has ever had, removed ones too."""
    return list(
        db.session.scalars(
            select(OneOffItem)
            .join(Invoice, Invoice.id == OneOffItem.invoice_id)
            .where(
                OneOffItem.organization_id == organization_id,
                Invoice.period_start == month.first_day,
                Invoice.state != InvoiceState.VOID,
            )
            .order_by(OneOffItem.id)
        )
    )


def drafts_in_review(month: Month, *, limit: int = 200) -> list[Invoice]:
    """Drafts of a month that is over, or of one before it: what an admin can finalize."""
    return list(
        db.session.scalars(
            select(Invoice)
            .where(Invoice.period_start <= month.first_day, Invoice.state == InvoiceState.DRAFT)
            .options(joinedload(Invoice.organization))
            .order_by(Invoice.period_start, Invoice.organization_id)
            .limit(limit)
        )
    )


def invoices_needing_attention(*, limit: int = 100) -> list[Invoice]:
    """Invoices whose sync or payment went wrong or is unknown; void ones too, if Stripe took money for them."""
    return list(
        db.session.scalars(
            select(Invoice)
            .where(
                text(f"({WRONG})"),
                or_(Invoice.sync_state == SyncState.MISMATCH, Invoice.state == InvoiceState.FINALIZED),
            )
            .options(joinedload(Invoice.organization))
            .order_by(Invoice.period_start.desc(), Invoice.id)
            .limit(limit)
        )
    )


def counts_by_state(months: Sequence[Month]) -> dict[tuple[date, str], int]:
    """How many invoices of these months are in each state; of the months before them, the drafts only."""
    first_days = [month.first_day for month in months]
    counted = select(Invoice.period_start, Invoice.state, func.count()).group_by(Invoice.period_start, Invoice.state)
    older = (Invoice.period_start < min(first_days), Invoice.state == InvoiceState.DRAFT)
    # Each by its own index; together in one query they would read the invoices themselves.
    rows = db.session.execute(union_all(counted.where(Invoice.period_start.in_(first_days)), counted.where(*older)))
    return {(row[0], row[1]): row[2] for row in rows}


def open_draft(organization: Organization, month: Month) -> Invoice:
    """The invoice of a month, made as a draft if there is none. Idempotent, also when two do it at once."""
    db.session.execute(
        insert(Invoice)
        .values(
            organization_id=organization.id,
            period_start=month.first_day,
            period_end=month.next.first_day,
            currency=organization.currency,
        )
        .on_conflict_do_nothing()
    )
    invoice = invoice_for_month(organization.id, month)
    assert invoice is not None
    return invoice


def list_invoices(
    *,
    month: Month | None = None,
    state: InvoiceState | None = None,
    organization_id: int | None = None,
    before: tuple[date, int] | None = None,
    limit: int = 50,
) -> list[Invoice]:
    """One page of all organizations' invoices or of one's, newest first; `before` is the page before's last row."""
    query = (
        select(Invoice)
        .options(joinedload(Invoice.organization), defer(Invoice.document))
        .order_by(Invoice.period_start.desc(), Invoice.id.desc())
        .limit(limit)
    )
    if month is not None:
        query = query.where(Invoice.period_start == month.first_day)
    if state is not None:
        query = query.where(Invoice.state == state)
    if organization_id is not None:
        query = query.where(Invoice.organization_id == organization_id)
    if before is not None:
        query = query.where(tuple_(Invoice.period_start, Invoice.id) < tuple_(*before))
    return list(db.session.scalars(query))


def counts_by_sync_state() -> dict[str, int]:
    """How many final invoices Stripe knows in which way."""
    rows = db.session.execute(
        select(Invoice.sync_state, func.count())
        .where(Invoice.state == InvoiceState.FINALIZED)
        .group_by(Invoice.sync_state)
    )
    return {row[0]: row[1] for row in rows}


def invoices_by_id(ids: set[int]) -> dict[int, Invoice]:
    """Invoices by their inner ids, with their organizations: for lists that name the invoice of a job."""
    query = select(Invoice).where(Invoice.id.in_(ids)).options(joinedload(Invoice.organization))
    return {invoice.id: invoice for invoice in db.session.scalars(query)}


def item_added_with(form_token: UUID) -> OneOffItem | None:
    """The item that a form with this token has added; None if it was never sent."""
    return db.session.scalar(select(OneOffItem).where(OneOffItem.form_token == form_token))


def agreement_open_from(organization_id: int, *, now: datetime) -> date:
    """The first day from which what an organization has agreed to can still change: what is billed from then on.

    After its last final invoice; without one from its first draft; without any from the current month.
    """
    billed_until = open_from(organization_id=organization_id)
    if billed_until is not None:
        return billed_until
    query = select(func.min(Invoice.period_start)).where(
        Invoice.organization_id == organization_id, Invoice.state == InvoiceState.DRAFT
    )
    return db.session.scalar(query) or Month.of(now).first_day


def lines_priced_by(version_ids: Collection[int]) -> int:
    """How many lines of frozen and final invoices have these price versions; nothing beyond COUNTED_UP_TO + 1."""
    found = select(InvoiceItem.id).where(InvoiceItem.price_version_id.in_(version_ids)).limit(COUNTED_UP_TO + 1)
    return db.session.scalar(select(func.count()).select_from(found.subquery())) or 0


def open_from(currency: str | None = None, *, organization_id: int | None = None) -> date | None:
    """The first day that no final (or scheduled) invoice has billed; None if there is no such invoice.

    Of one organization, or of all that are billed in a currency: what applies to it cannot change before that day.
    """
    query = select(func.max(Invoice.period_end)).where(Invoice.state.in_(["scheduled", "finalized"]))
    if currency is not None:
        query = query.where(Invoice.currency == currency)
    if organization_id is not None:
        query = query.where(Invoice.organization_id == organization_id)
    return db.session.scalar(query)
