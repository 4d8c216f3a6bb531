"""Prices: tables worked by hand, and an independent evaluation with fractions."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.errors import InvalidInput
from portal.core.pricing import (
    Model,
    StepKind,
    Terms,
    Tier,
    charge,
    charge_prorated,
    terms_from_json,
    terms_to_json,
)
from tests.core.refusals import assert_sentence

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


LIMITS = st.decimals(0, 5000, places=2)
TIERED = (Model.GRADUATED, Model.VOLUME, Model.GRADUATED_PERCENTAGE)


@st.composite
def any_terms(draw: st.DrawFn) -> Terms:
    """A price of any model, with an allowance, a discount, a minimum and a maximum in any combination."""
    model = draw(st.sampled_from(Model))
    low, high = sorted([draw(LIMITS), draw(LIMITS)])
    common = {
        "free_quantity": D(0) if model is Model.FLAT_FEE else draw(st.sampled_from([D(0), D(5), D("99.5")])),
        "discount_percent": draw(st.sampled_from([D(0), D("12.5"), D(100)])),
        "minimum": draw(st.sampled_from([D(0), low])),
        "maximum": draw(st.sampled_from([None, high])),
    }
    if model in TIERED:
        return Terms(model, tiers=draw(tiered()), **common)
    if model is Model.PACKAGE:
        common["package_size"] = draw(st.decimals("0.1", 100, places=1))
    return Terms(model, unit_amount=draw(AMOUNTS), **common)


def evaluate(terms: Terms, quantity: Decimal) -> Fraction:
    """The same price, worked out another way: slices of the number line, in fractions."""
    amount = evaluate_model(terms, max(Fraction(quantity) - Fraction(terms.free_quantity), Fraction(0)))
    amount *= 1 - Fraction(terms.discount_percent) / 100
    amount = max(amount, Fraction(terms.minimum))
    return amount if terms.maximum is None else min(amount, Fraction(terms.maximum))


def evaluate_model(terms: Terms, billable: Fraction) -> Fraction:
    if terms.model in (Model.PER_UNIT, Model.FLAT_FEE, Model.PERCENTAGE):
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
    assert sum(Fraction(step.amount) for step in result.steps) == Fraction(result.amount)


@given(any_terms(), st.lists(st.decimals(0, 500, places=2), min_size=1, max_size=5))
def test_a_period_priced_in_segments_costs_what_it_costs_at_once(terms, segments):
    """However many segments a month is cut into, the progressive charges add up to the charge of the whole."""
    whole, already, total = sum(segments, D(0)), D(0), D(0)
    for number, quantity in enumerate(segments, 1):
        total += charge(
            terms,
            quantity,
            already=already,
            period_quantity=whole,
            already_billed=total,
            period_ends=number == len(segments),
        ).amount
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


# Allowance, then the model, then discount, minimum and maximum.
LIMITED = Terms(
    Model.PER_UNIT,
    unit_amount=D(10),
    free_quantity=D(5),
    discount_percent=D(50),
    minimum=D(20),
    maximum=D(100),
)


@pytest.mark.parametrize(
    ("quantity", "expected", "discount", "added", "taken"),
    [
        ("0", "20", "0", "20", "0"),
        ("5", "20", "0", "20", "0"),  # all of it free, so the minimum
        ("7", "20", "-10", "10", "0"),  # 2 × 10, half off, raised from 10
        ("9", "20", "-20", "0", "0"),  # 4 × 10, half off, the minimum to the digit
        ("15", "50", "-50", "0", "0"),
        ("35", "100", "-150", "0", "-50"),  # 30 × 10, half off, cut from 150
    ],
)
def test_the_allowance_comes_first_then_the_discount_then_the_limits(quantity, expected, discount, added, taken):
    result = charge(LIMITED, D(quantity))
    assert result.amount == D(expected)
    kinds = (StepKind.DISCOUNT, StepKind.MINIMUM, StepKind.MAXIMUM)
    assert [result.sum_of(kind) for kind in kinds] == [D(discount), D(added), D(taken)]
    assert {step.quantity for step in result.steps if step.kind in kinds} <= {D(1)}


def test_the_flat_amount_of_an_idle_period_is_said_once_by_its_first_segment():
    terms = graduated(Tier(D(5), D(1), D(7)), Tier(None, D(1)), free_quantity=D(10), zero_usage_charges_first_flat=True)
    assert charge(terms, D(0)).amount == 7
    # Something was used before, be it within the allowance, or something was billed.
    assert charge(terms, D(0), already=D("0.5")).amount == 0
    assert charge(terms, D(0), already_billed=D("0.5")).amount == 0


def test_a_tier_that_is_full_or_not_reached_has_no_step():
    tiers = (Tier(D(5), D(10), D(1)), Tier(D(20), D(8)), Tier(None, D(6), D(2)))
    assert [step.quantity for step in charge(graduated(*tiers), D(10), already=D(7)).steps] == [D(10)]
    assert [step.quantity for step in charge(graduated(*tiers), D(5)).steps] == [D(5)]
    assert charge(graduated(*tiers), D(0)).steps == ()


def test_an_invoice_that_continues_a_period_goes_on_from_what_was_billed():
    terms = Terms(Model.PER_UNIT, unit_amount=D(10), maximum=D(100))
    assert charge(terms, D(5), already=D(7), already_billed=D(70)).amount == 30
    assert charge(terms, D(5), already=D(12), already_billed=D(100)).amount == 0


def test_what_was_billed_before_a_maximum_fell_is_not_given_back():
    assert charge(LIMITED, D(3), already=D(30), already_billed=D(120)).amount == 0


def test_the_minimum_is_asked_once_with_the_segment_that_ends_the_period():
    first = charge(LIMITED, D(6), period_ends=False).amount
    last = charge(LIMITED, D(1), already=D(6), already_billed=first).amount
    assert (first, last) == (D(5), D(15))


def percentage(**more: object) -> Terms:
    """2.99 % of each event's amount."""
    return Terms(Model.PERCENTAGE, unit_amount=D("0.0299"), **more)


