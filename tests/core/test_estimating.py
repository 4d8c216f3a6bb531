"""Estimates: plain documents worked by hand, what is refused and where, and that nothing else is ever raised."""

import json
from decimal import Decimal

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from portal.core.errors import InvalidInput
from portal.core.estimating import MOST_ITEMS, estimate
from portal.core.money import round_to_minor
from portal.core.pricing import Model, charge, terms_from_json
from tests.core.refusals import assert_sentence

D = Decimal
TIERS = [
    {"up_to": "10", "unit_amount": "5", "flat_amount": "1"},
    {"up_to": "99", "unit_amount": "2", "flat_amount": "3"},
    {"up_to": None, "unit_amount": "0.5", "flat_amount": "7"},
]
RATES = [{"up_to": "1000", "rate_percent": "10"}, {"up_to": None, "rate_percent": "5"}]
GRADUATED = {"model": "graduated", "tiers": TIERS}
VOLUME = {"model": "volume", "tiers": TIERS}
PER_UNIT = {"model": "per_unit", "unit_amount": "0.08"}
PERCENTAGE = {"model": "percentage", "rate_percent": "2.9", "fee_per_event": "0.3"}
BY_EVENT = {"model": "percentage", "rate_percent": "10", "event_minimum": "1", "event_maximum": "5"}
LONG = "0." + "7" * 60
TINY_PACKAGES = {"model": "package", "package_size": "7e-60", "unit_amount": LONG, "discount_percent": LONG}


def priced(price, quantity="0", currency="USD", **more):
    document = {"currency": currency, "price": price, "quantity": quantity, **more}
    return estimate(document)


def refused(document) -> InvalidInput:
    with pytest.raises(InvalidInput) as error:
        estimate(document)
    assert_sentence(error.value)
    return error.value


@pytest.mark.parametrize(
    ("price", "quantity", "more", "unrounded", "minor"),
    [
        (PER_UNIT, "123.5", {}, "9.88", 988),
        (PER_UNIT, "0.0625", {}, "0.005", 1),  # a half goes away from zero
        (PER_UNIT, 120, {}, "9.6", 960),
        (PER_UNIT, D("0.0624"), {}, "0.004992", 0),
        ({**PER_UNIT, "free_quantity": "100"}, "123.5", {}, "1.88", 188),
        ({**PER_UNIT, "minimum": "5"}, "1", {}, "5", 500),
        ({**PER_UNIT, "maximum": "5", "discount_percent": "50"}, "1000", {}, "5", 500),
        (GRADUATED, "99.5", {}, "239.25", 23925),  # 10 × 5 + 1, 89 × 2 + 3, 0.5 × 0.5 + 7
        (VOLUME, "99.5", {}, "56.75", 5675),
        (GRADUATED, "0", {}, "0", 0),
        ({**GRADUATED, "zero_usage_charges_first_flat": True}, "0", {}, "1", 100),
        ({"model": "package", "unit_amount": "3", "package_size": "100"}, "101", {}, "6", 600),
        (PERCENTAGE, "1000", {"events": 12}, "32.6", 3260),  # 29 and 12 × 0.3
        (PERCENTAGE, "1000", {"events": "12"}, "32.6", 3260),
        (BY_EVENT, "110", {"events": ["4", "30", "76"]}, "9", 900),  # 1 + 3 + 5
        (BY_EVENT, None, {"events": ["4", "30", "76"]}, "9", 900),  # their sum is the quantity
        ({"model": "graduated_percentage", "tiers": RATES}, "1500", {}, "125", 12500),
        ({"model": "flat_fee", "unit_amount": "29"}, "2", {}, "58", 5800),
    ],
)
def test_any_price_and_quantity_gives_an_amount(price, quantity, more, unrounded, minor):
    answer = priced(price, quantity, **more)
    assert (answer["unrounded"], answer["amount"]["minor"]) == (unrounded, minor)
    assert sum((D(step["amount"]) for step in answer["derivation"]["steps"]), D(0)) == D(unrounded)


