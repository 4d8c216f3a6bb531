"""The way from lines to the amount due: reservation, coupons, credits, tax, and what stands beside each line."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from portal.core.commitments import CreditGrant
from portal.core.statement import Line, LineKind, Reduction, compose, tax_facts
from portal.core.taxes import TaxRate, TaxRounding, TaxTerms, TaxTreatment

D = Decimal
TAKEN_OFF = (LineKind.RESERVATION, LineKind.COUPON, LineKind.PROMOTIONAL)


def line(amount: int, description: str = "Machines", *, product: str = "Compute", meter: str = "", **more) -> Line:
    return Line(
        kind=more.pop("kind", LineKind.USAGE),
        description=description,
        quantity=D(1),
        unit="second",
        unit_amount=D("0.5"),
        unrounded=D(amount) / 100,
        amount=amount,
        period_start=date(2026, 10, 1),
        period_end=date(2026, 10, 31),
        product=product,
        meter=meter,
        **more,
    )


def coupon(percent: str | None = None, *, fixed: int | None = None, products: tuple[str, ...] = ()) -> Reduction:
    return Reduction(
        LineKind.COUPON, "Coupon", None if percent is None else D(percent), fixed, products=frozenset(products)
    )


def vat(percent: str, **more) -> TaxTerms:
    return TaxTerms(rates=(TaxRate(D(percent)),), **more)


def rows(statement, *kinds: LineKind) -> list[tuple[str, int]]:
    return [(each.description, each.amount) for each in statement.lines if each.kind in kinds]


def test_everything_at_once_in_its_order():
    # Machines 100.00, disks 50.00. The reservation pays 30.00 of the machines: 70.00 + 50.00.
    # 10 % off the machines: 7.00, leaves 63.00 + 50.00. 5 % off everything: 5.65, leaves 107.35.
    # A promotional credit of 7.35 leaves 100.00, of which 20 % tax are 20.00: total 120.00.
    # Prepaid credit pays 100.00, the balance 15.00; 5.00 are due.
    statement = compose(
        [line(10_000, "Machines", meter="machine_seconds"), line(5_000, "Disks", product="Storage")],
        currency="USD",
        balance=1_500,
        reductions=[
            Reduction(LineKind.PROMOTIONAL, "Sorry", fixed=735, references={"credit_grant_id": 7}),
            coupon("5"),
            coupon("10", products=("Compute",)),
            Reduction(LineKind.RESERVATION, "Reserved", fixed=3_000, meters=frozenset({"machine_seconds"})),
        ],
        prepaid=[CreditGrant(9, 10_000)],
        tax=vat("20"),
    )
    assert [(each.kind, each.amount) for each in statement.lines] == [
        (LineKind.USAGE, 5_000),
        (LineKind.USAGE, 10_000),
        (LineKind.RESERVATION, -3_000),
        (LineKind.COUPON, -565),
        (LineKind.COUPON, -700),
        (LineKind.PROMOTIONAL, -735),
        (LineKind.TAX, 2_000),
    ]
    assert (statement.subtotal, statement.tax, statement.total) == (15_000, 2_000, 12_000)
    assert (statement.credits_used, statement.promotional_used) == ({9: 10_000}, {7: 735})
    assert (statement.balance_applied, statement.amount_due) == (1_500, 500)


def test_a_reservation_pays_only_for_its_meters_and_what_is_left_of_it_is_lost():
    reserved = Reduction(LineKind.RESERVATION, "Reserved", fixed=3_000, meters=frozenset({"machine_seconds"}))
    statement = compose(
        [line(1_000, meter="machine_seconds"), line(9_000, "Disks", meter="disks")],
        currency="USD",
        reductions=[reserved],
    )
    assert rows(statement, LineKind.RESERVATION) == [("Reserved", -1_000)]
    assert statement.total == 9_000


def test_what_takes_nothing_off_has_no_line():
    statement = compose([line(1_000)], currency="USD", reductions=[coupon("10", products=("Storage",)), coupon("0")])
    assert rows(statement, *TAKEN_OFF) == []


def test_nothing_is_taken_off_a_fee_that_is_given_back():
    # A fee of 100.00 is cut short: 60.00 go back. Half off is half of the 40.00 that were used, not of 100.00.
    fee = line(10_000, "Support", kind=LineKind.RECURRING, given_back=6_000)
    back = line(-6_000, "Support, unused time", kind=LineKind.RECURRING)
    assert compose([fee, back], currency="USD", reductions=[coupon("50")]).total == 2_000
    assert compose([fee, back], currency="USD", reductions=[coupon(fixed=9_900)]).total == 0


def test_tax_is_added_by_rate_and_each_line_knows_its_part():
    terms = TaxTerms(rates=(TaxRate(D(19)), TaxRate(D(7), product="Books")))
    statement = compose(
        [line(1_000), line(2_000, "Disks"), line(500, "Atlas", product="Books")], currency="EUR", tax=terms
    )
    assert rows(statement, LineKind.TAX) == [("Tax 7%", 35), ("Tax 19%", 570)]
    assert {each.description: each.tax for each in statement.lines[:3]} == {"Machines": 190, "Disks": 380, "Atlas": 35}
    assert tax_facts(statement) == {
        "amount": 605,
        "included": False,
        "rates": [{"percent": "7", "net": 500, "tax": 35}, {"percent": "19", "net": 3_000, "tax": 570}],
        "sentence": "",
    }


def test_prices_that_include_tax_keep_their_total():
    statement = compose([line(11_900)], currency="EUR", tax=vat("19", inclusive=True, rounding=TaxRounding.KEEP_GROSS))
    assert (statement.total, statement.tax, rows(statement, LineKind.TAX)) == (11_900, 1_900, [])


def test_five_inclusive_prices_of_100_move_by_two_cents_when_the_net_is_kept():
    """pretix' example: 5 × 84.03 net, 19 % of 420.15 are 79.83, so 499.98 instead of 500.00."""
    fives = [line(10_000, f"Ticket {number}") for number in range(5)]
    statement = compose(fives, currency="EUR", tax=vat("19", inclusive=True))
    assert (statement.total, statement.tax) == (49_998, 7_983)
    assert rows(statement, LineKind.TAX) == [("Rounding by the tax", -2)]