def of_events(terms: Terms, *amounts: str, **more: Decimal) -> Decimal:
    events = [D(amount) for amount in amounts]
    return charge(terms, sum(events, D(0)), events=events, **more).amount


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        (percentage(), "301.691"),  # 10,090 × 2.99 %
        (percentage(fee_per_event=D(2)), "307.691"),
        (percentage(event_minimum=D("1.75")), "303.142"),  # 0.299 → 1.75; 2.392; 299
        (percentage(event_maximum=D(12)), "14.691"),  # 0.299 + 2.392 + 12
        (percentage(free_events=1), "301.392"),
        (percentage(free_events=2), "299"),
        (percentage(free_events=2, fee_per_event=D(2)), "301"),
        (percentage(free_quantity=D(50), fee_per_event=D(2)), "304.196"),  # 10,040 × 2.99 %, and two events pay
        (percentage(free_quantity=D(90), fee_per_event=D(2)), "301"),  # what ends at the allowance pays no fee either
        (percentage(free_quantity=D(1), fee_per_event=D(2)), "307.6611"),
        (percentage(free_events=1, free_quantity=D(50)), "301.392"),  # the one free event ends the allowance
        (percentage(free_events=9, free_quantity=D(90)), "299"),  # the amount ends it
        (percentage(free_events=3, fee_per_event=D(2)), "0"),
    ],
)
def test_a_percentage_of_events_with_its_fee_allowances_and_limits(terms, expected):
    assert of_events(terms, "10", "80", "10000") == D(expected)


def test_number_and_sum_of_the_events_are_enough_where_no_single_one_is_looked_at():
    terms = percentage(fee_per_event=D(2))
    assert charge(terms, D(10090), events=3) == charge(terms, D(10090), events=[D(10), D(80), D(10000)])
    assert not terms.needs_event_amounts
    assert charge(percentage(), D(100)).amount == D("2.99")
    assert charge(terms, D(0), events=0).amount == 0
    assert [step.kind for step in charge(percentage(), D(100)).steps] == [StepKind.USAGE]
    with pytest.raises(AssertionError, match="^a fee per event needs their number$"):
        charge(terms, D(10090))
    with pytest.raises(AssertionError, match="^these terms look at the amount of each event$"):
        charge(percentage(event_minimum=D(1)), D(10090), events=3)
    with pytest.raises(AssertionError, match="^the events' amounts add up to the quantity$"):
        charge(terms, D(3), events=[D(1), D(1)])
    with pytest.raises(AssertionError, match="^an event's amount is zero or more$"):
        charge(terms, D(1), events=[D(2), D(-1)])


def test_the_steps_of_a_percentage_say_what_the_limits_of_each_event_did():
    terms = percentage(fee_per_event=D(2), event_minimum=D(3), event_maximum=D(12))
    result = charge(terms, D(10090), events=[D(10), D(80), D(10000)])
    assert [(step.kind, step.quantity, step.amount) for step in result.steps] == [
        (StepKind.USAGE, D(10090), D("301.691")),
        (StepKind.EVENT_FEE, D(3), D(6)),
        (StepKind.EVENT_MINIMUM, D(1), D("0.701")),  # 0.299 + 2 → 3
        (StepKind.EVENT_MAXIMUM, D(1), D(-289)),  # 299 + 2 → 12
    ]