def test_there_is_an_example_of_every_model():
    table = next(mark for mark in test_any_price_and_quantity_gives_an_amount.pytestmark if mark.name == "parametrize")
    assert {Model(price["model"]) for price, *_ in table.args[1]} == set(Model)


def test_an_estimate_says_how_it_came_about():
    assert priced(GRADUATED, "12", unit="GB") == {
        "currency": "USD",
        "amount": {"minor": 5800, "major": "58.00"},
        "unrounded": "58",
        "sentence": "USD 1.00 plus USD 5.00 per GB up to 10 GB, USD 3.00 plus USD 2.00 per GB up to 99 GB,"
        " USD 7.00 plus USD 0.50 per GB above 99 GB",
        "derivation": {
            "terms": {
                "model": "graduated",
                "free_quantity": "0",
                "tiers": TIERS,
                "zero_usage_charges_first_flat": False,
            },
            "already": "0",
            "events": None,
            "steps": [
                {"kind": "usage", "quantity": "10", "unit_amount": "5", "flat_amount": "1", "amount": "51"},
                {"kind": "usage", "quantity": "2", "unit_amount": "2", "flat_amount": "3", "amount": "7"},
            ],
        },
    }


@pytest.mark.parametrize("unit", ["x", "x" * 60])
def test_a_unit_has_one_character_to_sixty(unit):
    assert priced(PER_UNIT, unit=unit)["sentence"] == f"USD 0.08 per {unit}"


@pytest.mark.parametrize(
    ("price", "events", "told"),
    [(PERCENTAGE, "12", 12), (BY_EVENT, ["4", D(30), 76], ["4", "30", "76"]), (PER_UNIT, None, None)],
)
def test_the_derivation_has_the_events_as_they_were_given(price, events, told):
    assert priced(price, None if isinstance(events, list) else "110", events=events)["derivation"]["events"] == told


def test_without_a_unit_the_sentence_speaks_of_units_or_of_the_turnover():
    assert priced(PER_UNIT)["sentence"] == "USD 0.08 per unit"
    assert priced({"model": "percentage", "rate_percent": "2.9"})["sentence"] == "2.9% of the turnover"


def test_the_sentence_has_all_digits_of_an_amount_and_at_least_those_of_the_currency():
    assert priced({"model": "per_unit", "unit_amount": "0.0000008"})["sentence"] == "USD 0.0000008 per unit"
    assert priced({"model": "per_unit", "unit_amount": "1000"}, currency="JPY")["sentence"] == "JPY 1000 per unit"


@pytest.mark.parametrize(
    ("currency", "minor", "major"),
    [("USD", 123, "1.23"), ("JPY", 1, "1"), ("KWD", 1235, "1.235"), ("CLF", 12345, "1.2345")],
)
def test_the_currency_decides_the_one_rounding(currency, minor, major):
    answer = priced({"model": "per_unit", "unit_amount": "1.2345"}, "1", currency)
    assert answer["amount"] == {"minor": minor, "major": major}
    assert answer["unrounded"] == "1.2345"


@pytest.mark.parametrize("price", [GRADUATED, PER_UNIT, {**GRADUATED, "maximum": "100"}, {**PER_UNIT, "minimum": "9"}])
def test_what_the_period_has_reached_before_and_the_rest_add_up_to_the_whole(price):
    """10 units, then 90 more: tiers, minimum and maximum go on. Before, the minimum is not asked yet."""
    before = charge(terms_from_json(price), D(10), period_ends=False).amount
    rest = D(priced(price, "90", already="10")["unrounded"])
    assert before + rest == D(priced(price, "100")["unrounded"])


