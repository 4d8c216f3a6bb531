"""Tax: three modes of rounding, treatments, credit notes; the lines always add up."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.errors import InvalidInput
from portal.core.money import round_half_away
from portal.core.taxes import (
    Taxed,
    TaxRate,
    TaxRounding,
    TaxTerms,
    TaxTreatment,
    credit_line,
    split_by_rate,
    tax_lines,
    total_of,
)

D = Decimal
RATES = st.sampled_from([D(0), D(5), D(19), D("8.25"), D("23.33")])
LINES = st.lists(st.tuples(st.integers(-(10**6), 10**8), RATES), min_size=1, max_size=12)


def taxed(amounts, percent, **more):
    return tax_lines(amounts, [D(percent)] * len(amounts), **more)


@pytest.mark.parametrize(
    ("rounding", "net", "tax"),
    [
        (TaxRounding.LINE, 42015, 7985),
        (TaxRounding.SUM_BY_NET, 42015, 7983),
        (TaxRounding.KEEP_GROSS, 42017, 7983),
    ],
)
def test_five_inclusive_prices_of_100_under_each_mode(rounding, net, tax):
    lines = taxed([10000] * 5, "19", rounding=rounding, inclusive=True)
    assert total_of(lines) == Taxed(net, tax)


def test_exclusive_prices_are_rounded_once_on_the_sum_and_the_lines_add_up_to_it():
    # 6,833 × 20 % = 1,366.6 twice, 1,150 and 1,700: together 5,583.2, but 5,584 line by line.
    amounts = [6833, 6833, 5750, 8500]
    assert [line.tax for line in taxed(amounts, "20")] == [1367, 1366, 1150, 1700]
    assert total_of(taxed(amounts, "20", rounding=TaxRounding.LINE)).tax == 5584


def test_every_rate_is_rounded_by_itself():
    lines = tax_lines([15000, 8000, 3], [D(20), D(5), D(20)])
    assert [line.tax for line in lines] == [3000, 400, 1]


@given(LINES, st.booleans())
def test_the_taxes_of_the_lines_add_up_to_one_rounding_per_rate(lines, inclusive):
    amounts, percents = zip(*lines, strict=True)
    taxed_lines = tax_lines(amounts, percents, inclusive=inclusive)
    expected = 0
    for rate in set(percents):
        net = sum(line.net for line, percent in zip(taxed_lines, percents, strict=True) if percent == rate)
        expected += round_half_away(net * Fraction(rate) / 100)
    assert total_of(taxed_lines).tax == expected


@given(LINES, st.sampled_from(TaxRounding))
def test_no_mode_moves_a_line_by_a_whole_unit_and_each_keeps_what_it_says(lines, rounding):
    amounts, percents = zip(*lines, strict=True)
    for line, amount, percent in zip(tax_lines(amounts, percents, rounding=rounding), amounts, percents, strict=True):
        assert abs(line.tax - amount * Fraction(percent) / 100) < 2
        if rounding is not TaxRounding.KEEP_GROSS:
            assert line.net == amount
    gross = tax_lines(amounts, percents, rounding=rounding, inclusive=True)
    for line, amount in zip(gross, amounts, strict=True):
        if rounding is not TaxRounding.SUM_BY_NET:
            assert line.gross == amount


@given(LINES, st.sampled_from(TaxRounding), st.booleans())
def test_a_reversed_invoice_has_the_reversed_tax(lines, rounding, inclusive):
    amounts, percents = zip(*lines, strict=True)
    there = total_of(tax_lines(amounts, percents, rounding=rounding, inclusive=inclusive))
    back = total_of(tax_lines([-each for each in amounts], percents, rounding=rounding, inclusive=inclusive))
    assert (back.net, back.tax) == (-there.net, -there.tax)


DAY = date(2026, 10, 31)


def test_the_most_specific_rate_that_holds_on_the_day_is_taken():
    everybodys = (TaxRate(D(19)), TaxRate(D(7), product="books"))
    assert TaxTerms(rates=everybodys).percent_of("books") == 7
    assert TaxTerms(rates=everybodys).percent_of("machines") == 19
    own = (*everybodys, TaxRate(D(20), own=True))
    assert TaxTerms(rates=own).percent_of("books") == 20
    of_product = (*own, TaxRate(D(5), product="books", own=True))
    assert TaxTerms(rates=of_product).percent_of("books") == 5
    later = (TaxRate(D(19)), TaxRate(D(16), date(2026, 7, 1)), TaxRate(D(21), date(2026, 11, 1)))
    assert [TaxTerms(rates=later, day=day).percent_of("") for day in (date(2026, 6, 30), DAY, date(2026, 11, 1))] == [
        19,
        16,
        21,
    ]
    assert TaxTerms().percent_of("books") == 0


def test_an_items_own_tax_code_takes_the_rate_that_it_names():
    rates = (TaxRate(D(19)), TaxRate(D(7), product="books"))
    for code, percent in (("standard", 19), ("exempt", 0), ("product:books", 7), ("product:machines", 19)):
        assert TaxTerms(rates=rates).percent_of_code(code) == percent
        assert TaxTerms(TaxTreatment.REVERSE_CHARGE, rates).percent_of_code(code) == 0


@pytest.mark.parametrize("treatment", [TaxTreatment.EXEMPT, TaxTreatment.REVERSE_CHARGE])
def test_who_is_exempt_or_liable_itself_pays_no_tax_and_the_invoice_says_why(treatment):
    terms = TaxTerms(treatment, (TaxRate(D(19)), TaxRate(D(20), own=True)))
    assert terms.percent_of("machines") == 0
    assert treatment.sentence
    assert not TaxTreatment.STANDARD.sentence
    assert taxed([10000], terms.percent_of("machines"), inclusive=True) == [Taxed(10000, 0)]


def test_every_amount_has_a_rate():
    with pytest.raises(ValueError, match="shorter"):
        tax_lines([100, 200], [D(20)])


@pytest.mark.parametrize("percent", ["-1", "NaN", "Infinity"])
def test_a_rate_below_zero_or_none_at_all_is_refused(percent):
    with pytest.raises(InvalidInput) as refused:
        TaxRate(D(percent))
    assert (refused.value.field, refused.value.sentence) == ("percent", f"A tax rate is zero or more, not {percent}.")


def test_the_tax_of_several_rates_is_split_so_that_it_adds_up():
    assert split_by_rate(800, [D(6), D(2)]) == [600, 200]
    assert split_by_rate(5, [D(1), D(1), D(1)]) == [2, 2, 1]


def test_crediting_an_invoice_line_by_line_gives_back_what_was_billed():
    lines = taxed([6833, 6833, 5750, 8500], "20")
    notes = [credit_line(line, line.net) for line in lines]
    assert total_of(notes).gross == total_of(lines).gross == 33499


@given(st.integers(1, 10**8), st.integers(0, 10**7), st.lists(st.integers(0, 10**8), max_size=5))
def test_however_a_line_is_credited_its_tax_goes_back_exactly(net, tax, wanted):
    billed, credited = Taxed(net, tax), Taxed(0, 0)
    for part in [*wanted, net]:
        note = credit_line(billed, min(part, billed.net - credited.net), credited=credited)
        assert note.tax >= 0
        credited = Taxed(credited.net + note.net, credited.tax + note.tax)
    assert credited == billed


def test_more_than_the_line_has_left_is_not_credited():
    with pytest.raises(InvalidInput) as refused:
        credit_line(Taxed(100, 20), 61, credited=Taxed(40, 8))
    assert (refused.value.field, refused.value.sentence) == ("amount", "The line has 60 left to credit, not 61.")
    assert credit_line(Taxed(0, 0), 0) == Taxed(0, 0)
