"""What a month has cost of what a budget is of, and what it cost by the day."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal

from sqlalchemy import text

from portal.budgets.keeping import Watched
from portal.core.exact import ZERO
from portal.core.money import to_major
from portal.core.periods import Month
from portal.infra.db import db
from portal.invoicing.cost_by import BY_PRODUCT, Costs, costs_of
from portal.invoicing.cost_days import cost_by_day
from portal.organizations.models import Organization

MOST_CHOICES = 200
# Spread over days as pictures are: of so many groups each has days of its own.
_ALL_GROUPS = 1_000_000
_WATCHABLE = text("""
    SELECT known.by, known.value
    FROM usage_series
    JOIN meters ON meters.id = usage_series.meter_id
    CROSS JOIN LATERAL (
        SELECT 'meter' AS by, meters.code AS value
        UNION ALL
        SELECT key, value FROM jsonb_each_text(usage_series.dimensions)
    ) AS known
    WHERE usage_series.organization_id = :organization_id
    GROUP BY known.by, known.value
    ORDER BY known.by <> 'meter', known.by, known.value
    LIMIT :most
""")


def watchable(organization_id: int) -> list[Watched]:
    """Everything, and every meter and value of a dimension that has been used: up to 200 of them."""
    rows = db.session.execute(_WATCHABLE, {"organization_id": organization_id, "most": MOST_CHOICES})
    return [Watched(), *(Watched(row.by, row.value) for row in rows if row.value)]


def spent_in(organization: Organization, month: Month, watched: Iterable[Watched]) -> dict[Watched, int]:
    """What the month comes to, live or as it was billed, of each; with tax, in minor units."""
    asked: dict[str, Costs] = {}
    spent = {}
    for each in watched:
        by = each.by or BY_PRODUCT
        if by not in asked:
            asked[by] = costs_of(organization, month, by=by)
        costs = asked[by]
        spent[each] = costs.bill.total.whole if each.by is None else _of_value(costs, each.value)
    return spent


def _of_value(costs: Costs, value: str | None) -> int:
    return sum(group.amounts.whole for group in costs.groups if group.value == value)


def passed_on(
    organization: Organization, month: Month, watched: Watched, *, amount: int, thresholds: Sequence[int]
) -> dict[int, date]:
    """On which day of a month each threshold of such a budget would have been passed; those that were not are left out.

    Usage counts on its days, at the average price of the month; everything else counts from the first day.
    """
    costs = costs_of(organization, month, by=watched.by or BY_PRODUCT)
    by_value = cost_by_day(costs, most=_ALL_GROUPS)
    wanted = by_value.values() if watched.by is None else [by_value.get(watched.value, {})]
    of_day = {day: sum((days[day] for days in wanted if day in days), ZERO) for day in month.days()}
    whole = costs.bill.total.whole if watched.by is None else _of_value(costs, watched.value)
    from_the_first = to_major(whole, organization.currency) - sum(of_day.values(), ZERO)
    return _first_days(of_day, from_the_first, to_major(amount, organization.currency), thresholds)


def _first_days(
    of_day: Mapping[date, Decimal], from_the_first: Decimal, amount: Decimal, thresholds: Sequence[int]
) -> dict[int, date]:
    passed: dict[int, date] = {}
    reached = from_the_first
    for day, cost in sorted(of_day.items()):
        reached += cost
        for threshold in thresholds:
            if threshold not in passed and reached * 100 >= amount * threshold:
                passed[threshold] = day
    return passed
