"""Putting prices on sale: added once, never changed, refused with the field that does not fit."""

from datetime import date

import pytest
from sqlalchemy.exc import DBAPIError

from portal.catalog.pricebook import pricebook_for
from portal.core.errors import InvalidInput
from portal.infra.db import transaction
from tests.factories import make_meter, make_organization, make_price, sql

pytestmark = pytest.mark.usefixtures("books")
DAY = date(2026, 10, 10)


def price_on(organization, meter, day=DAY, **dimensions):
    with transaction():
        book = pricebook_for(organization.id, organization.currency)
        price = book.price_of_series(meter.id, dimensions, day)
        return str(price.version_on(day).terms.unit_amount) if price else None


def test_an_own_price_is_in_the_organizations_currency_and_no_price_is_in_none():
    acme, meter = make_organization(currency="EUR"), make_meter()
    for organization_id, currency in ((acme.id, "USD"), (None, "XYZ"), (None, "usd")):
        with pytest.raises(InvalidInput) as refused:
            make_price(meter, "1", currency=currency, organization_id=organization_id)
        assert refused.value.field == "currency"
    assert sql("SELECT count(*) FROM prices") == [(0,)]


def test_a_price_never_begins_in_a_period_that_has_been_billed():
    meter = make_meter()
    with pytest.raises(InvalidInput) as refused:
        make_price(meter, "1", valid_from=date(2026, 10, 31), open_from=date(2026, 11, 1))
    assert refused.value.field == "valid_from"
    assert make_price(meter, "1", valid_from=date(2026, 11, 1), open_from=date(2026, 11, 1)).id
    # What is there already is found again, whatever has been billed since.
    assert make_price(meter, "1", valid_from=date(2026, 11, 1), open_from=date(2027, 1, 1)).id


def test_publishing_the_same_terms_twice_adds_one_version():
    meter = make_meter()
    assert make_price(meter, "0.01").id == make_price(meter, "0.010").id
    assert sql("SELECT count(*) FROM price_versions") == [(1,)]


def test_other_terms_for_the_same_day_are_refused():
    meter = make_meter()
    make_price(meter, "0.01")
    with pytest.raises(InvalidInput) as refused:
        make_price(meter, "0.02")
    assert refused.value.field == "valid_from"


@pytest.mark.parametrize(
    "change", ["UPDATE price_versions SET valid_from = '2020-01-01'", "DELETE FROM price_versions"]
)
def test_a_version_never_changes(change):
    make_price(make_meter(), "0.01")
    with pytest.raises(DBAPIError):
        sql(change)
    assert sql("SELECT valid_from FROM price_versions") == [(date(2026, 1, 1),)]


def test_the_most_specific_price_wins_and_an_own_price_before_the_list():
    acme, other, meter = (
        make_organization("acme"),
        make_organization("other"),
        make_meter(dimensions=("region", "size")),
    )
    make_price(meter, "0.01")
    make_price(meter, "0.02", match={"region": "ams"})
    make_price(meter, "0.03", match={"region": "ams", "size": "big"})
    make_price(meter, "0.005", organization_id=acme.id)
    assert price_on(other, meter) == "0.01"
    assert price_on(other, meter, region="ams") == "0.02"
    assert price_on(other, meter, region="ams", size="big") == "0.03"
    assert price_on(acme, meter, region="ams", size="big") == "0.005"


def test_before_its_first_version_a_price_does_not_apply():
    acme, meter = make_organization(), make_meter()
    make_price(meter, "0.01", valid_from=date(2026, 10, 11))
    assert price_on(acme, meter) is None
    assert price_on(acme, meter, date(2026, 10, 11)) == "0.01"


def test_a_price_of_another_currency_does_not_apply():
    acme, meter = make_organization(currency="EUR"), make_meter()
    make_price(meter, "0.01", currency="USD")
    assert price_on(acme, meter) is None


def test_a_dimension_that_is_not_the_meters_is_refused():
    with pytest.raises(InvalidInput) as refused:
        make_price(make_meter(dimensions=("region",)), "0.01", match={"colour": "red"})
    assert refused.value.field == "match"
