"""What groups of a month's costs came to on each of its days, for pictures: lines spread over days by quantity."""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal

from portal.core.exact import ZERO
from portal.core.money import to_major
from portal.invoicing.cost_by import BY_METER, BY_PRODUCT, Costs, Value
from portal.invoicing.cost_lines import Amounts, CostLine, Segment, segments_of, source_of
from portal.usage.dimension_sums import quantities_by_day


def cost_by_day(costs: Costs, *, most: int) -> dict[Value, dict[date, Decimal]]:
    """What usage came to by the day, in major units: of the most costly groups, and of all others under None.

    A group's part of a line is spread by its quantity. A part whose corrections outweigh its usage has no days; nor
    have fees and whatever else no usage caused.
    """
    bill = costs.bill
    lines = {line.usage_version_id: (line, parts) for line, parts in costs.parts if line.usage_version_id is not None}
    named = _most_costly([parts for _, parts in lines.values()], most)
    amounts: dict[tuple[int, Value], int] = {}
    for version_id, (_, parts) in lines.items():
        for value, part in parts.items():
            place = version_id, value if value in named else None
            amounts[place] = amounts.get(place, 0) + part.whole
    keys = {place: key for key, place in enumerate(amounts)}
    spans = [
        (
            keys[each.version_id, value if value in named else None],
            each.series.series_id,
            each.series.segment_start,
            each.last_day,
        )
        for each in costs.segments or segments_of(bill)
        if each.version_id in lines
        for value in [_value_of(each, lines[each.version_id][0], costs.question.by)]
    ]
    rows = quantities_by_day(bill.organization.id, bill.month, spans, source_of(bill))
    wholes: dict[int, Decimal] = {}
    for key, _, quantity in rows:
        wholes[key] = wholes.get(key, ZERO) + quantity
    places = list(amounts)
    days: dict[Value, dict[date, Decimal]] = {}
    for key, day, quantity in rows:
        if wholes[key] > 0:
            of_group = days.setdefault(places[key][1], {})
            amount = to_major(amounts[places[key]], bill.currency)
            of_group[day] = of_group.get(day, ZERO) + amount * quantity / wholes[key]
    return days


def _most_costly(parts: Iterable[Mapping[Value, Amounts]], most: int) -> set[Value]:
    sums: dict[Value, int] = {}
    for of_line in parts:
        for value, part in of_line.items():
            sums[value] = sums.get(value, 0) + part.whole
    return set(sorted(sums, key=lambda value: (-sums[value], value or ""))[:most])


def _value_of(segment: Segment, line: CostLine, by: str) -> Value:
    """The group that a segment belongs to."""
    if by == BY_PRODUCT:
        return line.product
    return line.meter if by == BY_METER else segment.series.dimensions.get(by, "")
