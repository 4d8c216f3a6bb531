"""Periods are half-open and in UTC."""

from datetime import UTC, date, datetime, timedelta, timezone
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.errors import InvalidInput
from portal.core.periods import Month, midnight, part_of

MONTHS = st.builds(Month, st.integers(1900, 2200), st.integers(1, 12))
MOMENTS = st.integers(0, 100 * 366 * 86_400 * 10**6).map(
    lambda microseconds: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
)


def test_the_last_instant_of_december_is_in_december_and_the_next_one_in_january():
    december = Month(2026, 12)
    assert december.end == datetime(2027, 1, 1, tzinfo=UTC) == Month(2027, 1).start
    assert Month.of(december.end - timedelta(microseconds=1)) == december
    assert Month.of(december.end) == Month(2027, 1)


def test_a_moment_belongs_to_its_month_in_utc_whatever_its_zone():
    west = timezone(timedelta(hours=-8))
    assert Month.of(datetime(2026, 10, 31, 20, 0, tzinfo=west)) == Month(2026, 11)
    assert Month.of(datetime(2026, 11, 1, 1, 0, tzinfo=timezone(timedelta(hours=9)))) == Month(2026, 10)


def test_the_zone_of_the_machine_does_not_matter(machine_in):
    machine_in("Pacific/Auckland")
    assert Month.of(datetime(2026, 10, 31, 20, 0, tzinfo=UTC)) == Month(2026, 10)


@pytest.mark.parametrize(
    ("month", "days"), [((2024, 2), 29), ((2023, 2), 28), ((2000, 2), 29), ((1900, 2), 28), ((2026, 11), 30)]
)
def test_february_knows_its_leap_years(month, days):
    found = Month(*month).days()
    assert len(found) == days
    assert (found[0], found[-1]) == (Month(*month).first_day, Month(*month).last_day)


@given(MONTHS)
def test_months_follow_each_other_without_gap_or_overlap(month):
    assert month.next.start == month.end
    assert month.next.previous == month
    assert month.last_day + timedelta(days=1) == month.next.first_day
    assert all(Month.of(day) == month for day in month.days())
    assert Month.parse(str(month)) == month


@given(MONTHS, st.integers(-500, 500), st.integers(-500, 500))
def test_moving_by_months_adds_up(month, there, further):
    assert month.plus(there).plus(further) == month.plus(there + further)
    assert (month.plus(there) > month) == (there > 0)


@pytest.mark.parametrize(
    "text", ["", "2026", "2026-13", "2026-1", "26-01", "2026-00", "2026-10-01", "october", "2026-W1"]
)
def test_what_is_no_month_is_refused(text):
    with pytest.raises(InvalidInput) as refused:
        Month.parse(text)
    assert refused.value.field == "month"
    assert refused.value.sentence == f"“{text}” is not a month; write it like 2026-10."
    assert refused.value.sentence.values == {"text": text}


def test_midnight_is_utc():
    assert midnight(date(2026, 3, 29)) == datetime(2026, 3, 29, tzinfo=UTC)


def test_a_part_of_a_period_is_counted_to_the_microsecond():
    november = Month(2026, 11)
    half = datetime(2026, 11, 16, tzinfo=UTC)
    assert part_of(half, november.end, november.start, november.end) == Fraction(1, 2)
    assert part_of(november.start, november.end, november.start, november.end) == 1
    assert part_of(november.end, november.end + timedelta(days=3), november.start, november.end) == 0
    assert part_of(half, half, november.start, november.end) == 0
    tick = part_of(november.end - timedelta(microseconds=1), november.end, november.start, november.end)
    assert tick == Fraction(1, 30 * 86_400 * 1_000_000)


@given(MONTHS, st.lists(MOMENTS, max_size=6))
def test_however_a_month_is_cut_its_parts_add_back_to_the_whole(month, cuts):
    edges = sorted({month.start, month.end, *(cut for cut in cuts if month.start < cut < month.end)})
    shares = [part_of(start, end, month.start, month.end) for start, end in zip(edges, edges[1:], strict=False)]
    assert sum(shares) == 1
    assert all(share > 0 for share in shares)
