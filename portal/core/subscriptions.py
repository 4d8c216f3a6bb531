"""The periods of a subscription, and what a part of one costs.

Periods are half-open and anchored: every one is counted from the anchor itself, so that a day which a short month
does not have is only clamped there and comes back after it (31 Jan → 28 Feb → 31 Mar). Fees are charged in advance;
a part of a period costs its exact share, by the second, of the fee.
"""

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from portal.core.money import allocate, round_fraction
from portal.core.periods import part_of

_MICROSECOND = timedelta(microseconds=1)


class Interval(StrEnum):
    """How long a period is."""

    MONTH = "month"
    YEAR = "year"

    @property
    def months(self) -> int:
        """Its length in calendar months."""
        return 12 if self is Interval.YEAR else 1


@dataclass(frozen=True, slots=True)
class Period:
    """The half-open time [start, end) that one fee pays for."""

    start: datetime
    end: datetime

    def share(self, start: datetime, end: datetime) -> Fraction:
        """The exact part of this period that lies within [start, end)."""
        return part_of(start, end, self.start, self.end)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The endless row of periods of a subscription: `anchor` is an aware UTC moment at which one of them starts."""

    anchor: datetime
    interval: Interval

    def boundary(self, index: int) -> datetime:
        """The start of the period with this index; the anchor's is 0, and those before it are negative."""
        months = self.anchor.year * 12 + self.anchor.month - 1 + index * self.interval.months
        year, month = divmod(months, 12)
        day = min(self.anchor.day, monthrange(year, month + 1)[1])
        return self.anchor.replace(year=year, month=month + 1, day=day)

    def period_at(self, moment: datetime) -> Period:
        """The period that holds an aware moment."""
        moment = moment.astimezone(UTC)
        months = (moment.year - self.anchor.year) * 12 + moment.month - self.anchor.month
        index = months // self.interval.months
        if self.boundary(index) > moment:
            index -= 1
        return Period(self.boundary(index), self.boundary(index + 1))

    def periods_between(self, start: datetime, end: datetime) -> list[Period]:
        """All periods that share some time with [start, end), in order."""
        periods: list[Period] = []
        moment = start
        while moment < end:
            periods.append(self.period_at(moment))
            moment = periods[-1].end
        return periods

    def shares_between(self, start: datetime, end: datetime) -> list[Fraction]:
        """How much of each of those periods lies within [start, end): a leading stub, whole ones, a trailing stub."""
        return [period.share(start, end) for period in self.periods_between(start, end)]


def schedule_after_trial(start: datetime, interval: Interval, *, trial_days: int = 0) -> Schedule:
    """The periods that are paid for: a trial moves the anchor to its own end, so that the first fee is a whole one.

    Source: Stripe, "Setting the subscription billing cycle date": the anchor is by default the trial end date.
    """
    assert trial_days >= 0, trial_days
    return Schedule(start + timedelta(days=trial_days), interval)


@dataclass(frozen=True, slots=True)
class Fee:
    """What a whole period costs: so many seats at this amount, in the major unit."""

    unit_amount: Decimal
    quantity: int = 1

    @property
    def amount(self) -> Fraction:
        """The exact fee of a whole period."""
        return Fraction(self.unit_amount) * self.quantity


@dataclass(frozen=True, slots=True)
class Change:
    """The two lines of a change within a paid period, in minor units: `credit` is zero or negative."""

    credit: int
    charge: int

    @property
    def net(self) -> int:
        """What the change costs (or gives back)."""
        return self.credit + self.charge


def change_of(period: Period, at: datetime, *, old: Fee | None, new: Fee | None, currency: str) -> Change:
    """Give back the unused part of the old fee and charge the same part of the new one; each line is rounded once.

    Without an old fee something is added; without a new one it is cancelled at once. A change at the period's end is
    worth nothing, so a cancellation at period end needs no lines.
    """
    share = period.share(at, period.end)
    return Change(
        credit=-round_fraction(old.amount * share, currency) if old else 0,
        charge=round_fraction(new.amount * share, currency) if new else 0,
    )


def split_fee(amount: int, period: Period, cuts: Sequence[datetime]) -> list[int]:
    """A period's fee in minor units, split at the cuts by time; the parts always add up to it.

    The cuts lie within the period, in order. One cut gives what was used and what was not.
    """
    moments = [period.start, *cuts, period.end]
    assert moments == sorted(moments), moments
    lengths = [(end - start) // _MICROSECOND for start, end in zip(moments, moments[1:], strict=False)]
    return allocate(amount, lengths)
