"""Prices: tables worked by hand, and an independent evaluation with fractions."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.errors import InvalidInput
from portal.core.pricing import Model, Terms, Tier, charge, terms_from_json, terms_to_json

D = Decimal
TIERS = (Tier(D(10), D(5), D(1)), Tier(D(99), D(2), D(3)), Tier(None, D("0.5"), D(7)))


def amount(terms: Terms, quantity: str, **more: Decimal) -> Decimal:
    return charge(terms, D(quantity), **more).amount


def graduated(*tiers: Tier, **more: object) -> Terms:
    return Terms(Model.GRADUATED, tiers=tiers or TIERS, **more)


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("0", "0"),
        ("0.0000004", "1.000002"),  # 0.0000004 × 5 + 1
        ("10", "51"),  # the bound itself belongs to the lower tier: 10 × 5 + 1
        ("10.000000000001", "54.000000000002"),  # and what lies above it enters the next: 51 + … × 2 + 3
        ("99", "232"),  # 51 + 89 × 2 + 3
        ("99.5", "239.25"),  # 232 + 0.5 × 0.5 + 7
        ("100", "239.5"),
    ],
)
def test_a_quantity_on_a_tier_boundary_is_priced_in_the_lower_tier(quantity, expected):
    assert amount(graduated(), quantity) == D(expected)


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("0", "0"), ("10", "51"), ("10.5", "24"), ("99", "201"), ("99.5", "56.75"), ("200", "107")],
)
def test_a_volume_price_takes_one_tier_for_the_whole_quantity(quantity, expected):
    assert amount(Terms(Model.VOLUME, tiers=TIERS), quantity) == D(expected)


def test_a_volume_price_picks_its_tier_by_the_whole_periods_quantity_and_takes_its_flat_amount_once():
    terms = Terms(Model.VOLUME, tiers=TIERS)
    first = charge(terms, D(8), period_quantity=D(120)).amount
    later = charge(terms, D(112), already=D(8), period_quantity=D(120)).amount
    assert (first, later) == (D(11), D(56))  # 8 × 0.5 + 7, then 112 × 0.5
    assert first + later == amount(terms, "120")


@pytest.mark.parametrize(
    ("quantity", "packages"), [("0", 0), ("0.1", 1), ("100", 1), ("100.000000000001", 2), ("101", 2), ("1000", 10)]
)
def test_a_begun_package_is_a_whole_one(quantity, packages):
    assert amount(Terms(Model.PACKAGE, unit_amount=D(3), package_size=D(100)), quantity) == 3 * packages


def test_packages_of_a_third_are_counted_exactly():
    terms = Terms(Model.PACKAGE, unit_amount=D(1), package_size=D("0.3"))
    assert [amount(terms, quantity) for quantity in ("0.3", "0.6", "0.9", "0.91")] == [1, 2, 3, 4]


def test_a_unit_price_far_below_a_cent_keeps_every_digit():
    terms = Terms(Model.PER_UNIT, unit_amount=D("0.0000008"))
    assert amount(terms, "2592000.000000000001") == D("2.0736000000000000008")


def test_a_flat_fee_is_multiplied_by_its_quantity():
    assert amount(Terms(Model.FLAT_FEE, unit_amount=D(29)), "3") == 87


@pytest.mark.parametrize(
    ("quantity", "already", "expected"),
    [("5", "0", "0"), ("8", "0", "0"), ("10", "0", "4"), ("5", "6", "6"), ("5", "8", "10"), ("5", "20", "10")],
)
def test_the_free_quantity_is_granted_once_a_period(quantity, already, expected):
    terms = Terms(Model.PER_UNIT, unit_amount=D(2), free_quantity=D(8))
    assert amount(terms, quantity, already=D(already)) == D(expected)


def test_zero_usage_takes_the_first_flat_amount_only_where_the_price_says_so():
    for model in (Model.GRADUATED, Model.VOLUME):
        assert amount(Terms(model, tiers=TIERS), "0") == 0
        assert amount(Terms(model, tiers=TIERS, zero_usage_charges_first_flat=True), "0") == 1


@pytest.mark.parametrize("model", [Model.GRADUATED, Model.VOLUME])
def test_the_first_flat_amount_is_not_taken_twice_when_the_first_segment_stays_within_the_allowance(model):
    terms = Terms(model, tiers=TIERS, free_quantity=D(100), zero_usage_charges_first_flat=True)
    first = charge(terms, D(50), period_quantity=D(105)).amount
    later = charge(terms, D(55), already=D(50), period_quantity=D(105)).amount
    assert first + later == amount(terms, "105") == 26  # 5 × 5 + 1


def test_the_steps_say_how_the_amount_came_about():
    steps = charge(graduated(), D("99.5")).steps
    assert [(step.quantity, step.unit_amount, step.flat_amount, step.amount) for step in steps] == [
        (D(10), D(5), D(1), D(51)),
        (D(89), D(2), D(3), D(181)),
        (D("0.5"), D("0.5"), D(7), D("7.25")),
    ]


QUANTITIES = st.decimals(0, 10**9, allow_nan=False, allow_infinity=False, places=12)
AMOUNTS = st.decimals(0, 1000, allow_nan=False, allow_infinity=False, places=9)


@st.composite
def tiered(draw: st.DrawFn) -> tuple[Tier, ...]:
    bounds = sorted(draw(st.sets(st.decimals("0.5", 1000, places=2), min_size=0, max_size=4)))
    return tuple(Tier(bound, draw(AMOUNTS), draw(AMOUNTS)) for bound in [*bounds, None])


@st.composite
def any_terms(draw: st.DrawFn) -> Terms:
    model = draw(st.sampled_from([Model.PER_UNIT, Model.GRADUATED, Model.VOLUME, Model.PACKAGE]))
    free = draw(st.sampled_from([D(0), D(5), D("99.5")]))
    if model in (Model.GRADUATED, Model.VOLUME):
        return Terms(model, tiers=draw(tiered()), free_quantity=free)
    size = draw(st.decimals("0.1", 100, places=1))
    if model is Model.PER_UNIT:
        size = D(1)
    return Terms(model, unit_amount=draw(AMOUNTS), package_size=size, free_quantity=free)


def evaluate(terms: Terms, quantity: Decimal) -> Fraction:
    """The same price, worked out another way: slices of the number line, in fractions."""
    billable = max(Fraction(quantity) - Fraction(terms.free_quantity), Fraction(0))
    if terms.model is Model.PER_UNIT:
        return billable * Fraction(terms.unit_amount)
    if terms.model is Model.PACKAGE:
        return -(-billable // Fraction(terms.package_size)) * Fraction(terms.unit_amount)
    bounds = [None if tier.up_to is None else Fraction(tier.up_to) for tier in terms.tiers]
    if terms.model is Model.VOLUME:
        tier = next(t for t, bound in zip(terms.tiers, bounds, strict=True) if bound is None or billable <= bound)
        return billable * Fraction(tier.unit_amount) + (Fraction(tier.flat_amount) if billable else 0)
    total, floor = Fraction(0), Fraction(0)
    for tier, bound in zip(terms.tiers, bounds, strict=True):
        slice_end = billable if bound is None else min(billable, bound)
        if slice_end > floor:
            total += (slice_end - floor) * Fraction(tier.unit_amount) + Fraction(tier.flat_amount)
        floor = bound if bound is not None else floor
    return total


@given(any_terms(), st.one_of(QUANTITIES, st.decimals(0, 1200, places=2)))
def test_every_price_agrees_with_an_evaluation_in_fractions(terms, quantity):
    result = charge(terms, quantity)
    assert Fraction(result.amount) == evaluate(terms, quantity)
    assert sum((step.amount for step in result.steps), D(0)) == result.amount


@given(any_terms(), st.lists(st.decimals(0, 500, places=2), min_size=1, max_size=5))
def test_a_period_priced_in_segments_costs_what_it_costs_at_once(terms, segments):
    """However many segments a month is cut into, the progressive charges add up to the charge of the whole."""
    whole, already, total = sum(segments, D(0)), D(0), D(0)
    for quantity in segments:
        total += charge(terms, quantity, already=already, period_quantity=whole).amount
        already += quantity
    assert total == charge(terms, whole).amount


@given(tiered(), st.decimals(0, 1200, places=2), st.decimals(0, 1200, places=2))
def test_more_usage_never_costs_less_under_a_graduated_price(tiers, one, other):
    low, high = sorted([one, other])
    assert charge(graduated(*tiers), low).amount <= charge(graduated(*tiers), high).amount


@given(any_terms())
def test_terms_survive_being_stored(terms):
    stored = terms_to_json(terms)
    again = terms_from_json(stored)
    assert again == terms
    assert terms_to_json(again) == stored


ONE_TIER = [{"up_to": None, "unit_amount": "1"}]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "model"),
        ({"model": "cheap"}, "model"),
        ({"model": ["per_unit"]}, "model"),
        ({"model": "per_unit", "tiers": ONE_TIER}, "tiers"),
        ({"model": "per_unit", "unit_amuont": "1"}, "unit_amuont"),
        ({"model": "per_unit", "unit_amount": "-1"}, "unit_amount"),
        ({"model": "per_unit", "unit_amount": "NaN"}, "unit_amount"),
        ({"model": "per_unit", "unit_amount": "Infinity"}, "unit_amount"),
        ({"model": "per_unit", "unit_amount": "one"}, "unit_amount"),
        ({"model": "per_unit", "unit_amount": True}, "unit_amount"),
        ({"model": "per_unit", "unit_amount": None}, "unit_amount"),
        ({"model": "per_unit", "free_quantity": "-0.1"}, "free_quantity"),
        ({"model": "package", "package_size": "0"}, "package_size"),
        ({"model": "flat_fee", "free_quantity": "1"}, "free_quantity"),
        ({"model": "graduated"}, "tiers"),
        ({"model": "graduated", "tiers": []}, "tiers"),
        ({"model": "graduated", "tiers": "1"}, "tiers"),
        ({"model": "graduated", "tiers": ["1"]}, "tiers[0]"),
        ({"model": "graduated", "tiers": [{"up_to": None, "unit_amuont": "1"}]}, "tiers[0].unit_amuont"),
        ({"model": "volume", "tiers": [{"up_to": "5"}]}, "tiers[0].up_to"),
        ({"model": "volume", "tiers": [{"up_to": None}, {"up_to": None}]}, "tiers[0].up_to"),
        ({"model": "volume", "tiers": [{"up_to": "5"}, {"up_to": "5"}, *ONE_TIER]}, "tiers[1].up_to"),
        ({"model": "volume", "tiers": [{"up_to": "0"}, *ONE_TIER]}, "tiers[0].up_to"),
        ({"model": "graduated", "tiers": [{"up_to": None, "unit_amount": "-1"}]}, "tiers[0].unit_amount"),
        ({"model": "graduated", "tiers": [{"up_to": None, "flat_amount": "x"}]}, "tiers[0].flat_amount"),
    ],
)
def test_terms_that_cannot_be_priced_are_refused_and_the_field_is_named(document, field):
    with pytest.raises(InvalidInput) as refused:
        terms_from_json(document)
    assert refused.value.field == field
