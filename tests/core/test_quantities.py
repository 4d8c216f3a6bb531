"""From readings to a quantity, in any order of the readings."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.errors import InvalidInput
from portal.core.exact import exactly
from portal.core.periods import midnight
from portal.core.quantities import (
    Aggregation,
    Counting,
    QuantityRounding,
    Reading,
    aggregate,
    level_by_day,
    rises,
    round_quantity,
    time_weighted,
)
from tests.core.refusals import assert_sentence

D = Decimal
START, END = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
MOMENTS = st.timedeltas(timedelta(-10), timedelta(40)).map(lambda passed: START + passed)
VALUES = st.decimals(-1000, 1000, places=12)
READINGS = st.lists(st.builds(Reading, MOMENTS, VALUES, st.sampled_from("abc")), max_size=6)


@pytest.mark.parametrize(
    ("how", "quantity"),
    [
        (Aggregation.SUM, "33"),
        (Aggregation.COUNT, "3"),
        (Aggregation.MAX, "20"),
        (Aggregation.LATEST, "3"),
        (Aggregation.UNIQUE, "2"),
    ],
)
def test_the_same_readings_under_each_aggregation(how, quantity):
    readings = [
        Reading(START + timedelta(days=2), D(3), "a"),
        Reading(START, D(10), "a"),
        Reading(START + timedelta(days=1), D(20), "b"),
    ]
    assert aggregate(how, readings) == D(quantity)
    assert aggregate(how, []) == 0


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"aggregation": Aggregation.UNIQUE}, "subject"),
        ({"aggregation": Aggregation.SUM, "subject": "user"}, "subject"),
        ({"aggregation": Aggregation.LEVEL}, "per"),
        ({"aggregation": Aggregation.MAX, "per": "hour"}, "per"),
        ({"aggregation": Aggregation.LEVEL, "per": "week"}, "per"),
    ],
)
def test_a_way_of_counting_that_says_too_little_or_too_much_is_refused(fields, field):
    with pytest.raises(InvalidInput) as refused:
        Counting(**fields)
    assert refused.value.field == field
    assert_sentence(refused.value)


def test_a_sum_needs_neither_subject_nor_period_and_the_others_one_of_them():
    assert Counting() == Counting(Aggregation.SUM, subject=None, per=None)
    assert Counting(Aggregation.UNIQUE, subject="user").subject == "user"
    assert [Counting(Aggregation.LEVEL, per=per).per for per in ("hour", "day", "month")] == ["hour", "day", "month"]


@pytest.mark.parametrize("how", Aggregation)
def test_only_sums_and_counts_add_up_whatever_else_is_reported(how):
    assert how.adds_up is (how in {Aggregation.SUM, Aggregation.COUNT})


def test_a_level_is_not_aggregated_without_its_period():
    with pytest.raises(ValueError, match="^a level is weighted by time$"):
        aggregate(Aggregation.LEVEL, [Reading(START, D(1))])


@given(st.sampled_from(sorted(set(Aggregation) - {Aggregation.LEVEL})), READINGS, st.randoms(use_true_random=False))
def test_the_order_of_readings_is_irrelevant(how, readings, random):
    assert aggregate(how, readings) == aggregate(how, random.sample(readings, len(readings)))


def test_a_level_is_weighted_by_the_time_that_it_held():
    # 2 all the month, 3 more from its middle, and what happened after it does not count.
    middle = datetime(2026, 10, 16, 12, tzinfo=UTC)
    changes = [(middle, D(3)), (datetime(2026, 11, 1, tzinfo=UTC), D(100))]
    assert time_weighted(changes, start=START, end=END, level=D(2)) == Fraction(7, 2)
    assert time_weighted([(datetime(2026, 9, 1, tzinfo=UTC), D(4))], start=START, end=END) == 4


@given(st.lists(st.tuples(MOMENTS, VALUES), max_size=6), MOMENTS)
def test_a_period_cut_in_two_has_the_same_mean_level(changes, cut):
    cut = min(max(cut, START + timedelta(1)), END - timedelta(1))
    level_at_cut = exactly(sum)((change for moment, change in changes if moment < cut), D(0))
    later = [(moment, change) for moment, change in changes if moment >= cut]
    first = time_weighted(changes, start=START, end=cut) * Fraction((cut - START) // timedelta(microseconds=1))
    second = time_weighted(later, start=cut, end=END, level=level_at_cut)
    second *= Fraction((END - cut) // timedelta(microseconds=1))
    whole = time_weighted(changes, start=START, end=END) * Fraction((END - START) // timedelta(microseconds=1))
    assert first + second == whole


@pytest.mark.parametrize(
    ("how", "decimals", "rounded"),
    [
        (QuantityRounding.NEAREST, 0, "123"),
        (QuantityRounding.NEAREST, 2, "123.46"),
        (QuantityRounding.NEAREST, -1, "120"),
        (QuantityRounding.UP, 0, "124"),
        (QuantityRounding.UP, -2, "200"),
        (QuantityRounding.DOWN, 2, "123.45"),
        (QuantityRounding.DOWN, -2, "100"),
    ],
)
def test_a_quantity_is_rounded_once_before_it_is_priced(how, decimals, rounded):
    assert round_quantity(D("123.4567"), how, decimals) == D(rounded)


def test_a_quantity_of_any_size_is_rounded_to_whole_units():
    assert round_quantity(D(f"{10**40}.5"), QuantityRounding.NEAREST) == 10**40 + 1


DAYS = st.dictionaries(st.dates(date(2026, 10, 1), date(2026, 10, 31)), st.decimals(0, 1000, places=3), min_size=1)


@given(st.sampled_from([Aggregation.MAX, Aggregation.LATEST]), DAYS, st.dates(date(2026, 10, 1), date(2026, 10, 31)))
def test_the_rises_until_a_day_add_up_to_what_had_been_reached_by_then(how, readings, cut):
    found = rises(how, readings)
    until = {day: value for day, value in readings.items() if day <= cut}
    reached = max(until.values(), default=D(0)) if how is Aggregation.MAX else until[max(until)] if until else D(0)
    assert exactly(sum)((value for day, value in found.items() if day <= cut), D(0)) == reached
    assert found.keys() == readings.keys()


LEVELS = st.decimals(0, 1000, places=6)


@given(st.dictionaries(st.timedeltas(timedelta(0), timedelta(30)).map(START.__add__), LEVELS, max_size=6), LEVELS)
def test_the_days_of_a_level_add_up_to_its_mean_by_the_time(changes, before):
    moments = sorted(changes.items())
    days = level_by_day(moments, first=date(2026, 10, 1), last=date(2026, 10, 31), level=before)
    levels = [before, *(level for _, level in moments)]
    rises_of_it = [
        (moment, exactly(lambda a, b: a - b)(level, levels[place])) for place, (moment, level) in enumerate(moments)
    ]
    mean = time_weighted(rises_of_it, start=START, end=END, level=before)
    assert Fraction(exactly(sum)(days.values(), D(0))) == mean * 31 * 86_400
    assert len(days) == 31
    assert midnight(min(days)) == START