def test_an_event_at_its_limit_is_neither_raised_nor_cut():
    terms = percentage(event_minimum=D("2.99"), event_maximum=D("29.9"))
    events = [D(100), D(10), D(20), D(1000), D(2000), D(3000)]
    result = charge(terms, D(6130), events=events)
    assert [(step.kind, step.quantity, step.amount) for step in result.steps] == [
        (StepKind.USAGE, D(6130), D("183.287")),
        (StepKind.EVENT_MINIMUM, D(2), D("5.083")),  # 0.299 and 0.598 → 2.99
        (StepKind.EVENT_MAXIMUM, D(2), D("-89.7")),  # 59.8 and 89.7 → 29.9
    ]


EVENTS = st.lists(st.decimals(0, 300, places=2), max_size=6)


@st.composite
def percentages(draw: st.DrawFn) -> Terms:
    low, high = sorted([draw(st.decimals(0, 20, places=2)), draw(st.decimals(0, 20, places=2))])
    return percentage(
        fee_per_event=draw(st.sampled_from([D(0), D("0.3")])),
        free_events=draw(st.integers(0, 3)),
        free_quantity=draw(st.sampled_from([D(0), D(100), D("250.5")])),
        event_minimum=draw(st.sampled_from([D(0), low])),
        event_maximum=draw(st.sampled_from([None, high])),
    )


def evaluate_events(terms: Terms, events: list[Decimal]) -> Fraction:
    """Each event by itself, from the sums before it."""
    total = Fraction(0)
    for index, event in enumerate(events):
        before, after = Fraction(sum(events[:index])), Fraction(sum(events[: index + 1]))
        free_by_number = index < terms.free_events if terms.free_events else True
        limit = Fraction(terms.free_quantity) if terms.free_quantity else after
        granted = free_by_number and bool(terms.free_events or terms.free_quantity)
        if granted and after <= limit:
            continue
        paying = Fraction(event) - (max(limit - before, Fraction(0)) if granted else 0)
        amount = paying * Fraction(terms.unit_amount) + Fraction(terms.fee_per_event)
        amount = max(amount, Fraction(terms.event_minimum))
        total += amount if terms.event_maximum is None else min(amount, Fraction(terms.event_maximum))
    return total


@given(percentages(), EVENTS, EVENTS)
def test_events_priced_in_two_segments_cost_what_each_costs_by_itself(terms, first, later):
    at_once = charge(terms, sum(first + later, D(0)), events=first + later).amount
    assert Fraction(at_once) == evaluate_events(terms, first + later)
    begun = sum(first, D(0))
    parts = charge(terms, begun, events=first).amount
    parts += charge(terms, sum(later, D(0)), already=begun, events=later, already_events=len(first)).amount
    assert parts == at_once


@given(percentages(), EVENTS, st.randoms(use_true_random=False))
def test_without_free_events_the_order_of_events_is_irrelevant(terms, events, random):
    terms = percentage(fee_per_event=terms.fee_per_event, event_minimum=terms.event_minimum)
    shuffled = random.sample(events, len(events))
    assert of_events(terms, *map(str, events)) == of_events(terms, *map(str, shuffled))


def test_a_graduated_percentage_takes_each_part_of_the_turnover_at_its_own_rate():
    terms = Terms(
        Model.GRADUATED_PERCENTAGE, tiers=(Tier(D(1000), D("0.02")), Tier(None, D("0.01"), D(5))), free_quantity=D(100)
    )
    assert amount(terms, "2100") == D(35)  # 100 free, 1,000 × 2 %, 1,000 × 1 % + 5


def test_full_units_fill_the_tiers_and_prorated_units_are_priced():
    tiers = (Tier(D(5), D(10), D(100)), Tier(None, D(5), D(50)))
    changes = [(D(5), D("3.5")), (D(5), D("2.66667")), (D(10), D(2)), (D(-6), D("-2.2"))]
    expected = Fraction("100") + Fraction("35") + 50 + Fraction("2.46667") * 5
    assert charge_prorated(graduated(*tiers), changes) == expected
    # Half of the period is left for 4 more: one at 10, three at 5.
    assert charge_prorated(graduated(*tiers), [(D(4), D(4)), (D(4), D(2))]) == 100 + 40 + Fraction(
        1, 2
    ) * 10 + 50 + Fraction(15, 2)
    assert charge_prorated(graduated(*tiers), [(D(5), D(2)), (D(-100), D("-33.33"))]) == 0
    assert charge_prorated(graduated(*tiers), []) == 0


@given(tiered(), st.lists(st.decimals(0, 300, places=2), max_size=5))
def test_units_that_were_there_all_the_period_cost_the_graduated_price(tiers, changes):
    terms = graduated(*tiers)
    whole = charge(terms, sum(changes, D(0))).amount
    assert charge_prorated(terms, [(change, change) for change in changes]) == Fraction(whole)