def test_an_allowance_of_events_goes_on_from_those_before():
    price = {"model": "percentage", "rate_percent": "10", "free_events": "2"}
    assert priced(price, "20", events=["10", "10"])["unrounded"] == "0"
    answer = priced(price, "20", events=["10", "10"], already="5", already_events=1)
    assert answer["unrounded"] == "1"
    assert (answer["derivation"]["already"], answer["derivation"]["already_events"]) == ("5", 1)


def test_the_amount_from_which_a_maximum_goes_on_is_part_of_the_derivation():
    answer = priced({**PER_UNIT, "maximum": "10"}, "100", already="100")
    assert (answer["derivation"]["already_billed"], answer["unrounded"]) == ("8", "2")


@pytest.mark.parametrize(
    ("price", "quantity", "more", "billed", "unrounded"),
    [
        # All 100 are in the last tier: 10 × 0.5 + 7 before, 90 × 0.5 of the 52 that the maximum leaves.
        ({**VOLUME, "maximum": "1000"}, "90", {"already": "10"}, "12", "45"),
        ({**VOLUME, "maximum": "50"}, "90", {"already": "10"}, "12", "38"),
        # 10 × 2.9 % and one fee before, then 0.41 up to the maximum.
        ({**PERCENTAGE, "maximum": "1"}, "10", {"already": "10", "already_events": 1, "events": 9}, "0.59", "0.41"),
        ({**PERCENTAGE, "maximum": "1"}, "0", {"already_events": 3, "events": 9}, "0.9", "0.1"),
        # Nothing before: a minimum of what is looked at event by event can be asked.
        ({**BY_EVENT, "minimum": "5"}, "1", {"events": ["1"]}, None, "5"),
    ],
)
def test_minimum_and_maximum_go_on_from_what_was_billed_before_at_this_price(price, quantity, more, billed, unrounded):
    answer = priced(price, quantity, **more)
    assert (answer["derivation"].get("already_billed"), answer["unrounded"]) == (billed, unrounded)


