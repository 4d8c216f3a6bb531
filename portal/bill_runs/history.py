"""What drafts are compared with, read for many organizations at once: so many queries, however many there are."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, or_, select, text

from portal.bill_runs.scoring import Before
from portal.core.lifecycle import InvoiceState, PaymentState
from portal.core.periods import Month, midnight
from portal.core.taxes import TaxTreatment
from portal.infra.db import among, db
from portal.invoicing.models import Invoice
from portal.organizations.models import Organization
from portal.payments.method_models import PaymentMethod

MONTHS_BACK = 3
# Who had usage in so many percent of the hours of the month before sends steadily.
STEADY_PERCENT = 90
_UNPAID = (PaymentState.OPEN, PaymentState.ACTION_REQUIRED, PaymentState.FAILED)
_METERS = text("""
    SELECT i.organization_id, l.derivation ->> 'meter' AS meter, bool_or(i.period_start = :last) AS of_last
    FROM invoices AS i JOIN invoice_items AS l ON l.invoice_id = i.id
    WHERE i.organization_id = ANY(:ids) AND i.period_start >= :first AND i.period_start < :month
      AND i.state IN ('finalized', 'scheduled') AND l.kind = 'usage' AND l.quantity <> 0
    GROUP BY 1, 2
""")
_EVENTS = text("""
    SELECT organization_id, sum(events) AS events,
           coalesce(sum(events) FILTER (WHERE recorded_day >= :end), 0) AS late_events
    FROM usage_daily WHERE organization_id = ANY(:ids) AND day >= :month AND day < :end
    GROUP BY organization_id
""")
# The longest stretch between two hours with usage, the month's own ends included.
_GAPS = text("""
    WITH steady AS (
        SELECT organization_id FROM usage_hourly
        WHERE organization_id = ANY(:ids) AND hour >= :before AND hour < :start
        GROUP BY organization_id
        HAVING count(DISTINCT hour) * 100 >= :percent * extract(epoch FROM CAST(:start AS timestamptz) - :before) / 3600
    ), hours AS (
        SELECT DISTINCT organization_id, hour FROM usage_hourly JOIN steady USING (organization_id)
        WHERE hour >= :start AND hour < :end
    ), stretches AS (
        SELECT organization_id, hour,
               lag(hour, 1, CAST(:start AS timestamptz) - interval '1 hour') OVER following AS earlier,
               lead(hour, 1, CAST(:end AS timestamptz)) OVER following AS later
        FROM hours WINDOW following AS (PARTITION BY organization_id ORDER BY hour)
    )
    SELECT organization_id,
           CAST(max(extract(epoch FROM greatest(hour - earlier, later - hour)) / 3600) AS bigint) - 1 AS gap_hours
    FROM stretches GROUP BY organization_id
""")


def before_of_many(organizations: Mapping[int, Organization], month: Month) -> dict[int, Before]:
    """What is known of organizations beside their drafts of a month, by their ids."""
    ids = list(organizations)
    totals = _totals(month, ids)
    meters = _meters(month, ids)
    events = {row.organization_id: row for row in db.session.execute(_EVENTS, _span(month, ids))}
    gaps = _gaps(month, ids)
    unpaid = _unpaid(month, ids)
    payable = _payable(organizations.values())
    found = {}
    for each, organization in organizations.items():
        of_month, is_first = totals.get(each, ({}, True))
        used = events.get(each)
        count, due = unpaid.get(each, (0, 0))
        found[each] = Before(
            total=of_month.get(month.previous),
            is_first=is_first,
            totals=tuple(of_month[back] for back in sorted(of_month, reverse=True)),
            meters=frozenset(meters.get(each, {})),
            meters_last=frozenset(meter for meter, of_last in meters.get(each, {}).items() if of_last),
            events=int(used.events) if used else 0,
            late_events=int(used.late_events) if used else 0,
            gap_hours=gaps.get(each),
            unpaid=count,
            unpaid_due=due,
            is_active=organization.status == "active",
            has_address=bool(organization.address),
            lacks_payment_method=organization.collection_method == "charge_automatically" and each not in payable,
            lacks_tax_id=organization.tax_treatment == TaxTreatment.REVERSE_CHARGE and not organization.tax_id,
        )
    return found


def _span(month: Month, ids: Sequence[int]) -> dict[str, Any]:
    return {"ids": ids, "month": month.first_day, "end": month.next.first_day}


def _totals(month: Month, ids: Sequence[int]) -> dict[int, tuple[dict[Month, int], bool]]:
    """The final totals of the months before, and whether an organization's first invoice is still to come."""
    rows = db.session.execute(
        select(Invoice.organization_id, Invoice.period_start, func.sum(Invoice.total))
        .where(
            among(Invoice.organization_id, ids),
            Invoice.period_start < month.first_day,
            or_(Invoice.state == InvoiceState.FINALIZED, Invoice.state == InvoiceState.SCHEDULED),
        )
        .group_by(Invoice.organization_id, Invoice.period_start)
    )
    found: dict[int, tuple[dict[Month, int], bool]] = {}
    for organization_id, period_start, total in rows:
        of_month, _ = found.setdefault(organization_id, ({}, False))
        if period_start >= month.plus(-MONTHS_BACK).first_day:
            of_month[Month.of(period_start)] = int(total)
    return found


def _meters(month: Month, ids: Sequence[int]) -> dict[int, dict[str, bool]]:
    """The meters billed in the months before, and whether last month was among them."""
    back = {"first": month.plus(-MONTHS_BACK).first_day, "last": month.previous.first_day}
    found: dict[int, dict[str, bool]] = {}
    for row in db.session.execute(_METERS, {"ids": ids, "month": month.first_day, **back}):
        if row.meter is not None:
            found.setdefault(row.organization_id, {})[row.meter] = row.of_last
    return found


def _gaps(month: Month, ids: Sequence[int]) -> dict[int, int]:
    span = {"before": month.previous.start, "start": month.start, "end": midnight(month.next.first_day)}
    rows = db.session.execute(_GAPS, {"ids": ids, "percent": STEADY_PERCENT, **span})
    return {row.organization_id: int(row.gap_hours) for row in rows}


def _unpaid(month: Month, ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """How many invoices were due before the month's end and are not paid, and what is due of them."""
    rows = db.session.execute(
        select(Invoice.organization_id, func.count(), func.sum(Invoice.amount_due))
        .where(
            among(Invoice.organization_id, ids),
            Invoice.period_start < month.first_day,
            Invoice.state == InvoiceState.FINALIZED,
            Invoice.payment_state.in_(_UNPAID),
            Invoice.due_date < month.next.first_day,
        )
        .group_by(Invoice.organization_id)
    )
    return {row[0]: (row[1], int(row[2])) for row in rows}


def _payable(organizations: Iterable[Organization]) -> set[int]:
    """Those charged automatically who have a payment method."""
    automatic = [each.id for each in organizations if each.collection_method == "charge_automatically"]
    if not automatic:
        return set()
    query = select(PaymentMethod.organization_id).where(
        among(PaymentMethod.organization_id, automatic), PaymentMethod.stripe_id.is_not(None)
    )
    return set(db.session.scalars(query))
