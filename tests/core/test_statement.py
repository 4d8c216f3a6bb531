"""A statement: the order of its lines, its total, and what a balance does to it."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.money import LARGEST_AMOUNT
from portal.core.statement import Line, LineKind, compose


def line(amount: int, kind: LineKind = LineKind.USAGE, description: str = "Machines", day: int = 1) -> Line:
    return Line(
        kind=kind,
        description=description,
        quantity=Decimal(1),
        unit="second",
        unit_amount=Decimal("0.5"),
        unrounded=Decimal(amount) / 100,
        amount=amount,
        period_start=date(2026, 10, day),
        period_end=date(2026, 10, 31),
    )


def test_usage_comes_before_fees_before_one_off_items_before_credits():
    kinds = [LineKind.CREDIT, LineKind.ADJUSTMENT, LineKind.ONE_OFF, LineKind.RECURRING, LineKind.USAGE]
    statement = compose([line(1, kind) for kind in kinds], currency="USD")
    assert [each.kind for each in statement.lines] == [
        LineKind.USAGE,
        LineKind.RECURRING,
        LineKind.ONE_OFF,
        LineKind.CREDIT,
        LineKind.ADJUSTMENT,
    ]


def test_within_a_kind_lines_are_ordered_by_name_and_then_by_day():
    lines = [line(1, description="b"), line(2, description="a", day=15), line(3, description="a", day=1)]
    assert [each.amount for each in compose(lines, currency="USD").lines] == [3, 2, 1]


LINES = st.lists(
    st.builds(line, st.integers(-(10**6), 10**6), st.sampled_from(LineKind), st.sampled_from("abc")), max_size=12
)


@given(LINES, st.integers(0, 10**6))
def test_the_total_is_the_sum_of_the_rounded_lines_and_no_cent_is_lost(lines, balance):
    statement = compose(lines, currency="USD", balance=balance)
    assert statement.total == sum(each.amount for each in lines)
    assert statement.total == statement.balance_applied + statement.amount_due - statement.carried_forward
    assert 0 <= statement.balance_applied <= balance
    assert statement.amount_due >= 0
    assert statement.carried_forward >= 0
    assert not (statement.amount_due and statement.carried_forward)


@given(LINES, st.randoms(use_true_random=False))
def test_the_order_in_which_lines_are_found_does_not_change_the_invoice(lines, random):
    unique = list({(each.kind, each.description): each for each in lines}.values())
    shuffled = random.sample(unique, len(unique))
    assert compose(unique, currency="USD") == compose(shuffled, currency="USD")
    assert compose(unique, currency="USD").fingerprint() == compose(shuffled, currency="USD").fingerprint()


@pytest.mark.parametrize(
    ("total", "balance", "applied", "due", "carried"),
    [
        (1000, 0, 0, 1000, 0),
        (1000, 300, 300, 700, 0),
        (1000, 1000, 1000, 0, 0),
        (1000, 5000, 1000, 0, 0),
        (0, 500, 0, 0, 0),
        (-700, 500, 0, 0, 700),  # a negative total is carried, and leaves the balance alone
    ],
)
def test_a_balance_is_applied_last_and_never_makes_an_invoice_negative(total, balance, applied, due, carried):
    statement = compose([line(total)], currency="USD", balance=balance)
    assert (statement.balance_applied, statement.amount_due, statement.carried_forward) == (applied, due, carried)


def test_a_total_above_the_largest_invoice_is_said_to_be_too_large():
    assert not compose([line(LARGEST_AMOUNT)], currency="USD").is_too_large
    for total in (LARGEST_AMOUNT + 1, -LARGEST_AMOUNT - 1):
        assert compose([line(total)], currency="USD").is_too_large


def test_whatever_is_billed_changes_the_fingerprint_and_what_is_not_does_not():
    statement = compose([line(1000)], currency="USD")
    others = [
        compose([line(1001)], currency="USD"),
        compose([line(1000)], currency="EUR"),
        compose([line(1000, LineKind.RECURRING)], currency="USD"),
        compose([line(1000, description="Disks")], currency="USD"),
        compose([line(1000, day=2)], currency="USD"),
        compose([line(1000)], currency="USD", balance=1),
        compose([line(1000), line(0, description="Nothing")], currency="USD"),
    ]
    assert statement.fingerprint() not in {other.fingerprint() for other in others}
    assert len({other.fingerprint() for other in others}) == len(others)
    longer = Line(**{**{name: getattr(line(1000), name) for name in Line.__slots__}, "quantity": Decimal("1.000")})
    assert compose([longer], currency="USD").fingerprint() == statement.fingerprint()
