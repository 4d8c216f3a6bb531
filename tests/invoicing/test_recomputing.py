"""Charged lines computed again from what they state: what is right is passed, and each wrong figure is named."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from portal.core.pricing import charge, steps_to_json
from portal.core.statement import LineKind
from portal.core.terms import terms_from_json
from portal.invoicing.recomputing import findings_in
from portal.invoicing.stated import Stated, decimal, share_of

D = Decimal
PER_UNIT = {"model": "per_unit", "unit_amount": "0.5", "free_quantity": "0"}
FLAT = {"model": "flat_fee", "unit_amount": "31"}
THE_21ST = date(2026, 10, 21)
OCTOBER = ["2026-10-01T00:00:00+00:00", "2026-11-01T00:00:00+00:00"]


def line(kind: LineKind, amount: int, derivation: dict[str, Any], **more: Any) -> Stated:
    stated = Stated(
        number=1,
        kind=kind,
        description="Machines",
        quantity=D(1),
        unit="hour",
        unit_amount=D("0.5"),
        amount=amount,
        first_day=date(2026, 10, 1),
        last_day=date(2026, 10, 31),
        discount=0,
        credited=0,
        tax=0,
        derivation=derivation,
    )
    return replace(stated, **more)


def used(quantity: str, *, terms: dict[str, Any] = PER_UNIT, amount: int | None = None, **more: Any) -> Stated:
    """A usage line of one segment that is right, but for what is given."""
    priced = charge(terms_from_json(terms), D(more.get("priced", quantity)))
    derivation = {"terms": terms, "events": 3, "already": "0", "steps": steps_to_json(priced), "price": "p", **more}
    asked = int(priced.amount * 100) if amount is None else amount
    return line(LineKind.USAGE, asked, derivation, quantity=D(quantity))


def fee(**more: Any) -> Stated:
    """A fee of 31.00 that was charged on the 11th for the 21 days that were left, but for what is given."""
    fields = {name: more.pop(name) for name in ("amount", "first_day") if name in more}
    derivation = {
        "terms": FLAT,
        "share": "21/31",
        "period": OCTOBER,
        "charged_at": "2026-10-11T00:00:00+00:00",
        "steps": steps_to_json(charge(terms_from_json(FLAT), D(1))),
    }
    stated = line(LineKind.RECURRING, 2_100, derivation | more, unit_amount=D(31), first_day=date(2026, 10, 11))
    return replace(stated, **fields)


def words(*lines: Stated) -> list[str]:
    return [each.words for each in findings_in(lines, "USD")]


@pytest.mark.parametrize(
    "stated",
    [
        used("10"),
        used("0"),
        fee(),
        fee(share_billed="21/31", billed=2_100, given_back=True, share="11/31", amount=-1_100, first_day=THE_21ST),
        line(LineKind.ONE_OFF, 150, {}, quantity=D(3)),
    ],
)
def test_a_line_that_is_right_is_passed(stated):
    assert words(stated) == []


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        (used("10", amount=501), ["its amount is 5.01, and what it was computed from comes to 5.00"]),
        (used("10", already="4"), ["it goes on from 4, and the segments before it reach 0"]),
        (used("10", steps=[]), ["the steps of its calculation are not what its price and quantity give"]),
        (used("10", priced="9"), ["the quantities that were priced are not those that were used"]),
        (
            used("10", events=-1),
            ["what it was computed from cannot be read (ValueError: the number of events is a whole number)"],
        ),
        (
            used("10", events=True),
            ["what it was computed from cannot be read (ValueError: the number of events is a whole number)"],
        ),
        (
            replace(used("10"), unit_amount=None),
            ["its unit price is not that of its terms"],
        ),
        (
            line(LineKind.ONE_OFF, 50, {}, unit_amount=None),
            ["what it was computed from cannot be read (TypeError: it has no unit price)"],
        ),
        (
            line(LineKind.TRUE_UP, 50, {}),
            ["what it was computed from cannot be read (KeyError: 'commitments')"],
        ),
        (fee(steps=[]), ["the steps of its fee are not what its price and quantity give"]),
        (fee(amount=2_101), ["its amount is 21.01, and what it was computed from comes to 21.00"]),
        (
            fee(share_billed="20/31"),
            ["the share of the period that was charged is 20/31 and comes to 21/31"],
        ),
        (fee(share="20/31", amount=2_000), ["its share of the period is 20/31 and comes to 21/31"]),
        (fee(first_day=date(2026, 10, 12)), ["it does not begin on the day on which it was charged"]),
        (
            fee(given_back=True, share="12/31", amount=-1_200, first_day=THE_21ST),
            ["the share of the period that is given back, 12/31, is not that from 2026-10-21 on"],
        ),
    ],
)
def test_what_is_wrong_is_named(stated, found):
    assert words(stated) == found


def test_terms_that_look_at_every_event_cannot_be_computed_again_from_their_number():
    by_event = {"model": "percentage", "rate_percent": "10", "event_minimum": "1"}
    stated = replace(used("10"), derivation={**used("10").derivation, "terms": by_event})
    assert words(stated) == [
        "what it was computed from cannot be read (ValueError: its terms look at every event by itself)"
    ]


FACTS = {
    "kind": "usage",
    "description": "Machines",
    "quantity": "1.5",
    "unit": "hour",
    "unit_amount": None,
    "amount": 75,
    "period": ["2026-10-01", "2026-10-31"],
    "derivation": {},
}


def test_a_line_is_read_as_it_states_itself():
    read = Stated.of(2, FACTS | {"tax": 14})
    assert (read.number, read.quantity, read.unit_amount, read.amount, read.tax) == (2, D("1.5"), None, 75, 14)


@pytest.mark.parametrize("change", [{"amount": "75"}, {"amount": True}, {"tax": 1.5}, {"discount": None}])
def test_an_amount_that_is_not_in_whole_minor_units_is_not_read(change):
    with pytest.raises(TypeError, match="^an amount of line 2 is not in whole minor units$"):
        Stated.of(2, FACTS | change)


@pytest.mark.parametrize("text", ["", "1e3", "1,5", "NaN", 5, None, "9" * 61])
def test_what_is_not_in_digits_is_no_number_of_a_document(text):
    with pytest.raises(ValueError, match="is not a number in digits"):
        decimal(text)
    with pytest.raises(ValueError, match="is not a fraction"):
        share_of(text if text != "9" * 61 else f"1/{text}")


def test_a_share_is_exact():
    assert share_of("-3/31") == Fraction(-3, 31)
    assert decimal("-0.50") == D("-0.5")
