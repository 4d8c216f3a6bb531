"""Why one bill is not the other: volume, price, new, gone and the rest, which always add up to the difference."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.effects import Effect, Part, Step, by_step, effects_between
from portal.core.statement import LineKind


def usage(name: str, quantity: str, amount: int) -> Part:
    return Part(LineKind.USAGE, name, "GB", Decimal(quantity), amount)


def other(kind: LineKind, name: str, amount: int) -> Part:
    return Part(kind, name, "", Decimal(1), amount)


@pytest.mark.parametrize(
    ("before", "after", "effects"),
    [
        # 100 GB at $0.02, then 150 GB at $0.02: 50 · 0.02 = $1.00 of volume.
        ([usage("Egress", "100", 200)], [usage("Egress", "150", 300)], [Effect(Step.VOLUME, "Egress", 100)]),
        # The same 100 GB, now at $0.03.
        ([usage("Egress", "100", 200)], [usage("Egress", "100", 300)], [Effect(Step.PRICE, "Egress", 100)]),
        # 150 GB at $0.03 after 100 GB at $0.02: (150 − 100) · 0.02 = $1.00, and (0.03 − 0.02) · 150 = $1.50.
        (
            [usage("Egress", "100", 200)],
            [usage("Egress", "150", 450)],
            [Effect(Step.VOLUME, "Egress", 100), Effect(Step.PRICE, "Egress", 150)],
        ),
        # A third of 100 is 33⅓ cents: the volume takes 67, the rest is the price's, none is lost.
        (
            [usage("Egress", "3", 100)],
            [usage("Egress", "5", 166)],
            [Effect(Step.VOLUME, "Egress", 67), Effect(Step.PRICE, "Egress", -1)],
        ),
        ([], [usage("Egress", "5", 100)], [Effect(Step.NEW, "Egress", 100)]),
        ([usage("Egress", "0", 0)], [usage("Egress", "5", 100)], [Effect(Step.NEW, "Egress", 100)]),
        ([usage("Egress", "5", 100)], [usage("Egress", "0", 0)], [Effect(Step.GONE, "Egress", -100)]),
        # It was free: the same quantity now has a price; and the other way round.
        ([usage("Egress", "100", 0)], [usage("Egress", "100", 300)], [Effect(Step.PRICE, "Egress", 300)]),
        ([usage("Egress", "100", 300)], [usage("Egress", "100", 0)], [Effect(Step.PRICE, "Egress", -300)]),
        # A minimum had been charged of what was not used, and is charged again.
        ([usage("Egress", "0", 500)], [usage("Egress", "5", 800)], [Effect(Step.NEW, "Egress", 300)]),
        ([usage("Egress", "5", 800)], [usage("Egress", "0", 500)], [Effect(Step.GONE, "Egress", -300)]),
        # Within a step the largest change comes first, up or down, then by name.
        (
            [usage("Disks", "1", 300)],
            [usage("Apps", "1", 100), usage("Cores", "1", 200), usage("Boots", "1", 200)],
            [
                Effect(Step.NEW, "Boots", 200),
                Effect(Step.NEW, "Cores", 200),
                Effect(Step.NEW, "Apps", 100),
                Effect(Step.GONE, "Disks", -300),
            ],
        ),
        # A price that changed on the 15th has left two lines of one thing.
        (
            [usage("Egress", "100", 200)],
            [usage("Egress", "50", 100), usage("Egress", "50", 150)],
            [Effect(Step.PRICE, "Egress", 50)],
        ),
        ([other(LineKind.RECURRING, "Support", 2900)], [], [Effect(Step.FEES, "Support", -2900)]),
        (
            [],
            [Part(LineKind.RECURRING, "Support", "", Decimal(1), 1450, is_prorated=True)],
            [Effect(Step.PRORATION, "Support", 1450)],
        ),
        ([], [other(LineKind.CREDIT, "Goodwill", -500)], [Effect(Step.ONE_OFF, "Goodwill", -500)]),
        ([], [other(LineKind.ADJUSTMENT, "Late", 7)], [Effect(Step.LATE, "Late", 7)]),
        ([], [other(LineKind.COUPON, "10 %", -7)], [Effect(Step.TAKEN_OFF, "10 %", -7)]),
        ([other(LineKind.TAX, "VAT", 19)], [other(LineKind.TAX, "VAT", 38)], [Effect(Step.TAX, "VAT", 19)]),
        ([usage("Egress", "1", 2)], [usage("Egress", "1", 2)], []),
    ],
)
def test_each_thing_moves_the_bill_in_its_step(before, after, effects):
    assert effects_between(before, after) == effects


parts = st.lists(
    st.builds(
        Part,
        kind=st.sampled_from(LineKind),
        name=st.sampled_from(["Egress", "Machines", "Volumes"]),
        unit=st.sampled_from(["GB", "s"]),
        quantity=st.decimals(-1_000_000, 1_000_000, places=12),
        amount=st.integers(-(10**12), 10**12),
        is_prorated=st.booleans(),
    ),
    max_size=12,
)


@given(parts, parts)
def test_whatever_the_lines_the_steps_add_up_to_the_difference(before, after):
    effects = effects_between(before, after)
    difference = sum(part.amount for part in after) - sum(part.amount for part in before)
    assert sum(effect.change for effect in effects) == difference
    assert sum(change for _, change in by_step(effects)) == difference
    assert all(effect.change for effect in effects)


def test_each_step_that_moved_the_bill_is_told_once_with_its_sum():
    effects = [
        Effect(Step.TAX, "VAT", 19),
        Effect(Step.NEW, "Disks", 100),
        Effect(Step.NEW, "Apps", 200),
        Effect(Step.VOLUME, "Egress", 50),
        Effect(Step.VOLUME, "Machines", -50),
    ]
    assert by_step(effects) == [(Step.VOLUME, 0), (Step.NEW, 300), (Step.TAX, 19)]


@given(parts)
def test_a_bill_beside_itself_has_not_moved(lines):
    assert effects_between(lines, lines) == []
