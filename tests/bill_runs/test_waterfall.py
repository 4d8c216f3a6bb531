"""Why this month's total is not last month's: steps that add up exactly."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.admin.waterfalls import HEIGHT, WIDTH, picture_of
from portal.bill_runs.waterfall import waterfall
from portal.core.statement import LineKind


@dataclass
class Billed:
    kind: str
    description: str
    quantity: Decimal
    amount: int
    derivation: dict[str, Any] = field(default_factory=dict)


def usage(quantity: str, amount: int, name: str = "Seconds") -> Billed:
    return Billed("usage", name, Decimal(quantity), amount)


def fee(amount: int, *, share: str = "1") -> Billed:
    return Billed("recurring", "Pro", Decimal(1), amount, {"share": share})


def other(kind: LineKind, amount: int) -> Billed:
    return Billed(kind.value, "Other", Decimal(1), amount)


@pytest.mark.parametrize(
    ("before", "after", "steps"),
    [
        # 50 more at the old $1.00, and $0.10 more for each of 150.
        ([usage("100", 10_000)], [usage("150", 16_500)], {"volume": 5_000, "price": 1_500}),
        ([usage("100", 10_000)], [usage("40", 4_000)], {"volume": -6_000}),
        ([], [usage("1", 100)], {"new": 100}),
        ([usage("1", 100)], [], {"removed": -100}),
        # Two prices within the month are one name.
        ([usage("10", 1_000)], [usage("5", 500), usage("5", 600)], {"price": 100}),
        # Nothing was used, and a minimum was charged: there is no price to compare with.
        ([usage("0", 500)], [usage("7", 700)], {"price": 200}),
        ([fee(2_900)], [fee(3_900)], {"price": 1_000}),
        ([fee(2_900)], [fee(2_900), fee(-1_450, share="1/2")], {"proration": -1_450}),
        ([other(LineKind.ONE_OFF, 500)], [other(LineKind.CREDIT, -200)], {"one_off": -700}),
        ([], [other(LineKind.ADJUSTMENT, 300)], {"late": 300}),
        ([], [other(LineKind.TRUE_UP, 400)], {"commitment": 400}),
        ([other(LineKind.COUPON, -100)], [other(LineKind.PROMOTIONAL, -150)], {"taken_off": -50}),
        ([other(LineKind.TAX, 100)], [other(LineKind.TAX, 190)], {"tax": 90}),
    ],
)
def test_a_difference_is_taken_apart(before, after, steps):
    assert {step.code: step.change for step in waterfall(before, after).steps} == steps


LINES = st.lists(
    st.builds(
        Billed,
        st.sampled_from([kind.value for kind in LineKind]),
        st.sampled_from(["Seconds", "Egress", "Pro"]),
        st.decimals(min_value=-(10**9), max_value=10**9, places=3),
        st.integers(-(10**8), 10**8),
        st.sampled_from([{}, {"share": "1"}, {"share": "3/7"}]),
    ),
    max_size=12,
)


@given(LINES, LINES)
def test_the_steps_always_add_up_and_the_picture_holds_them(before, after):
    found = waterfall(before, after)
    assert found.before == sum(line.amount for line in before)
    assert found.before + sum(step.change for step in found.steps) == found.after == sum(each.amount for each in after)
    picture = picture_of(found, ("September", "October"), "USD")
    assert len(picture.bars) == len(found.steps) + 2
    for bar in picture.bars:
        assert 0 <= bar.x <= WIDTH - picture.bar_width
        assert 0 <= bar.y <= bar.y + bar.height <= HEIGHT
