"""Money: rounding half away from zero, exponents, reading amounts, splitting without losing a unit."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.errors import InvalidInput
from portal.core.money import (
    allocate,
    exponent_of,
    round_fraction,
    round_half_away,
    round_to_minor,
    round_together,
    to_major,
)

AMOUNTS = st.decimals(min_value=-(10**12), max_value=10**12, allow_nan=False, allow_infinity=False, places=9)
CURRENCIES = st.sampled_from(["USD", "EUR", "JPY", "KWD"])


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("0.005", "USD", 1),
        ("-0.005", "USD", -1),
        ("0.0049999999999", "USD", 0),
        ("-0.0049999999999", "USD", 0),
        ("2.675", "USD", 268),  # the float 2.675 would give 267
        ("0.125", "USD", 13),  # half to even would give 12
        ("-0.125", "USD", -13),
        ("0.5", "JPY", 1),
        ("1.5", "JPY", 2),
        ("2.5", "JPY", 3),
        ("-2.5", "JPY", -3),
        ("0.0005", "KWD", 1),
        ("1.2344999", "KWD", 1234),
        ("12345678901234567890.125", "USD", 1234567890123456789013),
        (f"{10**40}.125", "USD", 10**42 + 13),
    ],
)
def test_a_tie_is_rounded_away_from_zero_in_the_currencys_own_unit(amount, currency, minor):
    assert round_to_minor(Decimal(amount), currency) == minor
    assert round_fraction(Fraction(amount), currency) == minor


@pytest.mark.parametrize(
    ("currency", "exponent"),
    [("USD", 2), ("EUR", 2), ("JPY", 0), ("KRW", 0), ("ISK", 0), ("KWD", 3), ("TND", 3), ("CLF", 4)],
)
def test_the_currencys_exponent_decides(currency, exponent):
    assert exponent_of(currency) == exponent
    assert to_major(1, currency) == Decimal(1).scaleb(-exponent)
    assert -to_major(1, currency).as_tuple().exponent == exponent


def test_an_amount_of_any_size_keeps_its_digits():
    assert to_major(10**40 + 1, "USD") == Decimal(f"1{'0' * 38}.01")


def test_no_amount_is_rounded_in_a_currency_that_there_is_not():
    for compute in (lambda: round_to_minor(Decimal(1), "XYZ"), lambda: to_major(1, "XYZ")):
        with pytest.raises(InvalidInput) as refused:
            compute()
        assert refused.value.field == "currency"


def test_a_third_of_a_unit_is_rounded_from_the_fraction_itself():
    assert round_fraction(Fraction(1, 3), "USD") == 33
    assert round_fraction(Fraction(-2, 3), "USD") == -67
    assert round_fraction(Fraction(1, 200), "USD") == 1


@given(AMOUNTS, CURRENCIES)
def test_rounding_moves_an_amount_by_at_most_half_a_unit_and_mirrors_the_sign(amount, currency):
    minor = round_to_minor(amount, currency)
    exact = Fraction(amount) * 10 ** exponent_of(currency)
    assert abs(minor - exact) <= Fraction(1, 2)
    assert round_to_minor(-amount, currency) == -minor
    assert round_fraction(Fraction(amount), currency) == minor


@given(st.integers(-(10**12), 10**12), CURRENCIES)
def test_minor_units_survive_the_way_to_the_major_unit_and_back(minor, currency):
    assert round_to_minor(to_major(minor, currency), currency) == minor


@pytest.mark.parametrize(
    ("total", "weights", "parts"),
    [
        (100, [1, 1, 1], [34, 33, 33]),
        (-100, [1, 1, 1], [-34, -33, -33]),
        (1, [1, 1], [1, 0]),
        (10, [0, 0, 0], [10, 0, 0]),
        (0, [3, 4], [0, 0]),
        (5, [0, 1], [0, 5]),
        (100, [Decimal("0.1"), Decimal("0.2")], [33, 67]),
        (7, [Decimal("1E+2"), 300], [2, 5]),
        (2 * 10**40, [10**40 - 1, Decimal(10**40 + 1)], [10**40 - 1, 10**40 + 1]),
    ],
)
def test_a_total_is_split_by_largest_remainder_with_ties_to_the_earlier_part(total, weights, parts):
    assert allocate(total, weights) == parts


@given(
    st.integers(-(10**10), 10**10),
    st.lists(st.decimals(0, 10**6, allow_nan=False, places=6), min_size=1, max_size=12),
)
def test_the_parts_add_up_and_none_is_a_whole_unit_away_from_its_share(total, weights):
    parts = allocate(total, weights)
    assert sum(parts) == total
    whole = sum(map(Fraction, weights))
    if whole:
        for part, weight in zip(parts, weights, strict=True):
            assert abs(part - total * Fraction(weight) / whole) < 1


@given(st.integers(0, 10**6), st.lists(st.integers(0, 1000), min_size=1, max_size=8), st.integers(1, 1000))
def test_only_the_proportion_of_the_weights_counts(total, weights, factor):
    assert allocate(total, weights) == allocate(total, [weight * factor for weight in weights])


def test_there_is_a_weight_to_split_by():
    with pytest.raises(AssertionError, match="^nothing to split over$"):
        allocate(1, [])


@pytest.mark.parametrize(
    ("amounts", "parts"),
    [
        ([], []),
        (["1/3", "1/3", "1/3"], [1, 0, 0]),
        (["1/2", "1/2"], [1, 0]),
        (["-1/2", "-1/2"], [-1, 0]),
        (["6833/5", "6833/5", "1150", "1700"], [1367, 1366, 1150, 1700]),
        (["-1/4", "7/4"], [0, 2]),
    ],
)
def test_amounts_rounded_together_come_to_their_rounded_sum(amounts, parts):
    assert round_together([Fraction(amount) for amount in amounts]) == parts


@given(st.lists(st.fractions(-(10**6), 10**6, max_denominator=1000), max_size=10))
def test_what_is_rounded_together_adds_up_and_mirrors_the_sign(amounts):
    parts = round_together(amounts)
    assert sum(parts) == round_half_away(sum(amounts, Fraction(0)))
    assert all(abs(part - amount) < 1 for part, amount in zip(parts, amounts, strict=True))
    if sum(amounts):
        assert round_together([-amount for amount in amounts]) == [-part for part in parts]
