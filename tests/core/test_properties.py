"""The core against an independent evaluation (reference.py), and what must hold for every input.

What the tests of a single module say already (parts add up, splits of a tax, reversals) is not repeated here.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.discounts import Coupon, discounts_of
from portal.core.exact import exactly
from portal.core.money import allocate, round_half_away, round_together
from portal.core.pricing import charge
from portal.core.quantities import Aggregation, Reading, aggregate, time_weighted
from portal.core.subscriptions import Fee, Period, change_of, split_fee
from portal.core.taxes import TaxRounding, tax_lines
from portal.core.terms import Model, Terms, Tier
from tests.core import reference

D = Decimal
START, END = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
OCTOBER = Period(START, END)
TIERED = (Model.GRADUATED, Model.VOLUME, Model.GRADUATED_PERCENTAGE)
AMOUNTS = st.decimals(0, 9, places=9)
LIMITS = st.integers(0, 2000).map(Decimal)
# Tier bounds and allowances come from the same few numbers, so that quantities often lie on one to the digit.
QUANTITIES = st.one_of(
    st.sampled_from([D(0), D(5), D("94.5"), D(95), D("99.5"), D(100)]), st.decimals(0, 300, places=12)
)
SEGMENTS = st.lists(QUANTITIES, min_size=1, max_size=5)
MOMENTS = st.timedeltas(timedelta(0), END - START).map(lambda passed: START + passed)
MANY_MOMENTS = st.lists(MOMENTS, max_size=5).map(sorted)


@st.composite
def limits(draw: st.DrawFn) -> dict[str, Decimal | None]:
    low, high = sorted([draw(LIMITS), draw(LIMITS)])
    return {
        "discount_percent": draw(st.sampled_from([D(0), D("12.5")])),
        "minimum": draw(st.sampled_from([D(0), low])),
        "maximum": draw(st.sampled_from([None, high])),
    }


@st.composite
def prices(draw: st.DrawFn, model: Model) -> Terms:
    """A price of this model whose other parts are set in any combination."""
    common = draw(limits())
    common["free_quantity"] = draw(st.sampled_from([D(0), D(5), D("99.5")])) if model is not Model.FLAT_FEE else D(0)
    if model in TIERED:
        bounds = sorted(draw(st.sets(st.sampled_from([D(5), D("94.5"), D(95), D(100)]), min_size=1, max_size=3)))
        tiers = tuple(Tier(bound, draw(AMOUNTS), draw(AMOUNTS)) for bound in [*bounds, None])
        return Terms(model, tiers=tiers, zero_usage_charges_first_flat=draw(st.booleans()), **common)
    size = draw(st.sampled_from([D(1), D("2.5"), D("33.3"), D(95)]))
    return Terms(model, unit_amount=draw(AMOUNTS), package_size=size, **common)


@st.composite
def percentages(draw: st.DrawFn) -> Terms:
    low, high = sorted([draw(st.decimals(0, 20, places=2)), draw(st.decimals(0, 20, places=2))])
    return Terms(
        Model.PERCENTAGE,
        unit_amount=D("0.0299"),
        fee_per_event=draw(st.sampled_from([D(0), D("0.3")])),
        free_events=draw(st.integers(0, 3)),
        free_quantity=draw(st.sampled_from([D(0), D(100), D("250.5")])),
        event_minimum=draw(st.sampled_from([D(0), low])),
        event_maximum=draw(st.sampled_from([None, high])),
        **draw(limits()),
    )


@pytest.mark.parametrize("model", Model)
@given(data=st.data(), segments=SEGMENTS)
@exactly
def test_after_every_segment_a_period_has_cost_what_the_rules_say(model, data, segments):
    terms = data.draw(prices(model))
    whole, reached, billed = sum(segments, D(0)), D(0), D(0)
    for number, quantity in enumerate(segments, 1):
        ends = number == len(segments)
        billed += charge(
            terms, quantity, already=reached, period_quantity=whole, already_billed=billed, period_ends=ends
        ).amount
        reached += quantity
        expected = reference.price(terms, Fraction(reached), of_period=Fraction(whole), ended=ends)
        assert Fraction(billed) == expected


@given(percentages(), st.lists(st.lists(st.decimals(0, 300, places=2), max_size=4), min_size=1, max_size=3))
@exactly
def test_after_every_segment_of_events_a_percentage_has_cost_what_the_rules_say(terms, segments):
    before: list[Decimal] = []
    billed = D(0)
    for number, events in enumerate(segments, 1):
        ends = number == len(segments)
        billed += charge(
            terms,
            sum(events, D(0)),
            already=sum(before, D(0)),
            already_billed=billed,
            period_ends=ends,
            events=events,
            already_events=len(before),
        ).amount
        before += events
        assert Fraction(billed) == reference.price_of_events(terms, [Fraction(event) for event in before], ended=ends)


@given(st.sampled_from([model for model in Model if model is not Model.VOLUME]).flatmap(prices), QUANTITIES, QUANTITIES)
def test_more_usage_never_costs_less_but_under_a_volume_price(terms, one, other):
    low, high = sorted([one, other])
    if low == 0 and terms.zero_usage_charges_first_flat:  # a flat amount that no usage costs may go with the first unit
        low = high
    assert charge(terms, low).amount <= charge(terms, high).amount


@given(percentages(), st.lists(st.decimals(0, 300, places=2), max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_events_matters_to_an_allowance_only(terms, events, random):
    terms = Terms(
        **{name: getattr(terms, name) for name in Terms.__slots__} | {"free_events": 0, "free_quantity": D(0)}
    )
    shuffled = random.sample(events, len(events))
    total = sum(events, D(0))
    assert charge(terms, total, events=events) == charge(terms, total, events=shuffled)


@given(st.integers(-(10**10), 10**10), st.lists(st.decimals(0, 10**6, places=6), min_size=1, max_size=8))
def test_a_total_is_split_as_one_would_deal_it_out_by_hand(total, weights):
    assert allocate(total, weights) == reference.split(total, [Fraction(weight) for weight in weights])


@given(st.lists(st.fractions(0, 10**6, max_denominator=6), max_size=8))
def test_amounts_are_rounded_together_as_one_would_deal_them_out_by_hand(amounts):
    whole = reference.rounded(sum(amounts, Fraction(0)))
    assert round_together(amounts) == reference.shared_out(whole, amounts)


@given(st.fractions(max_denominator=1000))
def test_one_rounding_rule_holds_everywhere(amount):
    assert round_half_away(amount) == reference.rounded(amount)


LINES = st.lists(st.integers(-100, 10**5), max_size=4)
INDEXES = st.one_of(st.none(), st.frozensets(st.integers(0, 3)))
COUPONS = st.lists(
    st.one_of(
        st.builds(Coupon, percent=st.decimals(0, 100, places=3), lines=INDEXES),
        st.builds(Coupon, fixed=st.integers(0, 10**5), lines=INDEXES),
    ),
    max_size=5,
)


@given(LINES, COUPONS)
def test_coupons_leave_of_each_line_what_the_rules_say(lines, coupons):
    left = [line - lost for line, lost in zip(lines, discounts_of(lines, coupons), strict=True)]
    assert left == reference.discounted(lines, coupons)


RATES = st.sampled_from([D(0), D(5), D(19), D("8.25"), D("23.33")])
TAXED = st.lists(st.tuples(st.integers(-(10**6), 10**8), RATES), min_size=1, max_size=8)


@given(TAXED, st.sampled_from(TaxRounding), st.booleans())
def test_each_mode_rounds_a_tax_where_it_says(lines, rounding, inclusive):
    amounts, percents = zip(*lines, strict=True)
    taxed = tax_lines(amounts, percents, rounding=rounding, inclusive=inclusive)
    for rate in set(percents):
        share = Fraction(rate) / 100
        of_rate = [line for line, percent in zip(taxed, percents, strict=True) if percent == rate]
        net, tax = sum(line.net for line in of_rate), sum(line.tax for line in of_rate)
        if rounding is TaxRounding.SUM_BY_NET:
            assert tax == reference.rounded(net * share)
        elif rounding is TaxRounding.KEEP_GROSS:
            assert net == reference.rounded((net + tax) / (1 + share))
        elif inclusive:
            assert all(line.net == reference.rounded(line.gross / (1 + share)) for line in of_rate)
        else:
            assert all(line.tax == reference.rounded(line.net * share) for line in of_rate)


@given(TAXED, st.sampled_from(TaxRounding), st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_the_lines_never_changes_what_an_invoice_taxes(lines, rounding, inclusive, random):
    amounts, percents = zip(*lines, strict=True)
    other_amounts, other_percents = zip(*random.sample(lines, len(lines)), strict=True)
    here = tax_lines(amounts, percents, rounding=rounding, inclusive=inclusive)
    there = tax_lines(other_amounts, other_percents, rounding=rounding, inclusive=inclusive)
    assert sum(line.tax for line in here) == sum(line.tax for line in there)
    assert sum(line.gross for line in here) == sum(line.gross for line in there)


@given(st.integers(0, 10**8), MANY_MOMENTS)
def test_a_fee_is_split_by_time_wherever_it_is_cut(amount, cuts):
    moments = [START, *cuts, END]
    lengths = [reference.seconds(start, end) for start, end in zip(moments, moments[1:], strict=False)]
    parts = split_fee(amount, OCTOBER, cuts)
    assert parts == reference.split(amount, lengths)
    assert sum(parts) == amount


FEES = st.one_of(st.none(), st.builds(Fee, st.decimals(0, 1000, places=4), st.integers(1, 50)))


@given(FEES, st.lists(st.tuples(MOMENTS, FEES), max_size=5).map(lambda each: sorted(each, key=lambda at: at[0])))
def test_however_often_a_plan_changes_a_period_costs_its_fees_by_time(first, changes):
    """Each line is rounded once, so the bill is at most half a unit per line away from the exact share of each fee."""
    billed = reference.rounded(first.amount * 100) if first else 0
    exact, fee, since, lines = Fraction(0), first, START, 1
    for at, new in changes:
        billed += change_of(OCTOBER, at, old=fee, new=new, currency="USD").net
        exact += (fee.amount if fee else 0) * 100 * reference.seconds(since, at)
        fee, since, lines = new, at, lines + 2
    exact += (fee.amount if fee else 0) * 100 * reference.seconds(since, END)
    assert abs(billed - exact / reference.seconds(START, END)) <= Fraction(lines, 2)


@given(st.builds(Fee, st.decimals(0, 1000, places=4), st.integers(1, 50)), MANY_MOMENTS)
def test_a_plan_that_is_cancelled_and_taken_again_at_once_costs_the_whole_fee(fee, cuts):
    for at in cuts:
        ended = change_of(OCTOBER, at, old=fee, new=None, currency="USD")
        begun = change_of(OCTOBER, at, old=None, new=fee, currency="USD")
        assert ended.net + begun.net == 0


VALUES = st.decimals(-1000, 1000, places=12)
READINGS = st.lists(st.builds(Reading, MOMENTS, VALUES, st.sampled_from("abc")), max_size=6)
CHANGES = st.lists(st.tuples(MOMENTS.map(lambda at: at + timedelta(-3)), VALUES), max_size=6)


@given(CHANGES, VALUES, st.randoms(use_true_random=False))
def test_a_mean_level_is_the_area_below_its_steps_in_any_order_of_the_reports(changes, level, random):
    exact = [(at, Fraction(change)) for at, change in changes]
    expected = reference.mean_level(exact, Fraction(level), START, END)
    for each in (changes, random.sample(changes, len(changes))):
        assert time_weighted(each, start=START, end=END, level=level) == expected


@given(READINGS, READINGS)
def test_what_two_halves_report_comes_together_as_one(first, later):
    both = [*first, *later]
    for how, together in ((Aggregation.SUM, sum), (Aggregation.COUNT, sum), (Aggregation.MAX, max)):
        halves = [Fraction(aggregate(how, half)) for half in (first, later) if half]
        assert Fraction(aggregate(how, both)) == (together(halves) if halves else 0)
    assert aggregate(Aggregation.UNIQUE, both) == len(
        {each.subject for each in first} | {each.subject for each in later}
    )
    if both:
        newest = max(each.occurred_at for each in both)
        assert aggregate(Aggregation.LATEST, both) in [each.value for each in both if each.occurred_at == newest]
