"""Coupons: their order, their limits, and parts that add up."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.discounts import Coupon, discounts_of
from portal.core.errors import InvalidInput
from tests.core.refusals import assert_sentence

D = Decimal


def off(percent: str, *lines: int) -> Coupon:
    return Coupon(percent=D(percent), lines=frozenset(lines) or None)


def less(fixed: int, *lines: int) -> Coupon:
    return Coupon(fixed=fixed, lines=frozenset(lines) or None)


@pytest.mark.parametrize(
    ("lines", "coupons", "lost"),
    [
        ([10000], [], [0]),
        ([10000], [off("25"), off("10")], [3250]),  # 10,000 → 7,500 → 6,750
        ([10000, 50], [off("100")], [10000, 50]),
        ([10000], [off("0"), less(0)], [0]),
        ([10000], [less(5000), off("10")], [6000]),  # the percentage first
        ([5000], [less(3000), less(3000)], [5000]),  # never below zero
        ([6000, 4000], [less(1000)], [600, 400]),
        ([6000, 4000], [less(1000, 1)], [0, 1000]),
        ([6000, 4000], [less(9000, 1)], [0, 4000]),
        ([6000, 4000], [less(1000), off("50", 0)], [3000 + 429, 571]),  # the line's own first: 3,000 and 4,000 are left
        ([100, 100, 100], [less(100)], [34, 33, 33]),
        ([100, 100, 100], [off("0.5")], [1, 1, 0]),  # 1.5 of 300 is 2
        ([-500, 1000], [off("10"), less(5000)], [0, 1000]),  # a credit is not discounted
        ([0, 0], [less(100)], [0, 0]),
        ([100], [less(100, 7)], [0]),
    ],
)
def test_coupons_apply_in_their_order(lines, coupons, lost):
    assert discounts_of(lines, coupons) == lost


LINES = st.lists(st.integers(-(10**6), 10**8), min_size=1, max_size=8)
INDEXES = st.one_of(st.none(), st.frozensets(st.integers(0, 7), max_size=4))
COUPONS = st.lists(
    st.one_of(
        st.builds(Coupon, percent=st.decimals(0, 100, places=3), lines=INDEXES),
        st.builds(Coupon, fixed=st.integers(0, 10**8), lines=INDEXES),
    ),
    max_size=4,
)


@given(LINES, COUPONS)
def test_no_line_loses_more_than_it_has(lines, coupons):
    for amount, lost in zip(lines, discounts_of(lines, coupons), strict=True):
        assert 0 <= lost <= max(amount, 0)


@given(LINES, st.integers(0, 10**9))
def test_a_fixed_coupon_is_used_up_or_nothing_is_left(lines, fixed):
    assert sum(discounts_of(lines, [Coupon(fixed=fixed)])) == min(fixed, sum(max(line, 0) for line in lines))


def test_nothing_and_everything_are_coupons_too():
    assert [Coupon(percent=D(each)).worth(1_000) for each in ("0", "0.05", "100")] == [0, 1, 1_000]
    assert [Coupon(fixed=each).worth(1_000) for each in (0, 1, 1_001)] == [0, 1, 1_000]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "percent"),
        ({"percent": D(5), "fixed": 5}, "percent"),
        ({"percent": D("100.1")}, "percent"),
        ({"percent": D(-1)}, "percent"),
        ({"percent": D("NaN")}, "percent"),
        ({"fixed": -1}, "fixed"),
    ],
)
def test_a_coupon_that_cannot_be_applied_is_refused(fields, field):
    with pytest.raises(InvalidInput) as refused:
        Coupon(**fields)
    assert refused.value.field == field
    assert_sentence(refused.value)