def test_several_items_add_up_rounded_each():
    item = {"price": PER_UNIT, "quantity": "0.0625"}
    answer = estimate({"currency": "USD", "items": [item, item, {**item, "unit": "GB"}]})
    assert answer["amount"] == {"minor": 3, "major": "0.03"}  # not 0.015, which would be 0.02
    assert [each["unrounded"] for each in answer["items"]] == ["0.005"] * 3
    assert answer["currency"] == "USD"
    assert "currency" not in answer["items"][0]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"currency": None}, "currency"),
        ({"currency": "usd"}, "currency"),
        ({"currency": "XXX"}, "currency"),
        ({"currency": "XAU"}, "currency"),
        ({"currency": ["USD"]}, "currency"),
        ({"amount": "1"}, "amount"),
        ({"unit": ""}, "unit"),
        ({"unit": "x" * 61}, "unit"),
        ({"unit": "GB\x1b[31m"}, "unit"),
        ({"unit": 7}, "unit"),
        ({"quantity": None}, "quantity"),
        ({"quantity": "NaN"}, "quantity"),
        ({"quantity": D("NaN")}, "quantity"),
        ({"quantity": D("sNaN")}, "quantity"),
        ({"quantity": D("Infinity")}, "quantity"),
        ({"quantity": "Infinity"}, "quantity"),
        ({"quantity": "-1"}, "quantity"),
        ({"quantity": -1}, "quantity"),
        ({"quantity": 1.5}, "quantity"),
        ({"quantity": True}, "quantity"),
        ({"quantity": ""}, "quantity"),
        ({"quantity": "1,5"}, "quantity"),
        ({"quantity": " 1"}, "quantity"),
        ({"quantity": "1_000"}, "quantity"),
        ({"quantity": "\u0661"}, "quantity"),
        ({"quantity": "1e3"}, "quantity"),
        ({"quantity": "9" * 27}, "quantity"),
        ({"quantity": "0." + "0" * 12 + "1"}, "quantity"),
        ({"quantity": D("1e26")}, "quantity"),
        ({"quantity": D("1e-13")}, "quantity"),
        ({"quantity": 10**5000}, "quantity"),
        ({"already": "-1"}, "already"),
        ({"already": "x"}, "already"),
        ({"price": None}, "price"),
        ({"price": "0.08"}, "price"),
        ({"price": {}}, "price.model"),
        ({"price": {"model": "gratis"}}, "price.model"),
        ({"price": {**PER_UNIT, "unit_amount": 0.08}}, "price.unit_amount"),
        ({"price": {**PER_UNIT, "unit_amount": "NaN"}}, "price.unit_amount"),
        ({"price": {**PER_UNIT, "unit_amount": "-Infinity"}}, "price.unit_amount"),
        ({"price": {**PER_UNIT, "unit_amount": "-0.01"}}, "price.unit_amount"),
        ({"price": {**PER_UNIT, "unit_amount": "1e26"}}, "price.unit_amount"),
        ({"price": {**PER_UNIT, "unit_amount": "1e-61"}}, "price.unit_amount"),
        ({"price": {**PER_UNIT, "tiers": TIERS}}, "price.tiers"),
        ({"price": {**PER_UNIT, "maximum": "1", "minimum": "2"}}, "price.maximum"),
        ({"price": {**PER_UNIT, "commitment": "100"}}, "price.commitment"),
        ({"price": {**PER_UNIT, "monthly_credit": "100"}}, "price.monthly_credit"),
        ({"price": {"model": "package", "unit_amount": "1", "package_size": "0"}}, "price.package_size"),
        ({"price": {"model": "graduated"}}, "price.tiers"),
        ({"price": {**GRADUATED, "tiers": TIERS[:2]}}, "price.tiers[1].up_to"),  # what is above 99?
        ({"price": {**GRADUATED, "tiers": [TIERS[1], TIERS[0], TIERS[2]]}}, "price.tiers[1].up_to"),  # they overlap
        ({"price": {**GRADUATED, "tiers": [TIERS[0], TIERS[0], TIERS[2]]}}, "price.tiers[1].up_to"),
        ({"price": {**GRADUATED, "tiers": [TIERS[2], TIERS[2]]}}, "price.tiers[0].up_to"),
        ({"price": {**GRADUATED, "tiers": [{**TIERS[2], "from": "5"}]}}, "price.tiers[0].from"),  # no gap either
        ({"price": {**GRADUATED, "tiers": [{**TIERS[2], "unit_amount": 0.1}]}}, "price.tiers[0].unit_amount"),
        ({"events": 12}, "events"),  # a price per unit does not look at them
        ({"already_events": 12}, "already_events"),
        ({"price": PERCENTAGE}, "events"),
        ({"price": PERCENTAGE, "events": "1.5"}, "events"),
        ({"price": PERCENTAGE, "events": -1}, "events"),
        ({"price": PERCENTAGE, "events": 1, "already_events": "0.5"}, "already_events"),
        ({"price": BY_EVENT}, "events"),
        ({"price": BY_EVENT, "events": 3}, "events"),
        ({"price": BY_EVENT, "events": ["0.5", "x"]}, "events[1]"),
        ({"price": BY_EVENT, "events": ["0.5", -1]}, "events[1]"),
        ({"price": BY_EVENT, "events": ["0.5", "0.6"]}, "quantity"),  # they add up to 1.1
        ({"price": {**BY_EVENT, "minimum": "5"}, "events": ["1"], "already": "1"}, "already"),
        ({"price": TINY_PACKAGES, "quantity": "9" * 26}, "quantity"),  # 10^86 of them, times 60 digits, twice
    ],
)
def test_what_cannot_be_priced_is_refused_with_its_field(change, field):
    document = {"currency": "USD", "price": PER_UNIT, "quantity": "1"} | change
    assert refused(document).field == field
    item = {name: value for name, value in document.items() if name != "currency"}
    if field != "currency":
        items = [{"price": PER_UNIT, "quantity": "1"}, item]
        assert refused({"currency": "USD", "items": items}).field == f"items[1].{field}"


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ([], None),
        (None, None),
        ("x", None),
        ({"currency": "USD"}, "price"),
        ({"currency": "USD", "items": []}, "items"),
        ({"currency": "USD", "items": {}}, "items"),
        ({"currency": "USD", "items": "ab"}, "items"),
        ({"currency": "USD", "items": None}, "items"),
        ({"currency": "USD", "items": ["a"]}, "items[0]"),
        ({"currency": "USD", "items": [{"price": PER_UNIT, "quantity": "1"}], "quantity": "1"}, "quantity"),
        ({"currency": "USD", "items": [{"price": PER_UNIT, "quantity": "1", "currency": "EUR"}]}, "items[0].currency"),
        ({"currency": "USD", "items": [{"price": PER_UNIT, "quantity": "1"}] * (MOST_ITEMS + 1)}, "items"),
    ],
)
def test_a_document_of_another_shape_is_refused(document, field):
    assert refused(document).field == field