@pytest.mark.parametrize(
    "document",
    [
        {"model": "per_unit", "unit_amount": "0.08", "free_quantity": "0"},
        {"model": "package", "unit_amount": "3", "package_size": "100", "free_quantity": "10"},
        {"model": "flat_fee", "unit_amount": "29"},
        {
            "model": "volume",
            "tiers": [{"up_to": "5", "unit_amount": "1", "flat_amount": "0"}]
            + [{"up_to": None, "unit_amount": "0.5", "flat_amount": "2"}],
            "free_quantity": "0",
            "zero_usage_charges_first_flat": False,
        },
        {
            "model": "percentage",
            "rate_percent": "2.9",
            "free_quantity": "0",
            "fee_per_event": "0.3",
            "free_events": "3",
        },
        {
            "model": "graduated_percentage",
            "tiers": [{"up_to": None, "rate_percent": "0.000000000001", "flat_amount": "0"}],
            "free_quantity": "0",
            "zero_usage_charges_first_flat": True,
            "discount_percent": "12.5",
            "minimum": "1",
            "maximum": "1",
        },
    ],
)
def test_a_stored_price_is_written_as_it_was_read(document):
    assert terms_to_json(terms_from_json(document)) == document


def test_a_tier_may_have_only_a_flat_amount_and_limits_may_meet():
    tiers = [{"up_to": "5", "flat_amount": "5"}, {"up_to": None, "unit_amount": "1"}]
    terms = terms_from_json({"model": "volume", "tiers": tiers, "minimum": "7", "maximum": "7"})
    assert terms.tiers == (Tier(D(5), D(0), D(5)), Tier(None, D(1)))
    assert (terms.minimum, terms.maximum) == (7, 7)
    fixed = {"model": "percentage", "rate_percent": "1", "event_minimum": "2", "event_maximum": "2"}
    assert terms_from_json(fixed).event_maximum == 2


def test_a_percentage_is_stored_as_people_say_it():
    terms = terms_from_json({"model": "percentage", "rate_percent": "2.9"})
    assert terms.unit_amount == D("0.029")


def test_a_price_of_sixty_decimals_is_exact():
    tiny = "0." + "0" * 59 + "7"
    terms = terms_from_json({"model": "per_unit", "unit_amount": tiny, "discount_percent": "12.5"})
    quantity = D("9" * 26 + "." + "9" * 12)
    assert Fraction(charge(terms, quantity).amount) == Fraction(quantity) * Fraction(tiny) * Fraction(7, 8)


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
        ({"model": "graduated", "tiers": [{"up_to": "-1"}, *ONE_TIER]}, "tiers[0].up_to"),
        ({"model": "graduated", "tiers": [{"up_to": "9"}, {"up_to": "5"}, *ONE_TIER]}, "tiers[1].up_to"),
        ({"model": "graduated", "tiers": [{"from": "2", "up_to": None}]}, "tiers[0].from"),
        ({"model": "graduated", "tiers": [{"up_to": None, "rate_percent": "1"}]}, "tiers[0].rate_percent"),
        ({"model": "graduated_percentage", "tiers": ONE_TIER}, "tiers[0].unit_amount"),
        ({"model": "percentage", "unit_amount": "1"}, "unit_amount"),
        ({"model": "percentage", "rate_percent": "NaN"}, "rate_percent"),
        ({"model": "percentage", "free_events": "1.5"}, "free_events"),
        ({"model": "percentage", "event_minimum": "2", "event_maximum": "1"}, "event_maximum"),
        ({"model": "per_unit", "free_events": "1"}, "free_events"),
        ({"model": "per_unit", "minimum": "2", "maximum": "1"}, "maximum"),
        ({"model": "per_unit", "minimum": "-2"}, "minimum"),
        ({"model": "per_unit", "maximum": None}, "maximum"),
        ({"model": "per_unit", "discount_percent": "100.01"}, "discount_percent"),
        ({"model": "per_unit", "unit_amount": "1e999999"}, "unit_amount"),
        ({"model": "per_unit", "unit_amount": "1e-61"}, "unit_amount"),
        ({"model": "per_unit", "unit_amount": "1_000"}, "unit_amount"),
        ({"model": "per_unit", "unit_amount": " 1"}, "unit_amount"),
        ({"model": "per_unit"}, "unit_amount"),
        ({"model": "percentage"}, "rate_percent"),
        ({"model": "volume", "tiers": [{"up_to": None}]}, "tiers[0].unit_amount"),
        (
            {"model": "volume", "tiers": ONE_TIER, "zero_usage_charges_first_flat": "true"},
            "zero_usage_charges_first_flat",
        ),
    ],
)
def test_terms_that_cannot_be_priced_are_refused_and_the_field_is_named(document, field):
    with pytest.raises(InvalidInput) as refused:
        terms_from_json(document)
    assert refused.value.field == field
    assert_sentence(refused.value)
