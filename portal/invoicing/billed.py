"""Which usage an invoice bills: its month's, less what others have billed of it, and what came late for closed months.

Usage is frozen by series and day when an invoice is scheduled. What the rollups hold beyond that is late: it goes on
the organization's next invoice, and counts as billed there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import delete, or_, select, text

from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month
from portal.infra.db import db
from portal.invoicing.as_of import DraftAsOf
from portal.invoicing.models import BilledUsage, Invoice
from portal.usage.lateness import mark, unmark
from portal.usage.levels import count_levels_on
from portal.usage.queries import Source, late_months

_FROZEN = "(SELECT * FROM billed_usage WHERE invoice_id = :invoice_id)"
_BILLED = """
    (SELECT billed.organization_id, billed.day, billed.series_id, billed.meter_id, sum(billed.quantity) AS quantity,
            sum(billed.events) AS events
     FROM billed_usage AS billed JOIN invoices ON invoices.id = billed.invoice_id AND invoices.state <> 'void'
     WHERE billed.organization_id = :organization_id AND billed.day >= :first AND billed.day <= :last
       AND ({whose})
     GROUP BY 1, 2, 3, 4)
"""
_ALL_BILLED = _BILLED.format(whose="true")
_KNOWN = "(SELECT * FROM usage_daily WHERE recorded_day <= :known_on)"
_AS_OF = """
    (SELECT asked.organization_id, used.*
     FROM drafts_as_of AS asked, jsonb_to_recordset(asked.usage)
          AS used(day date, series_id bigint, meter_id bigint, quantity numeric, events bigint)
     WHERE asked.id = :draft_as_of_id)
"""
# Whenever it was heard of.
_RECORDED = """
    (SELECT organization_id, day, series_id, meter_id, sum(quantity) AS quantity, sum(events) AS events
     FROM usage_daily
     WHERE organization_id = :organization_id AND day >= :first AND day <= :last
     GROUP BY 1, 2, 3, 4)
"""
_UNBILLED = f"""
    (SELECT used.organization_id, used.day, used.series_id, used.meter_id,
            used.quantity - coalesce(others.quantity, 0) AS quantity, used.events - coalesce(others.events, 0) AS events
     FROM {_RECORDED} AS used
     LEFT JOIN {_BILLED.format(whose="invoices.id <> :invoice_id")} AS others
            USING (organization_id, day, series_id, meter_id)
     WHERE (used.quantity, used.events) IS DISTINCT FROM (others.quantity, others.events))
"""
_NO_INVOICE = 0


@dataclass(frozen=True, slots=True)
class Billable:
    """What one invoice bills: the usage of its own month, and the closed months whose late usage it takes."""

    month: Month
    invoice_id: int
    own: Source
    late: tuple[Month, ...]
    # Of a late month: everything that is known of it, as far as this invoice bills it.
    known: Source


def billable(
    organization_id: int,
    month: Month,
    *,
    frozen_invoice_id: int | None = None,
    known_on: date | DraftAsOf | None = None,
) -> Billable:
    """What the invoice of a month bills, live or as it has frozen it. One query unless something came late.

    With `known_on` it is what was known of an open month's own usage at the end of that day, or at that instant.
    """
    if isinstance(known_on, DraftAsOf):
        return Billable(month, _NO_INVOICE, Source(_AS_OF, {"draft_as_of_id": known_on.id}), (), Source())
    if known_on is not None:
        return Billable(month, _NO_INVOICE, Source(_KNOWN, {"known_on": known_on}), (), Source())
    if frozen_invoice_id is not None:
        frozen = Source(_FROZEN, {"invoice_id": frozen_invoice_id})
        late = tuple(each for each in months_billed_by(frozen_invoice_id) if each != month)
        return Billable(month, frozen_invoice_id, frozen, late, Source(_ALL_BILLED, {}))
    marked = late_months(organization_id)
    late = _late_before(organization_id, month, marked)
    if month not in marked:
        return Billable(month, _NO_INVOICE, Source(), late, Source())
    invoice_id = _invoice_id_of(organization_id, month) or _NO_INVOICE
    return Billable(month, invoice_id, Source(_UNBILLED, {"invoice_id": invoice_id}), late, Source())


def _late_before(organization_id: int, month: Month, marked: Sequence[Month]) -> tuple[Month, ...]:
    """The closed months whose late usage this month's invoice takes: the first open invoice takes it all.

    A month that has no invoice yet is not closed: it gets one of its own.
    """
    earlier = [each for each in marked if each < month]
    if not earlier:
        return ()
    states = db.session.execute(
        select(Invoice.period_start, Invoice.state).where(
            Invoice.organization_id == organization_id,
            Invoice.period_start < month.first_day,
            or_(
                Invoice.state == InvoiceState.DRAFT,
                Invoice.period_start.in_([each.first_day for each in earlier]) & (Invoice.state != InvoiceState.VOID),
            ),
        )
    ).all()
    if any(state == InvoiceState.DRAFT for _, state in states):
        return ()
    closed = {Month.of(first_day) for first_day, _ in states}
    return tuple(each for each in earlier if each in closed)


def _invoice_id_of(organization_id: int, month: Month) -> int | None:
    return db.session.scalar(
        select(Invoice.id).where(
            Invoice.organization_id == organization_id,
            Invoice.period_start == month.first_day,
            Invoice.state != InvoiceState.VOID,
        )
    )


def freeze(invoice: Invoice, *, now: datetime) -> None:
    """Write down what an invoice bills of each series and day, from what the rollups hold now.

    Levels that have not changed for long are counted to the end of the month first, should the clock be late with it.
    """
    marked = late_months(invoice.organization_id)
    late = _late_before(invoice.organization_id, invoice.month, marked)
    unmark(invoice.organization_id, (*late, invoice.month))
    count_levels_on(invoice.month.last_day, now=now, organization_id=invoice.organization_id)
    for month in (*late, invoice.month):
        source = _UNBILLED if month in marked else _RECORDED
        db.session.execute(
            text(f"""
                INSERT INTO billed_usage (invoice_id, day, series_id, organization_id, meter_id, quantity, events)
                SELECT :invoice_id, day, series_id, organization_id, meter_id, quantity, events
                FROM {source} AS unbilled
            """),
            {"invoice_id": invoice.id, "organization_id": invoice.organization_id, **_days(month)},
        )


def months_billed_by(invoice_id: int) -> list[Month]:
    """The months of whose usage an invoice bills anything, oldest first."""
    days = db.session.scalars(select(BilledUsage.day).where(BilledUsage.invoice_id == invoice_id).distinct())
    return sorted({Month.of(day) for day in days})


def unfreeze(invoice: Invoice) -> None:
    """Let others bill what an invoice no longer does, because finalizing was cancelled or it was voided.

    The rows of a void invoice stay, and count no more.
    """
    mark({(invoice.organization_id, month) for month in months_billed_by(invoice.id)})
    if invoice.state != InvoiceState.VOID:
        db.session.execute(delete(BilledUsage).where(BilledUsage.invoice_id == invoice.id))


def _days(month: Month) -> dict[str, date]:
    return {"first": month.first_day, "last": month.last_day}
