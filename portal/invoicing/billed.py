"""Which usage an invoice bills: its month's, less what others have billed of it, and what came late for closed months.

Usage is frozen by series and day when an invoice is scheduled. What the rollups hold beyond that is late: it goes on
the organization's next invoice, and counts as billed there.
"""

from collections.abc import Mapping, Sequence
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
from portal.usage.queries import RECORDED, Source, late_months_of_many

_FROZEN = "(SELECT * FROM billed_usage WHERE invoice_id = ANY(:invoice_ids))"
_BILLED = """
    (SELECT billed.organization_id, billed.day, billed.series_id, billed.meter_id, sum(billed.quantity) AS quantity,
            sum(billed.events) AS events
     FROM billed_usage AS billed JOIN invoices ON invoices.id = billed.invoice_id AND invoices.state <> 'void'
     WHERE billed.organization_id = {whom} AND billed.day >= :first AND billed.day <= :last
       AND ({whose})
     GROUP BY 1, 2, 3, 4)
"""
_ANY = "ANY(:organization_ids)"
_ALL_BILLED = _BILLED.format(whom=_ANY, whose="true")
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
     WHERE organization_id = {whom} AND day >= :first AND day <= :last
     GROUP BY 1, 2, 3, 4)
"""
_UNBILLED = f"""
    (SELECT used.organization_id, used.day, used.series_id, used.meter_id,
            used.quantity - coalesce(others.quantity, 0) AS quantity, used.events - coalesce(others.events, 0) AS events
     FROM {_RECORDED} AS used
     LEFT JOIN {_BILLED.format(whom="{whom}", whose="invoices.id <> ALL(:invoice_ids)")} AS others
            USING (organization_id, day, series_id, meter_id)
     WHERE (used.quantity, used.events) IS DISTINCT FROM (others.quantity, others.events))
"""
# One organization after the other, so that a plan made for any ids is the right one for many of them as well.
_FREEZE = """
    INSERT INTO billed_usage (invoice_id, day, series_id, organization_id, meter_id, quantity, events)
    SELECT whose.invoice_id, day, series_id, unbilled.organization_id, meter_id, quantity, events
    FROM unnest(CAST(:invoice_ids AS bigint[]), CAST(:organization_ids AS bigint[]))
         AS whose(invoice_id, organization_id)
    CROSS JOIN LATERAL {source} AS unbilled
"""
_MONTHS_BILLED = text("""
    SELECT DISTINCT invoice_id, CAST(date_trunc('month', day) AS date) AS month
    FROM billed_usage WHERE invoice_id = ANY(:invoice_ids) ORDER BY 1, 2