def test_prices_without_tax_whose_gross_is_kept_move_their_net():
    # 19 % of 0.03 is 0.0057, so 0.01 a line; ten gross prices of 0.04 are 0.40, which hold 0.06 of tax and 0.34 net.
    cheap = [line(3, f"Ticket {number}") for number in range(10)]
    statement = compose(cheap, currency="EUR", tax=vat("19", rounding=TaxRounding.KEEP_GROSS))
    assert (statement.total, statement.tax) == (40, 6)
    assert rows(statement, LineKind.TAX) == [("Tax 19%", 6), ("Rounding by the tax", 4)]


def test_reverse_charge_adds_nothing_and_says_why():
    statement = compose([line(1_000)], currency="EUR", tax=vat("19", treatment=TaxTreatment.REVERSE_CHARGE))
    facts = tax_facts(statement)
    assert statement.total == 1_000
    assert facts is not None
    assert facts["sentence"] == "Reverse charge: the recipient is liable for the tax."
    assert tax_facts(compose([line(1_000)], currency="EUR")) is None


def test_a_credit_above_the_charges_gives_its_tax_back_and_is_carried():
    statement = compose([line(1_000), line(-3_000, "Sorry", kind=LineKind.CREDIT)], currency="EUR", tax=vat("20"))
    assert (statement.total, statement.tax, statement.amount_due, statement.carried_forward) == (-2_400, -400, 0, 2_400)


@given(st.sampled_from([{"tax": vat("19")}, {"reductions": [coupon("10")]}, {"prepaid": [CreditGrant(1, 5)]}]))
def test_whatever_changes_the_amount_changes_the_fingerprint(more):
    plain = compose([line(1_000)], currency="EUR")
    assert compose([line(1_000)], currency="EUR", **more).fingerprint() != plain.fingerprint()


