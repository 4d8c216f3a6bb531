"""From what was reported to the quantity that is priced. No result depends on the order of the reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal, Inexact, localcontext
from enum import StrEnum
from fractions import Fraction

from portal.core.exact import EXACT, ZERO, exactly
from portal.core.periods import part_of


class Aggregation(StrEnum):
    """How the readings of a period become one quantity."""

    SUM = "sum"
    COUNT = "count"
    MAX = "max"
    LATEST = "latest"
    UNIQUE = "unique"


@dataclass(frozen=True, slots=True)
class Reading:
    """One reported value; `subject` is what a unique count counts (a user, a machine)."""

    occurred_at: datetime
    value: Decimal
    subject: str = ""


@exactly
def aggregate(how: Aggregation, readings: Sequence[Reading]) -> Decimal:
    """The quantity of a period; zero if nothing was reported. Of two latest readings the larger counts."""
    if not readings:
        return ZERO
    match how:
        case Aggregation.SUM:
            return sum((reading.value for reading in readings), ZERO)
        case Aggregation.COUNT:
            return Decimal(len(readings))
        case Aggregation.MAX:
            return max(reading.value for reading in readings)
        case Aggregation.LATEST:
            return max((reading.occurred_at, reading.value) for reading in readings)[1]
        case Aggregation.UNIQUE:
            return Decimal(len({reading.subject for reading in readings}))


def time_weighted(
    changes: Sequence[tuple[datetime, Decimal]], *, start: datetime, end: datetime, level: Decimal = ZERO
) -> Fraction:
    """The mean level over [start, end), by the microsecond, of something that was at `level` before.

    A change is a moment and by how much the level rose there (negative where it fell): it counts for the part of the
    period that was left. Three machines for half of a month are 1.5 machine-months.
    """
    parts = (Fraction(change) * part_of(moment, end, start, end) for moment, change in changes)
    return Fraction(level) + sum(parts, Fraction(0))


class QuantityRounding(StrEnum):
    """Which way a quantity is rounded."""

    NEAREST = "nearest"
    UP = "up"
    DOWN = "down"


_ROUNDING = {
    QuantityRounding.NEAREST: ROUND_HALF_UP,
    QuantityRounding.UP: ROUND_CEILING,
    QuantityRounding.DOWN: ROUND_FLOOR,
}


def round_quantity(quantity: Decimal, how: QuantityRounding, decimals: int = 0) -> Decimal:
    """Round a quantity once, after it was aggregated and before it is priced; -2 decimals are whole hundreds."""
    with localcontext(EXACT) as context:
        context.traps[Inexact] = False
        return quantity.scaleb(decimals).quantize(Decimal(1), rounding=_ROUNDING[how]).scaleb(-decimals)
