"""Plans and prices of a customer: what was agreed, what it costs, and nobody else's."""

import csv
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from portal.catalog.coupons import create_coupon, redeem
from portal.catalog.publishing import archive
from portal.catalog.subscribing import cancel_subscription, change_subscription, subscribe
from portal.core.periods import Month
from portal.infra.db import transaction
from portal.invoicing.crediting import grant_credit
from portal.organizations.queries import ids_by_slug, organization_by_id
from tests.factories import acting, make_meter, make_plan, make_price
from tests.statements import statements
from tests.web.conftest import World, assert_flawless

TODAY = datetime.now(UTC).date()
TIERS = {
    "model": "graduated",
    "free_quantity": "10",
    "tiers": [{"up_to": "1000", "unit_amount": "0.08"}, {"up_to": None, "unit_amount": "0.05", "flat_amount": "2"}],
}


def organization(slug: str = "acme") -> Any:
    return organization_by_id(ids_by_slug({slug})[slug])


def price_of(app: Flask, **more: Any) -> str:
    """The public id of a price that was made for this test."""
    with acting(app):
        return str(make_price(make_meter("disk"), **more).price.public_id)


def rows_of(answer: Any) -> list[list[str]]:
    assert answer.mimetype == "text/csv"
    return list(csv.reader(answer.text.removeprefix("\ufeff").splitlines()))


def test_a_subscription_shows_its_price_its_period_and_what_comes_next(app: Flask, owner: FlaskClient):
    now = datetime.now(UTC)
    with acting(app):
        plan, other = make_plan("support", fee="29"), make_plan("premium", fee="199")
        with transaction():
            made = subscribe(organization(), plan, starts_at=now - timedelta(days=1), open_from=None, quantity=2)
            change_subscription(made.id, plan=other, at=None, now=now, open_from=None)
    page = owner.get("/plans")
    assert_flawless(page)
    assert "$29.00 per month" in page.text
    assert "Changes to 2 × Premium on" in page.text
    assert "Renews on" in page.text
    row = rows_of(owner.get("/plans/subscriptions.csv"))[1]
    assert row[1:6] == ["Support", "", "2", "$29.00 per month", "running"]
    assert row[6] == str((now - timedelta(days=1)).date())


def test_trials_and_ends_are_said(app: Flask, owner: FlaskClient):
    now = datetime.now(UTC)
    with acting(app):
        plan = make_plan()
        with transaction():
            subscribe(organization(), plan, starts_at=now, open_from=None, trial_days=14)
            ending = subscribe(organization(), plan, starts_at=now - timedelta(days=2), open_from=None, label="Two")
            cancel_subscription(ending.id, at=None, now=now, open_from=None, reason="moved")
            subscribe(organization(), plan, starts_at=now + timedelta(days=3), open_from=None, label="Three")
    text = owner.get("/plans").text
    assert "Trial until" in text
    assert "Ends on" in text
    assert "Starts on" in text
    assert "Support · Three" in text


def test_credits_and_the_coupons_that_hold_are_listed(app: Flask, owner: FlaskClient):
    month = Month.of(TODAY)
    with acting(app), transaction():
        acme = organization()
        grant_credit(acme.id, kind="promotional", name="Outage", amount=2500, reason="x", by="Ada", today=TODAY)
        create_coupon("TEN", name="Welcome", percent=Decimal(10), months=2)
        redeem(acme, "TEN", first_month=month, today=TODAY, open_from=None)
        create_coupon("OLD", name="Long ago", percent=Decimal(5), months=1)
        redeem(acme, "OLD", first_month=month.plus(-3), today=TODAY, open_from=None)
    text = owner.get("/plans").text
    assert "$25.00" in text
    assert "10% off each invoice" in text
    assert "Long ago" not in text
    assert rows_of(owner.get("/plans/credits.csv"))[1] == ["Outage", "promotional", "USD", "25.00", "25.00", ""]


def test_without_any_agreement_each_part_says_so(owner: FlaskClient):
    text = owner.get("/plans").text
    for sentence in ("You pay for no plan", "You have no credit", "No coupon lowers your invoices"):
        assert sentence in text


def test_the_price_list_says_what_holds_and_what_comes(app: Flask, owner: FlaskClient):
    price_of(app, terms=TIERS, valid_from=TODAY - timedelta(days=9))
    price_of(app, terms="0.07", valid_from=TODAY + timedelta(days=9))
    text = owner.get("/plans").text
    assert "First 10 second free, then $0.08 per second up to 1,000 second" in text
    assert "From " in text
    assert "$0.07 per second" in text
    row = next(row for row in rows_of(owner.get("/plans/prices.csv")) if row[2] == "Price of disk")
    assert row[7] == str(TODAY - timedelta(days=9))
    assert row[8:] == ["$0.07 per second", str(TODAY + timedelta(days=9))]


