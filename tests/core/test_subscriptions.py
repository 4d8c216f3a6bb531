"""Periods that do not drift, and parts of a fee that add back to the whole."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.subscriptions import (
    Change,
    Fee,
    Interval,
    Period,
    Schedule,
    change_of,
    schedule_after_trial,
    split_fee,
)

D = Decimal
FEES = st.builds(Fee, st.decimals(0, 1000, places=4), st.integers(1, 50))


def utc(year: int, month: int, day: int, hour: int = 0) -> datetime:
    return datetime(year, month, day, hour, tzinfo=UTC)


MOMENTS = st.timedeltas(timedelta(0), timedelta(days=50 * 365)).map(lambda passed: utc(1999, 1, 1) + passed)
OCTOBER = Period(utc(2026, 10, 1), utc(2026, 11, 1))


def days_of(schedule: Schedule, count: int) -> list[str]:
    return [schedule.boundary(index).date().isoformat() for index in range(count)]


@pytest.mark.parametrize(
    ("anchor", "interval", "starts"),
    [
        (utc(2026, 1, 31), Interval.MONTH, ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]),
        (utc(2027, 11, 30), Interval.MONTH, ["2027-11-30", "2027-12-30", "2028-01-30", "2028-02-29", "2028-03-30"]),
        (utc(2024, 2, 29), Interval.YEAR, ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]),
    ],
)
def test_a_day_that_a_short_month_does_not_have_comes_back_after_it(anchor, interval, starts):
    assert days_of(Schedule(anchor, interval), 5) == starts


@given(MOMENTS, MOMENTS, st.sampled_from(Interval))
def test_every_moment_lies_in_exactly_one_period_and_the_periods_join(anchor, moment, interval):
    schedule = Schedule(anchor, interval)
    period = schedule.period_at(moment)
    assert period.start <= moment < period.end
    assert schedule.period_at(period.end).start == period.end
    assert schedule.period_at(period.start) == period
    assert schedule.period_at(period.end - timedelta(microseconds=1)) == period


@given(MOMENTS, MOMENTS, st.timedeltas(timedelta(0), timedelta(days=400)), st.timedeltas(timedelta(0), timedelta(400)))
def test_however_a_time_is_split_its_shares_add_back(anchor, start, first, second):
    schedule = Schedule(anchor, Interval.MONTH)
    middle, end = start + first, start + first + second
    parts = schedule.shares_between(start, middle) + schedule.shares_between(middle, end)
    assert sum(parts) == sum(schedule.shares_between(start, end))


def test_a_leading_stub_belongs_to_the_period_before_the_anchor():
    schedule = Schedule(utc(2011, 1, 15), Interval.MONTH)
    shares = schedule.shares_between(utc(2011, 1, 1), utc(2011, 2, 27))
    assert shares == [Fraction(14, 31), 1, Fraction(12, 28)]


def test_a_trial_moves_the_first_fee_and_every_later_one_to_its_end():
    schedule = schedule_after_trial(utc(2026, 1, 17, 9), Interval.MONTH, trial_days=14)
    assert days_of(schedule, 3) == ["2026-01-31", "2026-02-28", "2026-03-31"]
    assert schedule.anchor.hour == 9


@pytest.mark.parametrize(
    ("at", "old", "new", "change"),
    [
        # Half of October is left: 16 days less 12 hours of 31.
        (utc(2026, 10, 16, 12), Fee(D(100)), Fee(D(200)), Change(-5000, 10000)),
        (utc(2026, 10, 15), Fee(D(50), 2), Fee(D(30)), Change(-5484, 1645)),  # 17 of 31 days
        (utc(2026, 10, 15), None, Fee(D(25)), Change(0, 1371)),
        (utc(2026, 10, 15), Fee(D(40)), None, Change(-2194, 0)),  # cancelled at once
        (utc(2026, 10, 1), Fee(D(40)), Fee(D(10), 3), Change(-4000, 3000)),
        (utc(2026, 11, 1), Fee(D(40)), None, Change(0, 0)),  # cancelled at the period's end
    ],
)
def test_a_change_is_a_credit_line_and_a_charge_line_for_the_time_that_is_left(at, old, new, change):
    assert change_of(OCTOBER, at, old=old, new=new, currency="USD") == change
    assert change.net == change.credit + change.charge


@given(FEES, st.timedeltas(timedelta(0), timedelta(31)))
def test_changing_to_the_same_fee_costs_nothing(fee, passed):
    assert change_of(OCTOBER, OCTOBER.start + passed, old=fee, new=fee, currency="USD").net == 0


@given(st.integers(0, 10**8), st.lists(st.timedeltas(timedelta(0), timedelta(31)), max_size=5).map(sorted))
def test_the_parts_of_a_fee_add_back_to_the_whole(amount, passed):
    parts = split_fee(amount, OCTOBER, [OCTOBER.start + each for each in passed])
    assert sum(parts) == amount
    assert all(part >= 0 for part in parts)


def test_a_second_counts():
    second = timedelta(seconds=1)
    assert OCTOBER.share(OCTOBER.end - second, OCTOBER.end) == Fraction(1, 31 * 86_400)
    assert split_fee(31 * 86_400, OCTOBER, [OCTOBER.start + second]) == [1, 31 * 86_400 - 1]
