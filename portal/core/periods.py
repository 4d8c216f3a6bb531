"""Half-open UTC periods [start, end) and calendar months."""

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from functools import lru_cache

from portal.core.errors import InvalidInput
from portal.core.saying import Said


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month in UTC: the period of a monthly invoice."""

    year: int
    month: int

    @classmethod
    def of(cls, moment: datetime | date) -> "Month":
        """The month that holds an aware moment or a day."""
        if isinstance(moment, datetime):
            moment = moment.astimezone(UTC)
        return cls(moment.year, moment.month)

    @classmethod
    def parse(cls, text: str) -> "Month":
        """Read "2026-10". Raises InvalidInput for anything else."""
        try:
            day = date.fromisoformat(f"{text}-01")
        except ValueError:
            raise InvalidInput(
                Said("“%(text)s” is not a month; write it like 2026-10.", text=text), field="month"
            ) from None
        return cls(day.year, day.month)

    @property
    def first_day(self) -> date:
        """The month's first day."""
        return date(self.year, self.month, 1)

    @property
    def last_day(self) -> date:
        """The month's last day (inclusive, as people write periods)."""
        return _last_day(self.year, self.month)

    @property
    def start(self) -> datetime:
        """The first instant of the month."""
        return midnight(self.first_day)

    @property
    def end(self) -> datetime:
        """The first instant after the month."""
        return midnight(self.next.first_day)

    @property
    def next(self) -> "Month":
        """The month after."""
        return self.plus(1)

    @property
    def previous(self) -> "Month":
        """The month before."""
        return self.plus(-1)

    def plus(self, months: int) -> "Month":
        """The month so many months later (or earlier)."""
        index = self.year * 12 + self.month - 1 + months
        return Month(index // 12, index % 12 + 1)

    def days(self) -> list[date]:
        """All days of the month, in order."""
        count = (self.next.first_day - self.first_day).days
        return [self.first_day + timedelta(days=offset) for offset in range(count)]

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"


@lru_cache(maxsize=1_000)
def _last_day(year: int, month: int) -> date:
    # Every line of an invoice asks for it.
    return date(year, month, monthrange(year, month)[1])


def midnight(day: date) -> datetime:
    """00:00 UTC of a day."""
    return datetime.combine(day, time(0), tzinfo=UTC)


def part_of(inner_start: datetime, inner_end: datetime, start: datetime, end: datetime) -> Fraction:
    """Which exact share of [start, end) the overlap with [inner_start, inner_end) covers, by the microsecond."""
    overlap = min(inner_end, end) - max(inner_start, start)
    if overlap <= timedelta(0):
        return Fraction(0)
    microsecond = timedelta(microseconds=1)
    return Fraction(overlap // microsecond, (end - start) // microsecond)
