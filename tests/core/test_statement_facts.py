"""What a statement says of itself, word for word: an invoice is compared, checked and explained by it for ever."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from portal.core.commitments import CreditGrant
from portal.core.keys import content_hash
from portal.core.statement import Line, LineKind, Reduction, Statement, compose
from portal.core.taxes import TaxRate, TaxRounding, TaxTerms

D = Decimal
OCTOBER = ["2026-10-01", "2026-10-31"]
TAX = TaxTerms(rates=(TaxRate(D("20")), TaxRate(D("7"), product="Books")), rounding=TaxRounding.LINE)


def line(amount: int, description: str, **more) -> Line:
    named = {
        "kind": LineKind.USAGE,
        "quantity": D("1.50"),
        "unit": "hour",
        "unit_amount": D("0.10"),
        "unrounded": D(amount).scaleb(-2),
        "period_start": date(2026, 10, 1),
        "period_end": date(2026, 10, 31),
    }
    return Line(description=description, amount=amount, **(named | more))


def statement_of(*lines: Line, **more) -> Statement:
    return compose(lines, currency="USD", **more)


def test_a_line_says_what_it_bills_and_what_stands_beside_it():
    full = line(
        1_000,
        "Machines",
        derivation={"steps": []},
        product="Compute",
        meter="seconds",
        tax_percent=D("20.0"),
        discount=100,
        credited=50,
        tax=170,
    )
    assert full.facts() == {
        "kind": "usage",
        "description": "Machines",
        "quantity": "1.5",
        "unit": "hour",
        "unit_amount": "0.1",
        "unrounded": "10",
        "amount": 1_000,
        "period": OCTOBER,
        "derivation": {"steps": [], "product": "Compute", "meter": "seconds", "tax_percent": "20"},
        "discount": 100,
        "credited": 50,
        "tax": 170,
    }


def test_a_line_without_price_product_or_tax_says_nothing_of_them():
    bare = line(-5, "Goodwill", kind=LineKind.CREDIT, unit_amount=None, tax_percent=D(0))
    assert bare.facts() == {
        "kind": "credit",
        "description": "Goodwill",
        "quantity": "1.5",
        "unit": "hour",
        "unit_amount": None,
        "unrounded": "-0.05",
        "amount": -5,
        "period": OCTOBER,
        "derivation": {},
    }


@pytest.fixture
def statement() -> Statement:
    """Books 40.00 and machines 100.00; a coupon of 25 % off the books, one of at most 10.00 off everything."""
    return statement_of(
        line(10_000, "Machines", product="Compute", period_start=date(2026, 10, 15)),
        line(4_000, "Books", product="Books", period_end=date(2026, 10, 20)),
        reductions=[
            Reduction(
                LineKind.COUPON,
                "A quarter",
                percent=D("25.0"),
                products=frozenset({"Books"}),
                references={"coupon_id": 3},
                derivation={"code": "READ"},
            ),
            Reduction(LineKind.COUPON, "Ten", fixed=1_000),
        ],
        tax=TAX,
        prepaid=[CreditGrant(10, 700), CreditGrant(9, 300, datetime(2026, 11, 1, tzinfo=UTC))],
        balance=50,
    )


def test_what_a_coupon_took_says_from_what_and_of_which_line(statement):
    quarter, ten = (each for each in statement.lines if each.kind is LineKind.COUPON)
    assert quarter == Line(
        kind=LineKind.COUPON,
        description="A quarter",
        quantity=D(1),
        unit="",
        unit_amount=None,
        unrounded=D("-10.00"),
        amount=-1_000,
        period_start=date(2026, 10, 1),
        period_end=date(2026, 10, 20),
        derivation={"code": "READ", "percent": "25", "base": 4_000, "parts": [[1, 1_000]]},
        references={"coupon_id": 3},
    )
    # 30.00 and 100.00 are left: 2.31 and 7.69 of ten.
    assert ten.derivation == {"at_most": 1_000, "base": 13_000, "parts": [[1, 231], [2, 769]]}
    assert (ten.period_start.isoformat(), ten.period_end.isoformat()) == tuple(OCTOBER)


def test_a_line_of_tax_says_its_rate_its_base_and_its_parts(statement):
    # Books 27.69 at 7 %: 1.94. Machines 92.31 at 20 %: 18.46.
    seven, twenty = (each for each in statement.lines if each.kind is LineKind.TAX)
    assert seven == Line(
        kind=LineKind.TAX,
        description="Tax 7%",
        quantity=D(1),
        unit="",
        unit_amount=None,
        unrounded=D("1.94"),
        amount=194,
        period_start=date(2026, 10, 1),
        period_end=date(2026, 10, 31),
        derivation={"percent": "7", "net": 2_769, "rounding": "line", "parts": [[1, 194]]},
    )
    assert twenty.description == "Tax 20%"
    assert twenty.derivation == {"percent": "20", "net": 9_231, "rounding": "line", "parts": [[2, 1_846]]}


def test_each_line_keeps_the_rate_that_it_was_taxed_at(statement):
    books, machines = statement.lines[:2]
    assert (books.tax, books.tax_percent, books.discount) == (194, D(7), 1_231)
    assert (machines.tax, machines.tax_percent, machines.discount) == (1_846, D(20), 769)


def test_a_line_that_gives_back_keeps_the_rate_of_the_month_that_taxed_it():
    back = line(-1_000, "Machines in May", kind=LineKind.ADJUSTMENT, product="Compute", tax_percent=D(16))
    statement = statement_of(line(10_000, "Machines", product="Compute"), back, tax=TAX)
    assert [(row.percent, row.net, row.tax) for row in statement.taxes] == [
        (D(16), -1_000, -160),
        (D(20), 10_000, 2_000),
    ]


def test_the_fingerprint_covers_everything_that_is_billed_and_nothing_else(statement):
    assert statement.fingerprint() == content_hash(
        {
            "currency": "USD",
            "lines": [each.facts() for each in statement.lines],
            "tax": {
                "amount": 2_040,
                "included": False,
                "rates": [
                    {"percent": "7", "net": 2_769, "tax": 194},
                    {"percent": "20", "net": 9_231, "tax": 1_846},
                ],
                "sentence": "",
            },
            "credits": {"9": 300, "10": 700},
            "balance_applied": 50,
            "amount_due": 12_990,
        }
    )


def test_a_coupon_lowers_no_true_up_and_a_promotional_credit_does():
    fee = line(2_000, "Fee", kind=LineKind.RECURRING)
    topped_up = line(3_000, "Minimum", kind=LineKind.TRUE_UP)
    half = Reduction(LineKind.COUPON, "Half", percent=D(50))
    sorry = Reduction(LineKind.PROMOTIONAL, "Sorry", fixed=9_999, references={"credit_grant_id": 1})
    statement = statement_of(fee, topped_up, reductions=[half, sorry])
    assert [(each.discount, each.credited) for each in statement.lines[:2]] == [(1_000, 1_000), (0, 3_000)]
    assert statement.promotional_used == {1: 4_000}
    assert statement.total == 0


def test_each_kind_takes_from_what_the_kinds_before_it_have_left():
    machines = line(1_000, "Machines", meter="seconds")
    sorry = [
        Reduction(LineKind.PROMOTIONAL, f"Sorry {grant}", fixed=600, references={"credit_grant_id": grant})
        for grant in (1, 2)
    ]
    reserved = Reduction(LineKind.RESERVATION, "Reserved", fixed=300, meters=frozenset({"seconds"}))
    statement = statement_of(machines, reductions=[*sorry, reserved])
    assert statement.promotional_used == {1: 600, 2: 100}
    assert [(each.description, each.derivation["base"]) for each in statement.lines[1:]] == [
        ("Reserved", 1_000),
        ("Sorry 1", 700),
        ("Sorry 2", 100),
    ]


@pytest.mark.parametrize(("corrected", "taken"), [(-400, 600), (-1_000, 0), (-1_500, 0)])
def test_a_reservation_pays_no_more_than_corrections_have_left_of_its_meters(corrected, taken):
    used = line(1_000, "Machines", meter="seconds")
    back = line(corrected, "Machines corrected", meter="seconds", kind=LineKind.ADJUSTMENT)
    other = line(700, "Disks", meter="disks")
    reserved = Reduction(LineKind.RESERVATION, "Reserved", fixed=800, meters=frozenset({"seconds"}))
    statement = statement_of(used, back, other, reductions=[reserved])
    assert sum(each.discount for each in statement.lines) == taken
    # A coupon of the same meter is no reservation: it takes what the line has.
    coupon = replace(reserved, kind=LineKind.COUPON)
    assert sum(each.discount for each in statement_of(used, back, other, reductions=[coupon]).lines) == 800
