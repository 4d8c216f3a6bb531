"""From what was reported to the quantity that is priced. No result depends on the order of the reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal, Inexact, localcontext
from enum import StrEnum
from fractions import Fraction

from portal.core.errors import InvalidInput
from portal.core.exact import EXACT, ZERO, exactly
from portal.core.periods import midnight, part_of


class Aggregation(StrEnum):
    """How the readings of a period become one quantity.

    A level is a reading that holds until the next one; its quantity is the level by the time that it held.
    """

    SUM = "sum"
    COUNT = "count"
    MAX = "max"
    LATEST = "latest"
    UNIQUE = "unique"
    LEVEL = "level"

    @property
    def adds_up(self) -> bool:
        """Whether a reading's part in the quantity is the same whatever else was reported."""
        return self in (Aggregation.SUM, Aggregation.COUNT)


# A level's quantity is in units by the hour, by the day, or the mean of a month.
PERIODS_OF_LEVELS = ("hour", "day", "month")


@dataclass(frozen=True, slots=True)
class Counting:
    """How a meter counts. `subject` is the property whose values a unique count counts, `per` a level's period.

    Raises InvalidInput, naming the field.
    """

    aggregation: Aggregation = Aggregation.SUM
    subject: str | None = None
    per: str | None = None

    def __post_init__(self) -> None:
        if (self.aggregation is Aggregation.UNIQUE) != (self.subject is not None):
            raise InvalidInput("A unique count, and no other, has a subject: the property to count.", field="subject")
        if (self.aggregation is Aggregation.LEVEL) != (self.per is not None):
            raise InvalidInput("A level, and nothing else, is counted per hour, day or month.", field="per")
        if self.per is not None and self.per not in PERIODS_OF_LEVELS:
            raise InvalidInput("A level is counted per hour, day or month.", field="per")


@dataclass(frozen=True, slots=True)
class Reading:
    """One reported value; `subject` is what a unique count counts (a user, a machine)."""

    occurred_at: datetime
    value: Decimal
    subject: str = ""


@exactly
def aggregate(how: Aggregation, readings: Sequence[Reading]) -> Decimal:
    """The quantity of a period; zero if nothing was reported. Of two latest readings the larger counts.

    A level needs the period's ends too: `time_weighted`, `level_by_day`.
    """
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
        case Aggregation.LEVEL:
            raise ValueError("a level is weighted by time")


@exactly
def rises(how: Aggregation, readings: Mapping[date, Decimal]) -> dict[date, Decimal]:
    """By how much the quantity of a month rose on each day, from its days' largest (or latest) readings.

    The rises of some first days add up to the largest (or latest) reading until then, so that months can be cut.
    """
    reached, by_day = ZERO, dict[date, Decimal]()
    for day in sorted(readings):
        reading = max(readings[day], reached) if how is Aggregation.MAX else readings[day]
        by_day[day], reached = reading - reached, reading
    return by_day


@exactly
def level_by_day(
    changes: Sequence[tuple[datetime, Decimal]], *, first: date, last: date, level: Decimal
) -> dict[date, Decimal]:
    """A level by the seconds that it held, for each day from `first` to `last`: exact, with up to 6 more decimals.

    `changes` are (moment, level from then on) of these days in their order; `level` is what held before.
    """
    by_day, waiting, day = dict[date, Decimal](), list(changes)[::-1], first
    while day <= last:
        reached, end, held = midnight(day), midnight(day + timedelta(days=1)), ZERO
        while waiting and waiting[-1][0] < end:
            moment, following = waiting.pop()
            held += level * _seconds(moment - reached)
            reached, level = moment, following
        by_day[day] = held + level * _seconds(end - reached)
        day += timedelta(days=1)
    return by_day


def _seconds(passed: timedelta) -> Decimal:
    return Decimal(passed // timedelta(microseconds=1)).scaleb(-6)


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