def test_a_field_that_there_is_not_is_quoted_by_its_beginning():
    one = {"price": PER_UNIT, "quantity": "1"}
    assert refused({"currency": "USD", **one, "x" * 61: 1}).sentence == f"An estimate has no “{'x' * 60}”."
    several = {"currency": "USD", "items": [one], "quantity": "1"}
    assert refused(several).sentence == "Beside its items an estimate has no “quantity”."
    assert refused({"currency": 5, **one}).sentence == "currency is the code of a currency, such as USD."


def test_a_hundred_items_are_not_too_many():
    items = [{"price": PER_UNIT, "quantity": "1"}] * MOST_ITEMS
    answer = estimate({"currency": "USD", "items": items})
    assert answer["amount"]["minor"] == 800


def test_the_longest_numbers_lose_no_digit():
    quantity, each = "9" * 26 + "." + "9" * 12, "9" * 26 + "." + "9" * 60
    answer = priced({"model": "per_unit", "unit_amount": each}, quantity)
    whole = int(quantity.replace(".", "")) * int(each.replace(".", ""))
    assert answer["unrounded"].replace(".", "") == str(whole)
    assert answer["amount"]["major"].replace(".", "") == str(answer["amount"]["minor"])


_NUMBERS = st.from_regex(r"\A[0-9]{1,26}(\.[0-9]{1,60})?\Z") | st.sampled_from(["0", "1", "-1", "NaN", 7, 0.5, None])
_PRICES = st.fixed_dictionaries(
    {"model": st.sampled_from([model.value for model in Model])},
    optional={
        "unit_amount": _NUMBERS,
        "rate_percent": _NUMBERS,
        "package_size": _NUMBERS,
        "free_quantity": _NUMBERS,
        "discount_percent": _NUMBERS,
        "minimum": _NUMBERS,
        "maximum": _NUMBERS,
        "fee_per_event": _NUMBERS,
        "tiers": st.just(TIERS) | st.just(RATES),
    },
)
_DOCUMENTS = st.fixed_dictionaries(
    {"currency": st.sampled_from(["USD", "JPY"]), "price": _PRICES, "quantity": _NUMBERS},
    optional={"already": _NUMBERS, "events": st.integers(0, 9) | st.lists(_NUMBERS, max_size=3)},
)


@given(_DOCUMENTS)
def test_every_document_is_priced_exactly_or_refused_with_a_field(document):
    try:
        answer = estimate(document)
    except InvalidInput as error:
        event("refused" if error.field else pytest.fail(f"no field: {error.sentence}"))
        return
    event("priced")
    assert answer["amount"]["minor"] == round_to_minor(D(answer["unrounded"]), document["currency"])
    assert json.loads(json.dumps(answer)) == answer