def test_an_own_price_is_marked_and_goes_before_the_lists(app: Flask, owner: FlaskClient):
    with acting(app):
        meter, premium = make_meter("disk"), make_plan("premium")
        make_price(meter, "0.05", name="Of the list")
        make_price(meter, "0.04", name="With the plan", for_plan=premium, match={"region": "fra"})
    assert "with Premium" in owner.get("/plans").text
    with acting(app):
        make_price(make_meter("disk"), "0.03", name="Agreed", organization_id=organization().id)
    rows = {row[2]: row[4] for row in rows_of(owner.get("/plans/prices.csv"))}
    assert rows["Agreed"] == "your price"
    assert rows["Of the list"] == rows["With the plan"] == "replaced by your price"


def test_what_is_sold_no_more_and_other_currencies_are_left_out(app: Flask, owner: FlaskClient):
    with acting(app):
        make_price(make_meter("euro"), "1", name="In euro", currency="EUR")
        price = make_price(make_meter("gone"), "1", name="Gone")
        meter = make_meter("old")
        make_price(meter, "1", name="Of an old meter")
        with transaction():
            archive(price.price, now=datetime.now(UTC))
            archive(meter, now=datetime.now(UTC))
    text = owner.get("/plans").text
    assert "Price of machine_seconds" in text
    for name in ("In euro", "Gone", "Of an old meter"):
        assert name not in text


def test_a_price_has_a_page_with_its_tiers_and_versions(app: Flask, owner: FlaskClient):
    price_of(app, terms=TIERS, valid_from=TODAY - timedelta(days=9))
    address = f"/plans/prices/{price_of(app, terms='0.07', valid_from=TODAY + timedelta(days=9))}"
    page = owner.get(address)
    assert_flawless(page)
    assert "Graduated: each tier at its own price" in page.text
    assert "1,000 second" in page.text
    assert "Holds now" in page.text
    assert "To come" in page.text
    rows = rows_of(owner.get(f"{address}.csv"))
    assert [row[2:5] + row[6:10] for row in rows[1:]] == [
        [str(TODAY - timedelta(days=9)), str(TODAY + timedelta(days=8)), "graduated", "0", "1000", "0.08", "0"],
        [str(TODAY - timedelta(days=9)), str(TODAY + timedelta(days=8)), "graduated", "1000", "", "0.05", "2"],
        [str(TODAY + timedelta(days=9)), "", "per_unit", "0", "", "0.07", "0"],
    ]


def test_another_organizations_price_is_nowhere(app: Flask, owner: FlaskClient, world: World):
    with acting(app):
        rival = organization("rival").id
    foreign = price_of(app, terms="0.001", name="Secret discount", organization_id=rival)
    assert "Secret discount" not in owner.get("/plans").text
    assert "Secret discount" not in owner.get("/plans/prices.csv").text
    for address in (f"/plans/prices/{foreign}", f"/plans/prices/{foreign}.csv", f"/plans/prices/{world.draft}"):
        assert owner.get(address).status_code == 404


@pytest.mark.parametrize("address", ["/plans", "/plans/prices.csv", "/plans/subscriptions.csv", "/plans/credits.csv"])
def test_whoever_sees_no_invoice_finds_no_prices(as_person: Callable[[str], FlaskClient], address: str):
    assert as_person("owner@acme.example").get(address).status_code == 200
    developer = as_person("developer@acme.example")
    assert developer.get(address).status_code == 404
    assert "/plans" not in developer.get("/").text
    assert as_person("staff@example.com").get(address).status_code == 404


def test_many_prices_and_subscriptions_take_no_more_queries_than_one(app: Flask, owner: FlaskClient):
    def fill(count: int) -> None:
        with acting(app):
            plan, start = make_plan(), datetime.now(UTC)
            for number in range(count):
                make_price(make_meter(f"m{number}"), "1")
                with transaction():
                    subscribe(organization(), plan, starts_at=start, open_from=None, label=str(number))

    fill(1)
    with statements(app) as one:
        assert owner.get("/plans").status_code == 200
    fill(30)
    with statements(app) as many:
        assert "Price of m29" in owner.get("/plans").text
    assert len(many) == len(one) <= 16
