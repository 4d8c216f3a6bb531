"""Minimum commitments and the order in which credits are used."""

from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.commitments import CreditGrant, true_up_of, use_credits

NOW = datetime(2026, 10, 1, tzinfo=UTC)
SOON, LATER = datetime(2026, 11, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("used", "fee", "share", "true_up"),
    [
        (700, 0, Fraction(1), 300),
        (1000, 0, Fraction(1), 0),
        (1500, 0, Fraction(1), 0),
        (200, 0, Fraction(15, 31), 284),  # 483.87 − 200
        (0, 100, Fraction(5, 7), 643),  # 714.29 less the fee's own 71.43
        (0, 2000, Fraction(1), 0),
    ],
)
def test_the_true_up_is_what_is_missing_from_the_minimum(used, fee, share, true_up):
    assert true_up_of(1000, used=used, fee=fee, share=share) == true_up


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_usage_and_true_up_come_to_the_commitment_or_to_more(commitment, used):
    assert used + true_up_of(commitment, used=used) == max(commitment, used)


GRANTS = [
    CreditGrant(1, 100),
    CreditGrant(2, 100, LATER),
    CreditGrant(3, 100, SOON),
    CreditGrant(4, 100, SOON),
    CreditGrant(5, 100, NOW),  # expired this instant
    CreditGrant(6, 0, SOON),
    CreditGrant(7, 100, rank=-1),
]


@pytest.mark.parametrize(
    ("due", "used"),
    [
        (0, {}),
        (-5, {}),
        (50, {7: 50}),
        (250, {7: 100, 3: 100, 4: 50}),
        (9999, {7: 100, 3: 100, 4: 100, 2: 100, 1: 100}),
    ],
)
def test_credits_are_used_by_rank_then_by_expiry_then_by_age(due, used):
    assert use_credits(due, GRANTS, now=NOW) == used


def test_the_last_unit_of_a_grant_is_used():
    assert use_credits(1, [CreditGrant(1, 1)], now=NOW) == {1: 1}
    assert use_credits(101, [CreditGrant(1, 100), CreditGrant(2, 1)], now=NOW) == {1: 100, 2: 1}


@given(st.permutations(GRANTS), st.integers(0, 700))
def test_the_order_of_grants_is_irrelevant_and_no_unit_is_lost(grants, due):
    used = use_credits(due, grants, now=NOW)
    assert used == use_credits(due, GRANTS, now=NOW)
    assert sum(used.values()) == min(due, 500)
