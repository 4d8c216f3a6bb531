"""The periods of a subscription, and what a part of one costs.

Periods are half-open and anchored: every one is counted from the anchor itself, so that a day which a short month
does not have is only clamped there and comes back after it (31 Jan → 28 Feb → 31 Mar). Fees are charged in advance;
a part of a period costs its exact share, by the second, of the fee.
"""

from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise, zip_longest

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
class Phase:
    """What a subscription is from a moment on: a plan (by its id) at its interval, and how many of it."""

    start: datetime
    plan: int
    quantity: int
    interval: Interval


@dataclass(frozen=True, slots=True)
class Contract:
    """A subscription as it was agreed: its phases in their order, from when its periods are counted, and its end.

    Nothing is charged before `trial_ends_at`. A phase of another interval starts a row of periods of its own.
    """

    phases: tuple[Phase, ...]
    anchor: datetime
    trial_ends_at: datetime | None = None
    ended_at: datetime | None = None

    def spans(self) -> Iterator[tuple[Phase, datetime | None]]:
        """Each phase with its end, in order; those that had no time are left out."""
        next_starts = [phase.start for phase in self.phases[1:]]
        for phase, next_start in zip_longest(self.phases, next_starts):
            end = min((each for each in (next_start, self.ended_at) if each is not None), default=None)
            if end is None or end > phase.start:
                yield phase, end

    def phase_at(self, moment: datetime) -> Phase | None:
        """What it is at a moment; None before its start and after its end."""
        for phase, end in self.spans():
            if phase.start <= moment and (end is None or moment < end):
                return phase
        return None

    def schedule_of(self, phase: Phase) -> Schedule:
        """The periods of a phase: the contract's own, or those that began when the interval last changed."""
        anchor = self.anchor
        for before, each in pairwise(self.phases):
            if each.start <= phase.start and each.interval is not before.interval:
                anchor = max(each.start, self.trial_ends_at or each.start)
        return Schedule(anchor, phase.interval)

    def period_end_after(self, moment: datetime) -> datetime | None:
        """When the time that is paid for at a moment is over: the trial, or the period; None once it has ended.

        Before the start it is the first one's end.
        """
        moment = max(moment, self.phases[0].start)
        phase = self.phase_at(moment)
        if phase is None:
            return None
        if self.trial_ends_at is not None and moment < self.trial_ends_at:
            return self.trial_ends_at
        return self.schedule_of(phase).period_at(moment).end

    def fee_parts(self, start: datetime, end: datetime) -> list["FeePart"]:
        """What is charged and given back within [start, end), in the order of time.

        In advance: a period is charged when it starts (or the phase does, or the trial ends, within it), for the part
        that is left of it; what a phase leaves of a period that it has paid for is given back when it ends.
        """
        parts: list[FeePart] = []
        for phase, phase_end in self.spans():
            paid_from = max(phase.start, self.trial_ends_at or phase.start)
            schedule = self.schedule_of(phase)
            until = end if phase_end is None else min(end, phase_end)
            for period in schedule.periods_between(max(start, paid_from), until):
                since = max(period.start, paid_from)
                if since >= start:
                    parts.append(FeePart(phase, period, since, since))
            if phase_end is not None and start <= phase_end < end and paid_from < phase_end:
                period = schedule.period_at(phase_end)
                if period.start < phase_end:
                    since = max(period.start, paid_from)
                    parts.append(FeePart(phase, period, phase_end, since, given_back=True))
        return sorted(parts, key=lambda part: (part.start, not part.given_back))


@dataclass(frozen=True, slots=True)
class FeePart:
    """One fee line: a phase's fee for [start, the period's end), charged or given back; `charged_at` is when it was.

    Its price is the one that held when it was charged.
    """

    phase: Phase
    period: Period
    start: datetime
    charged_at: datetime
    given_back: bool = False

    @property
    def share(self) -> Fraction:
        """Which part of the whole period's fee this is."""
        return self.period.share(self.start, self.period.end)

    @property
    def share_charged(self) -> Fraction:
        """Which part was charged; of this, what is given back is a part."""
        return self.period.share(self.charged_at, self.period.end)


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
