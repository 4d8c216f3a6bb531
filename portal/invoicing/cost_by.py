"""What an invoice comes to per app, region or any other dimension: parts that add up to its total, to the cent.

Tiers stay pooled per organization: a line's amount, with what was taken off it and the tax on it, is split over its
series by their share of its quantity. What has no series (fees, one-off items, what late usage came to) is one part
of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from portal.core.exact import ZERO
from portal.core.money import allocate
from portal.core.periods import Month
from portal.core.statement import TAKEN_OFF_OR_ADDED, Line, Statement
from portal.usage.queries import SeriesQuantity


@dataclass(frozen=True, slots=True)
class Part:
    """The amount of one value of a dimension, in minor units. Usage without the dimension has the value "".

    `value` is None for what no usage caused.
    """

    value: str | None
    amount: int


def cost_by(dimension: str, statement: Statement, used: Sequence[SeriesQuantity], month: Month) -> list[Part]:
    """The parts of a statement by the values of a dimension, largest first; they add up to its total.

    `used` is the usage that the statement was computed from, cut into the same segments.
    """
    amounts: dict[str | None, int] = {}
    for line in statement.lines:
        if line.kind in TAKEN_OFF_OR_ADDED:
            continue
        weights = _weights(dimension, line, used, month)
        # A correction may outweigh what a value used; then it has no part of the line.
        positive = {value: max(weight, ZERO) for value, weight in weights.items()}
        parts = allocate(_whole(line, statement), list(positive.values())) if weights else [_whole(line, statement)]
        for value, part in zip(positive or [None], parts, strict=True):
            amounts[value] = amounts.get(value, 0) + part
    rounding = statement.total - sum(amounts.values())
    if rounding:
        amounts[None] = amounts.get(None, 0) + rounding
    return [Part(value, amounts[value]) for value in sorted(amounts, key=lambda value: (-amounts[value], value or ""))]


def _whole(line: Line, statement: Statement) -> int:
    """What a line comes to after everything that was taken off it, with its tax."""
    tax = 0 if statement.tax_terms.inclusive else line.tax
    return line.amount - line.discount - line.credited + tax


def _weights(dimension: str, line: Line, used: Sequence[SeriesQuantity], month: Month) -> Mapping[str | None, Decimal]:
    """How much of a line's quantity each value used; sorted, so that a leftover cent always goes the same way."""
    series = set(line.series)
    weights: dict[str | None, Decimal] = {}
    for each in used:
        begins = max(each.segment_start, month.first_day)
        if each.series_id in series and line.period_start <= begins <= line.period_end:
            value = each.dimensions.get(dimension, "")
            weights[value] = weights.get(value, ZERO) + each.quantity
    return dict(sorted(weights.items(), key=lambda item: item[0] or ""))
