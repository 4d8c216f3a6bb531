"""Periods that do not drift, and parts of a fee that add back to the whole."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.subscriptions import (
    Change,
    Contract,
    Fee,
    FeePart,
    Interval,
    Period,
    Phase,
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


def test_without_a_trial_the_first_period_starts_at_once():
    assert schedule_after_trial(utc(2026, 1, 31), MONTH).anchor == utc(2026, 1, 31)
    with pytest.raises(AssertionError):
        schedule_after_trial(utc(2026, 1, 31), MONTH, trial_days=-1)


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


MONTH, YEAR = Interval.MONTH, Interval.YEAR
ALWAYS = (utc(1990, 1, 1), utc(2100, 1, 1))


def contract(*phases: tuple, anchor=None, trial_ends_at=None, ended_at=None) -> Contract:
    """Phases are (start, plan), with a quantity and an interval if they are not one and a month."""
    made = tuple(Phase(*phase, *(1, MONTH)[len(phase) - 2 :]) for phase in phases)
    return Contract(made, anchor or trial_ends_at or made[0].start, trial_ends_at, ended_at)


def told(parts: list[FeePart]) -> list[tuple]:
    """Each part as its plan, its day, and which share of a period is charged (or, below zero, given back)."""
    return [(part.phase.plan, f"{part.start:%m-%d}", -part.share if part.given_back else part.share) for part in parts]


def in_months(agreed: Contract, *months: int) -> list[list[tuple]]:
    """What the invoices of these months of 2026 hold."""
    return [told(agreed.fee_parts(utc(2026, month, 1), utc(2026, month + 1, 1))) for month in months]


def test_a_period_is_charged_when_it_starts_also_in_the_middle_of_a_month():
    agreed = contract((utc(2026, 1, 15), 1))
    assert in_months(agreed, 1, 2, 3) == [[(1, "01-15", 1)], [(1, "02-15", 1)], [(1, "03-15", 1)]]


def test_aligned_to_the_month_the_first_fee_is_for_the_rest_of_it():
    agreed = contract((utc(2026, 1, 11), 1), anchor=utc(2026, 1, 1))
    assert in_months(agreed, 1, 2) == [[(1, "01-11", Fraction(21, 31))], [(1, "02-01", 1)]]


def test_an_upgrade_in_mid_period_gives_back_the_rest_of_the_old_fee_and_charges_that_of_the_new():
    agreed = contract((utc(2026, 1, 1), 1), (utc(2026, 1, 11), 2))
    rest = Fraction(21, 31)
    assert in_months(agreed, 1, 2) == [
        [(1, "01-01", 1), (1, "01-11", -rest), (2, "01-11", rest)],
        [(2, "02-01", 1)],
    ]
    given_back = agreed.fee_parts(*ALWAYS)[1]
    assert (given_back.charged_at, given_back.share_charged) == (utc(2026, 1, 1), 1)


def test_seats_that_change_are_a_phase_of_their_own_on_the_same_plan():
    agreed = contract((utc(2026, 1, 1), 1, 5), (utc(2026, 1, 11), 1, 8))
    parts = agreed.fee_parts(utc(2026, 1, 1), utc(2026, 2, 1))
    assert [(part.phase.quantity, part.given_back) for part in parts] == [(5, False), (5, True), (8, False)]


def test_a_downgrade_at_the_period_end_gives_nothing_back():
    agreed = contract((utc(2026, 1, 15), 2), (utc(2026, 2, 15), 1))
    assert in_months(agreed, 1, 2, 3) == [[(2, "01-15", 1)], [(1, "02-15", 1)], [(1, "03-15", 1)]]


def test_three_changes_in_one_day_leave_what_each_was_used_for():
    hours = [utc(2026, 10, 31, hour) for hour in (6, 12, 18)]
    agreed = contract((utc(2026, 10, 1), 1), *zip(hours, (2, 3, 1), strict=True))
    parts = agreed.fee_parts(OCTOBER.start, OCTOBER.end)
    net: dict[int, Fraction] = {}
    for part in parts:
        net[part.phase.plan] = net.get(part.phase.plan, Fraction(0)) + (-part.share if part.given_back else part.share)
    # A quarter of the last of 31 days each on plan 2 and plan 3, all else on plan 1.
    assert net == {1: 1 - Fraction(2, 4 * 31), 2: Fraction(1, 4 * 31), 3: Fraction(1, 4 * 31)}
    assert sum(net.values()) == 1


def test_cancelled_at_once_the_rest_is_given_back_and_at_the_period_end_nothing_is():
    at_once = contract((utc(2026, 1, 1), 1), ended_at=utc(2026, 1, 11))
    assert in_months(at_once, 1, 2) == [[(1, "01-01", 1), (1, "01-11", -Fraction(21, 31))], []]
    at_period_end = contract((utc(2026, 1, 15), 1), ended_at=utc(2026, 2, 15))
    assert in_months(at_period_end, 1, 2, 3) == [[(1, "01-15", 1)], [], []]


def test_cancelled_at_a_months_first_instant_the_rest_is_given_back_once_and_in_that_month():
    agreed = contract((utc(2026, 1, 15), 1), ended_at=utc(2026, 2, 1))
    assert in_months(agreed, 1, 2) == [[(1, "01-15", 1)], [(1, "02-01", -Fraction(14, 31))]]
    at_its_own_start = contract((utc(2026, 1, 1), 1), ended_at=utc(2026, 2, 1))
    assert in_months(at_its_own_start, 1, 2) == [[(1, "01-01", 1)], []]


def test_cancelled_in_its_trial_a_subscription_costs_nothing():
    for end in (utc(2026, 1, 5), utc(2026, 1, 15)):
        assert contract((utc(2026, 1, 1), 1), trial_ends_at=utc(2026, 1, 15), ended_at=end).fee_parts(*ALWAYS) == []


def test_a_trial_that_ends_inside_a_month_is_followed_by_a_whole_period_or_aligned_by_the_rest_of_the_month():
    start, trial_end = utc(2026, 1, 1), utc(2026, 1, 15)
    assert in_months(contract((start, 1), trial_ends_at=trial_end), 1, 2) == [[(1, "01-15", 1)], [(1, "02-15", 1)]]
    aligned = contract((start, 1), trial_ends_at=trial_end, anchor=start)
    assert in_months(aligned, 1, 2) == [[(1, "01-15", Fraction(17, 31))], [(1, "02-01", 1)]]


def test_a_change_in_the_trial_costs_nothing_and_the_new_plan_is_charged_from_its_end():
    agreed = contract((utc(2026, 1, 1), 1), (utc(2026, 1, 5), 2, 1, YEAR), trial_ends_at=utc(2026, 1, 15))
    [part] = agreed.fee_parts(utc(2026, 1, 1), utc(2027, 1, 1))
    assert (part.phase.plan, part.period) == (2, Period(utc(2026, 1, 15), utc(2027, 1, 15)))


def test_from_month_to_year_and_back_each_begins_a_row_of_periods_of_its_own():
    agreed = contract(
        (utc(2026, 1, 10), 1), (utc(2026, 1, 20), 2, 1, YEAR), (utc(2026, 2, 19), 2, 3, YEAR), (utc(2026, 6, 5), 1)
    )
    parts = agreed.fee_parts(utc(2026, 1, 1), utc(2026, 8, 1))
    year = Period(utc(2026, 1, 20), utc(2027, 1, 20))
    assert told(parts) == [
        (1, "01-10", 1),
        (1, "01-20", -Fraction(21, 31)),
        (2, "01-20", 1),
        (2, "02-19", -Fraction(335, 365)),
        (2, "02-19", Fraction(335, 365)),
        (2, "06-05", -Fraction(229, 365)),
        (1, "06-05", 1),
        (1, "07-05", 1),
    ]
    assert [part.period for part in parts[2:6]] == [year] * 4


def test_anchored_on_the_31st_there_are_48_fees_in_48_months():
    agreed = contract((utc(2026, 1, 31), 1))
    parts = [part for index in range(48) for part in agreed.fee_parts(*month_of(index))]
    assert len(parts) == 48
    assert all(part.share == 1 for part in parts)
    assert [part.start.day for part in parts[:14]] == [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 28]
    assert parts[25].start == utc(2028, 2, 29)


def month_of(index: int) -> tuple[datetime, datetime]:
    return tuple(utc(2026 + each // 12, each % 12 + 1, 1) for each in (index, index + 1))


def test_a_yearly_fee_from_a_leap_day_comes_back_to_it():
    agreed = contract((utc(2024, 2, 29), 1, 1, YEAR))
    starts = [part.start for part in agreed.fee_parts(utc(2024, 1, 1), utc(2029, 1, 1))]
    assert starts == [
        utc(2024, 2, 29),
        utc(2025, 2, 28),
        utc(2026, 2, 28),
        utc(2027, 2, 28),
        utc(2028, 2, 29),
    ]


def test_what_changed_before_or_after_the_end_or_for_no_time_costs_nothing():
    agreed = contract((utc(2026, 1, 1), 1), (utc(2026, 1, 1), 2), (utc(2026, 2, 1), 3), ended_at=utc(2026, 2, 1))
    assert told(agreed.fee_parts(*ALWAYS)) == [(2, "01-01", 1)]
    assert agreed.phase_at(utc(2026, 1, 1)).plan == 2
    assert agreed.phase_at(utc(2025, 12, 31)) is None
    assert agreed.phase_at(utc(2026, 2, 1)) is None


def test_a_phase_has_no_time_before_the_one_that_replaces_it_at_once():
    replaced = contract((utc(2026, 1, 1), 1), (utc(2026, 1, 1), 2))
    assert [(phase.plan, end) for phase, end in replaced.spans()] == [(2, None)]
    ended_at_once = contract((utc(2026, 1, 1), 1), ended_at=utc(2026, 1, 1))
    assert list(ended_at_once.spans()) == []


def test_a_plan_that_ends_with_its_trial_in_mid_period_gives_nothing_back():
    agreed = contract(
        (utc(2026, 1, 1), 1), (utc(2026, 1, 15), 2), anchor=utc(2026, 1, 1), trial_ends_at=utc(2026, 1, 15)
    )
    assert in_months(agreed, 1) == [[(2, "01-15", Fraction(17, 31))]]


def test_the_zone_of_the_machine_does_not_matter(machine_in):
    machine_in("America/Los_Angeles")
    november = Schedule(utc(2026, 1, 1), MONTH).period_at(utc(2026, 11, 1, 3))
    assert (november.start, november.end) == (utc(2026, 11, 1), utc(2026, 12, 1))


def test_the_current_period_ends_with_the_trial_or_where_the_next_fee_is_charged():
    agreed = contract((utc(2026, 1, 1), 1), trial_ends_at=utc(2026, 3, 15), ended_at=utc(2026, 8, 1))
    ends = [agreed.period_end_after(utc(*day)) for day in ((2025, 6, 1), (2026, 1, 20), (2026, 3, 15), (2026, 8, 1))]
    assert ends == [utc(2026, 3, 15), utc(2026, 3, 15), utc(2026, 4, 15), None]


START = utc(2026, 1, 31, 9)
# Days are as likely as any moment, so that changes fall on the ends of periods, months and trials.
TIMES = st.one_of(
    st.integers(0, 1000).map(lambda days: START + timedelta(days=days)),
    st.integers(0, 33).map(lambda index: month_of(index)[0]).filter(lambda moment: moment >= START),
    st.integers(0, 33).map(Schedule(START, MONTH).boundary),
    st.timedeltas(timedelta(0), timedelta(1000)).map(lambda passed: START + passed),
)


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    moments = [START, *draw(st.lists(TIMES, max_size=6, unique=True).map(sorted))]
    phases = tuple(
        Phase(moment, draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.sampled_from(Interval)))
        for moment in moments
    )
    paid_from = START + timedelta(days=draw(st.sampled_from([0, 0, 1, 14, 45])))
    anchor = draw(st.sampled_from([paid_from, paid_from.replace(day=1, hour=0)]))
    ended_at = draw(st.one_of(st.none(), TIMES.filter(lambda moment: moment > START)))
    return Contract(phases, anchor, None if paid_from == START else paid_from, ended_at)


@given(contracts(), st.lists(TIMES, max_size=12))
def test_however_time_is_cut_into_windows_each_part_appears_exactly_once(agreed, cuts):
    windows = pairwise([ALWAYS[0], *sorted(cuts), utc(2032, 1, 1)])
    parts = [part for start, end in windows for part in agreed.fee_parts(start, end)]
    assert parts == agreed.fee_parts(ALWAYS[0], utc(2032, 1, 1))
    assert len(set(parts)) == len(parts)


@given(contracts())
def test_of_every_charged_period_a_phase_pays_exactly_the_time_that_it_had(agreed):
    latest = utc(2032, 1, 1)
    net: dict[tuple[Phase, Period], Fraction] = {}
    for part in agreed.fee_parts(ALWAYS[0], latest):
        assert 0 < part.share <= part.share_charged <= 1
        place = (part.phase, part.period)
        net[place] = net.get(place, Fraction(0)) + (-part.share if part.given_back else part.share)
    for phase, end in agreed.spans():
        paid_from = max(phase.start, agreed.trial_ends_at or phase.start)
        charged = {period: share for (each, period), share in net.items() if each == phase}
        for period, share in charged.items():
            used_until = period.end if end is None else min(end, period.end)
            assert share == period.share(paid_from, used_until)
        # And no time is left out: the periods that were charged join, from the first moment to the last.
        periods = sorted(charged, key=lambda period: period.start)
        assert all(before.end == after.start for before, after in pairwise(periods))
        if end is None or end > paid_from:
            assert periods[0].start <= paid_from < periods[0].end
            assert periods[-1].end >= (end or latest)


@given(contracts())
def test_when_a_fee_is_charged_the_current_period_is_the_one_that_it_pays_for(agreed):
    for part in agreed.fee_parts(ALWAYS[0], utc(2032, 1, 1)):
        if not part.given_back:
            assert agreed.period_end_after(part.start) == part.period.end