LINES = st.lists(
    st.builds(
        line,
        st.integers(-(10**5), 10**6),
        st.sampled_from("abc"),
        product=st.sampled_from(["Compute", "Books"]),
        meter=st.sampled_from(["m", "n"]),
        kind=st.sampled_from([kind for kind in LineKind if kind not in (*TAKEN_OFF, LineKind.TAX)]),
    ),
    min_size=1,
    max_size=10,
)
REDUCTIONS = st.lists(
    st.one_of(
        st.builds(
            coupon, st.sampled_from(["0", "12.5", "33.333333", "100"]), products=st.sampled_from([(), ("Books",)])
        ),
        st.builds(coupon, fixed=st.integers(0, 10**6)),
        st.builds(
            lambda amount: Reduction(LineKind.RESERVATION, "R", fixed=amount, meters=frozenset("m")),
            st.integers(0, 10**6),
        ),
        st.builds(
            lambda amount, grant: Reduction(
                LineKind.PROMOTIONAL, "P", fixed=amount, references={"credit_grant_id": grant}
            ),
            st.integers(1, 10**6),
            st.integers(1, 99),
        ),
    ),
    max_size=4,
    unique_by=lambda each: (each.kind, each.percent, each.fixed, each.references.get("credit_grant_id")),
)
TAXES = st.builds(
    lambda general, books, rounding, inclusive: TaxTerms(
        rates=(TaxRate(D(general)), TaxRate(D(books), product="Books")), rounding=rounding, inclusive=inclusive
    ),
    st.sampled_from(["0", "19", "8.25"]),
    st.sampled_from(["0", "7", "23.33"]),
    st.sampled_from(TaxRounding),
    st.booleans(),
)


@given(LINES, REDUCTIONS, TAXES, st.integers(0, 10**6), st.lists(st.integers(1, 10**6), max_size=3))
def test_no_cent_is_lost_or_made_on_the_way(lines, reductions, tax, balance, prepaid):
    grants = [CreditGrant(number, left) for number, left in enumerate(prepaid)]
    statement = compose(lines, currency="USD", balance=balance, reductions=reductions, prepaid=grants, tax=tax)
    charged = [each for each in statement.lines if each.kind not in (*TAKEN_OFF, LineKind.TAX)]
    taken = {kind: -sum(each.amount for each in statement.lines if each.kind is kind) for kind in TAKEN_OFF}
    # The lines add up to the total, what was taken off and the tax add up line by line.
    assert statement.total == sum(each.amount for each in statement.lines)
    assert statement.subtotal == sum(each.amount for each in lines)
    assert sum(each.discount for each in charged) == taken[LineKind.RESERVATION] + taken[LineKind.COUPON]
    assert sum(each.credited for each in charged) == taken[LineKind.PROMOTIONAL]
    assert statement.tax == sum(each.tax for each in charged) == sum(row.tax for row in statement.taxes)
    net = sum(each.amount - each.discount - each.credited for each in charged)
    moved = statement.total - net - (0 if tax.inclusive else statement.tax)
    assert abs(moved) <= len(charged)
    if tax.rounding is TaxRounding.LINE or tax.inclusive is (tax.rounding is TaxRounding.KEEP_GROSS):
        assert moved == 0
    for each in charged:
        assert 0 <= each.discount + each.credited <= max(each.amount, 0)
    for each in statement.lines:
        if each.kind in TAKEN_OFF:
            assert -each.amount == sum(part for _, part in each.derivation["parts"])
    # Nobody pays twice and nobody is overpaid.
    paid = statement.credits_applied + statement.balance_applied + statement.amount_due
    assert paid == max(statement.total, 0)
    assert all(0 < used <= grants[grant].left for grant, used in statement.credits_used.items())
    # The tax of a rate is at most half a cent a line away from the exact one.
    for row in statement.taxes:
        exact = Fraction(row.net) * Fraction(row.percent) / 100
        assert abs(row.tax - exact) <= Fraction(len(charged) + 1, 2)


@given(LINES, REDUCTIONS, TAXES)
def test_the_order_in_which_things_are_found_does_not_matter(lines, reductions, tax):
    unique = [replace(each, description=f"{each.description}{number}") for number, each in enumerate(lines)]
    one = compose(unique, currency="USD", reductions=reductions, tax=tax)
    other = compose(unique[::-1], currency="USD", reductions=reductions, tax=tax)
    assert one.fingerprint() == other.fingerprint()
