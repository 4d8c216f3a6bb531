"""Splitting minor units by weight: nothing is lost, whatever the weights, and nobody pays out of proportion."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from portal.core.allocating import allocate_by_weight

AMOUNTS = st.integers(-(10**9), 10**9)
CHARGES = st.integers(0, 10**9)
KEYS = st.text("abcdefgh", max_size=3)
WEIGHTS = st.decimals(-(10**14), 10**14, places=12, allow_nan=False)
POSITIVE = st.decimals(0, 10**14, places=12, allow_nan=False)
# Small ones, so that ties, zeros and sums of zero come up.
PARTS = st.dictionaries(KEYS, WEIGHTS | st.integers(-3, 3).map(Decimal), min_size=1, max_size=12)
USED = st.dictionaries(KEYS, POSITIVE | st.integers(0, 3).map(Decimal), min_size=1, max_size=12)


def split(amount: int, **weights: str) -> dict[str, int]:
    return allocate_by_weight(amount, {key: Decimal(weight) for key, weight in weights.items()})


@pytest.mark.parametrize(
    ("amount", "weights", "parts"),
    [
        (100, {"a": "1", "b": "1", "c": "1"}, {"a": 34, "b": 33, "c": 33}),
        (-100, {"a": "1", "b": "1", "c": "1"}, {"a": -34, "b": -33, "c": -33}),
        (100, {"a": "0.000000000001", "b": "3E-12"}, {"a": 25, "b": 75}),
        (2, {"a": "1", "b": "1", "c": "4"}, {"a": 1, "b": 0, "c": 1}),
        (0, {"a": "1", "b": "2"}, {"a": 0, "b": 0}),
        # 90 units at 0.10: the ten that were taken back from b are credited at the same price.
        (900, {"a": "100", "b": "-10"}, {"a": 1000, "b": -100}),
        # Half of it was taken back: the most for which there still is a price.
        (900, {"a": "10", "b": "-5"}, {"a": 1800, "b": -900}),
        # A month of corrections is a credit, split the same way.
        (-900, {"a": "-100", "b": "10"}, {"a": -1000, "b": 100}),
        # Nearly everything was taken back, and a minimum is charged: at that price nobody can be credited.
        (5000, {"a": "1000", "b": "-999"}, {"a": 5000, "b": 0}),
        (5000, {"a": "10", "b": "-10", "c": "30"}, {"a": 1667, "b": -1667, "c": 5000}),
        (5000, {"a": "10", "b": "-10"}, {"a": 5000, "b": 0}),
        (1001, {"a": "0", "b": "0"}, {"a": 501, "b": 500}),
        (7, {"a": "0"}, {"a": 7}),
    ],
)
def test_worked_examples(amount, weights, parts):
    assert split(amount, **weights) == parts


def test_there_is_a_part_to_split_over():
    with pytest.raises(AssertionError, match="^nothing to split over$"):
        allocate_by_weight(1, {})


def test_weights_of_any_length_lose_no_digit():
    # The first is larger by the last of its 40 digits, so the odd unit is its own.
    assert split(1, a=f"{10**39 + 1}", b=f"{10**39}") == {"a": 1, "b": 0}
    assert split(1, a=f"{10**39}", b=f"{10**39 + 1}") == {"a": 0, "b": 1}


@given(AMOUNTS, PARTS)
def test_the_parts_add_up_to_the_amount(amount, weights):
    parts = allocate_by_weight(amount, weights)
    assert parts.keys() == weights.keys()
    assert sum(parts.values()) == amount


@given(AMOUNTS, PARTS, st.randoms(use_true_random=False))
def test_the_order_of_the_parts_does_not_matter(amount, weights, random):
    shuffled = list(weights.items())
    random.shuffle(shuffled)
    assert allocate_by_weight(amount, dict(shuffled)) == allocate_by_weight(amount, weights)


@given(CHARGES, PARTS)
def test_who_used_more_never_pays_less(amount, weights):
    assume(sum(weights.values()) > 0)
    parts = allocate_by_weight(amount, weights)
    for one, its in weights.items():
        for other, others in weights.items():
            assert its <= others or parts[one] >= parts[other]


@given(AMOUNTS, USED)
def test_each_part_is_its_exact_share_to_less_than_one_unit(amount, weights):
    whole = sum(map(Fraction, weights.values()))
    assume(whole)
    for key, part in allocate_by_weight(amount, weights).items():
        assert abs(part - amount * Fraction(weights[key]) / whole) < 1


@given(CHARGES, PARTS)
def test_no_part_is_more_than_twice_what_is_split(amount, weights):
    assert all(abs(part) <= 2 * amount for part in allocate_by_weight(amount, weights).values())


@given(CHARGES, PARTS)
def test_nobody_who_used_something_is_credited_when_something_is_charged(amount, weights):
    assume(sum(weights.values()) > 0)
    parts = allocate_by_weight(amount, weights)
    assert all(parts[key] >= 0 for key, weight in weights.items() if weight >= 0)
    assert all(parts[key] <= 0 for key, weight in weights.items() if weight < 0)


@given(AMOUNTS, PARTS)
def test_a_credit_is_split_as_a_charge(amount, weights):
    turned = {key: -part for key, part in allocate_by_weight(amount, weights).items()}
    assert allocate_by_weight(-amount, weights) == turned


@given(AMOUNTS, PARTS, st.integers(-9, 9))
def test_another_unit_of_the_quantities_changes_nothing(amount, weights, places):
    scaled = {key: weight.scaleb(places) for key, weight in weights.items()}
    assert allocate_by_weight(amount, scaled) == allocate_by_weight(amount, weights)
