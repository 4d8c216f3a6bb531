"""What the terms of a price ask for, and how an unknown model is refused. How they are read: test_pricing."""

from decimal import Decimal

import pytest

from portal.core.errors import InvalidInput
from portal.core.terms import Model, Terms, terms_from_json

D = Decimal


@pytest.mark.parametrize(
    ("more", "needed"),
    [
        ({}, False),
        ({"free_quantity": D(1)}, False),
        ({"fee_per_event": D(1)}, False),
        ({"discount_percent": D(1), "minimum": D(1), "maximum": D(1)}, False),
        # What each event pays, or whether it does, depends on the event.
        ({"free_events": 1}, True),
        ({"free_quantity": D("0.5"), "fee_per_event": D("0.5")}, True),
        ({"event_minimum": D("0.5")}, True),
        ({"event_maximum": D(0)}, True),
    ],
)
def test_the_sum_of_the_events_is_enough_unless_the_price_looks_at_each(more, needed):
    assert Terms(Model.PERCENTAGE, D("0.01"), **more).needs_event_amounts is needed


@pytest.mark.parametrize("named", [{"model": "cheap"}, {"model": None}, {}])
def test_a_model_that_there_is_not_is_refused_with_those_that_there_are(named):
    with pytest.raises(InvalidInput) as refused:
        terms_from_json(named)
    assert refused.value.sentence == (
        f"There is no price model “{named.get('model')}”; use one of"
        " per_unit, graduated, volume, package, percentage, graduated_percentage, flat_fee."
    )


def test_a_tiered_price_without_tiers_is_refused():
    with pytest.raises(InvalidInput, match="at least one tier") as refused:
        terms_from_json({"model": "volume"})
    assert refused.value.field == "tiers"