""")
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
    frozen = {} if frozen_invoice_id is None else {organization_id: frozen_invoice_id}
    return billables([organization_id], month, frozen=frozen, known_on=known_on)[organization_id]


def billables(
    organization_ids: Sequence[int],
    month: Month,
    *,
    frozen: Mapping[int, int],
    known_on: date | DraftAsOf | None = None,
) -> dict[int, Billable]:
    """The same of many organizations; `frozen` names the invoices (by organization) that have frozen their usage.

    One to three queries. Those that are read alike share one source.
    """
    if known_on is not None:
        return dict.fromkeys(organization_ids, Billable(month, _NO_INVOICE, _known(known_on), (), RECORDED))
    found = _frozen(month, frozen) if frozen else {}
    return found | _live([each for each in organization_ids if each not in found], month)


def _known(known_on: date | DraftAsOf) -> Source:
    if isinstance(known_on, DraftAsOf):
        return Source(_AS_OF, {"draft_as_of_id": known_on.id})
    return Source(_KNOWN, {"known_on": known_on})


def _frozen(month: Month, frozen: Mapping[int, int]) -> dict[int, Billable]:
    own, known = Source(_FROZEN, {"invoice_ids": list(frozen.values())}), Source(_ALL_BILLED, {})
    months = months_billed_by(list(frozen.values()))
    return {
        organization_id: Billable(
            month, invoice_id, own, tuple(each for each in months.get(invoice_id, ()) if each != month), known
        )
        for organization_id, invoice_id in frozen.items()
    }


def _live(organization_ids: Sequence[int], month: Month) -> dict[int, Billable]:
    marked = late_months_of_many(organization_ids) if organization_ids else {}
    late = _late_before(month, marked)
    billed_in_part = [each for each in organization_ids if month in marked.get(each, ())]
    invoices = _invoices_of(billed_in_part, month) if billed_in_part else {}
    unbilled = Source(_UNBILLED.format(whom=_ANY), {"invoice_ids": [_NO_INVOICE, *invoices.values()]})
    as_recorded = Billable(month, _NO_INVOICE, RECORDED, (), RECORDED)
    found = dict.fromkeys(organization_ids, as_recorded)
    for each in marked:
        own = unbilled if month in marked[each] else RECORDED
        found[each] = Billable(month, invoices.get(each, _NO_INVOICE), own, late.get(each, ()), RECORDED)
    return found


def _late_before(month: Month, marked: Mapping[int, Sequence[Month]]) -> dict[int, tuple[Month, ...]]:
    """The closed months, by organization, whose late usage this month's invoice takes: the first open one takes it all.

    A month that has no invoice yet is not closed: it gets one of its own.
    """
    earlier = {each: [one for one in marks if one < month] for each, marks in marked.items()}
    days = {one.first_day for months in earlier.values() for one in months}
    if not days:
        return {}
    rows = db.session.execute(
        select(Invoice.organization_id, Invoice.period_start, Invoice.state).where(
            Invoice.organization_id.in_([each for each, months in earlier.items() if months]),
            Invoice.period_start < month.first_day,
            or_(
                Invoice.state == InvoiceState.DRAFT,
                Invoice.period_start.in_(days) & (Invoice.state != InvoiceState.VOID),
            ),
        )
    ).all()
    waiting = {organization_id for organization_id, _, state in rows if state == InvoiceState.DRAFT}
    closed = {(organization_id, Month.of(first_day)) for organization_id, first_day, _ in rows}
    return {
        each: tuple(one for one in months if (each, one) in closed)
        for each, months in earlier.items()
        if each not in waiting
    }


def _invoices_of(organization_ids: Sequence[int], month: Month) -> dict[int, int]:
    query = select(Invoice.organization_id, Invoice.id).where(
        Invoice.organization_id.in_(organization_ids),
        Invoice.period_start == month.first_day,
        Invoice.state != InvoiceState.VOID,
    )
    return {row[0]: row[1] for row in db.session.execute(query)}


def freeze(invoices: Sequence[Invoice], month: Month, *, now: datetime) -> None:
    """Write down what invoices of one month bill of each series and day, from what the rollups hold now.

    Levels that have not changed for long are counted to the end of the month first, should the clock be late with it.
    """
    marked = late_months_of_many([invoice.organization_id for invoice in invoices])
    late = _late_before(month, marked)
    bills: dict[tuple[Month, bool], list[Invoice]] = {}
    for invoice in invoices:
        marks = marked.get(invoice.organization_id, ())
        for each in (*late.get(invoice.organization_id, ()), month):
            bills.setdefault((each, each in marks), []).append(invoice)
    unmark({(invoice.organization_id, each) for (each, _), billing in bills.items() for invoice in billing})
    count_levels_on(month.last_day, now=now, organization_ids=[invoice.organization_id for invoice in invoices])
    for (each, is_marked), billing in bills.items():
        db.session.execute(
            text(_FREEZE.format(source=(_UNBILLED if is_marked else _RECORDED).format(whom="whose.organization_id"))),
            {
                "invoice_ids": [invoice.id for invoice in billing],
                "organization_ids": [invoice.organization_id for invoice in billing],
                "first": each.first_day,
                "last": each.last_day,
            },
        )


def months_billed_by(invoice_ids: Sequence[int]) -> dict[int, list[Month]]:
    """The months of whose usage invoices bill anything, by invoice, oldest first; those that bill none are missing."""
    found: dict[int, list[Month]] = {}
    for row in db.session.execute(_MONTHS_BILLED, {"invoice_ids": list(invoice_ids)}):
        found.setdefault(row.invoice_id, []).append(Month.of(row.month))
    return found


def unfreeze(invoice: Invoice) -> None:
    """Let others bill what an invoice no longer does, because finalizing was cancelled or it was voided.

    The rows of a void invoice stay, and count no more.
    """
    mark({(invoice.organization_id, month) for month in months_billed_by([invoice.id]).get(invoice.id, ())})
    if invoice.state != InvoiceState.VOID:
        db.session.execute(delete(BilledUsage).where(BilledUsage.invoice_id == invoice.id))
