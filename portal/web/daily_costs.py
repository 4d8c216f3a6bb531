"""What usage cost on each day, for pictures: every line spread over its days by quantity, at its average price."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from portal.core.money import to_major
from portal.core.periods import Month
from portal.core.statement import Line, LineKind
from portal.usage.queries import usage_by_group_and_day


def daily_costs(
    organization_id: int, month: Month, lines: Sequence[Line], currency: str
) -> dict[str, dict[date, Decimal]]:
    """By what usage lines are called, the cost of each day in the currency's major unit; empty if nothing was used."""
    usage = [line for line in lines if line.kind is LineKind.USAGE and line.quantity > 0]
    spans = [
        (index, series, line.period_start, line.period_end)
        for index, line in enumerate(usage)
        for series in line.series
    ]
    costs: dict[str, dict[date, Decimal]] = {}
    for index, day, quantity in usage_by_group_and_day(organization_id, month, spans) if spans else ():
        line = usage[index]
        of_day = costs.setdefault(line.description, {})
        of_day[day] = of_day.get(day, Decimal(0)) + to_major(line.amount, currency) * quantity / line.quantity
    return costs
