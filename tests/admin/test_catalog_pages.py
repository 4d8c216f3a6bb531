"""The catalog: read by all of the staff, changed by admins; a new version is seen before it is published."""

import csv
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from portal.catalog.models import Meter, Plan, Price, PriceVersion
from portal.catalog.publishing import ensure_meter, publish_price
from portal.core.periods import Month
from portal.infra.db import db, transaction
from portal.invoicing import queries
from portal.organizations.queries import organization_of
from tests.factories import acting, make_plan, make_price, subscribe
from tests.statements import statements

TODAY = datetime.now(UTC).date()
NEXT_MONTH = Month.of(TODAY).next.first_day


def ids(world: Any, model: Any, **columns: Any) -> str:
    """The public id of a row."""
    with acting(world.app):
        return str(db.session.scalars(select(model.public_id).filter_by(**columns)).one())


def address_of(world: Any, name: str = "Egress") -> str:
    return f"/admin/catalog/prices/{ids(world, Price, name=name)}"


def finalize_last_month(admin: Any, world: Any) -> None:
    admin.submit(admin.submit(admin.open(world.draft).form(action="/finalize")).form(action="/finalize"))


def version_form(admin: Any, world: Any) -> Any:
    return admin.open(f"{address_of(world)}/versions/new").form(action="/versions/new")


def test_the_catalog_lists_meters_and_plans_with_their_prices(admin: Any, world: Any) -> None:
    with acting(world.app):
        make_plan(fee="29")
    page = admin.open("/admin/catalog")
    assert "$0.02 per GB" in page.text
    assert "$29.00 per month" in page.text
    assert "No price of the list in this currency." in page.text  # of the GPU hours
    rows = list(csv.DictReader(admin.client.get("/admin/catalog.csv").text.removeprefix("\ufeff").splitlines()))
    assert [(row["kind"], row["code"], row["now"]) for row in rows] == [
        ("meter", "egress", "$0.02 per GB"),
        ("plan", "support", "$29.00 per month"),
    ]


def test_the_catalog_is_filtered_by_currency_and_searched(admin: Any, world: Any) -> None:
    with acting(world.app), transaction():
        meter = ensure_meter("egress", name="", product="", unit="")
        terms = {"model": "per_unit", "unit_amount": "0.018"}
        publish_price(
            name="In euro", currency="EUR", terms=terms, valid_from=TODAY, open_from=None, meter=meter, match={}
        )
    assert "€0.018 per GB" in admin.open("/admin/catalog?currency=EUR").text
    found = admin.open("/admin/catalog?search=gpu&currency=USD").text
    assert "GPU hours" in found
    assert "Egress" not in found
    assert "Nothing matches “zebra”" in admin.open("/admin/catalog?search=zebra").text
    assert admin.open("/admin/catalog?currency=ABC").status == 422


def test_a_price_shows_its_versions_and_how_much_rests_on_it(admin: Any, world: Any) -> None:
    assert "0 lines of invoices" in admin.open(address_of(world)).text
    finalize_last_month(admin, world)
    page = admin.open(address_of(world))
    assert "1 line of invoices" in page.text
    assert "Everybody’s" in page.text
    assert "Holds now" in page.text
    assert "0.02" in admin.client.get(f"{address_of(world)}.csv").text


def test_lines_are_counted_no_further_than_needed(admin: Any, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    finalize_last_month(admin, world)
    monkeypatch.setattr(queries, "COUNTED_UP_TO", 0)
    monkeypatch.setattr("portal.admin.catalog.COUNTED_UP_TO", 0)
    assert "more than 0 lines" in admin.open(address_of(world)).text


def test_a_new_version_is_seen_beside_the_old_one_and_then_published(admin: Any, world: Any) -> None:
    form = version_form(admin, world)
    assert form.fields["terms"].lstrip().startswith("model: per_unit")
    assert form.fields["valid_from"] == str(NEXT_MONTH)
    terms = '{"model": "graduated", "tiers": [{"up_to": 10, "unit_amount": "0"}, {"unit_amount": "0.03"}]}'
    preview = admin.submit(form, {"terms": terms, "note": "Transit"}, button="Preview")
    assert preview.status == 200
    assert "$0.02 per GB." in preview.text
    assert "Free up to 10 GB, $0.03 per GB above 10 GB" in preview.text
    assert ids(world, PriceVersion)  # still the only one
    publish = next(button.label for button in preview.form(action="/new").buttons if "Publish" in button.label)
    page = admin.submit(preview.form(action="/new"), button=publish)
    assert "has a new version from" in page.text
    assert "Transit" in page.text
    assert "To come" in page.text


def test_going_back_from_the_preview_keeps_what_was_typed(admin: Any, world: Any) -> None:
    values = {"terms": "model: per_unit\nunit_amount: 0.03", "note": "Why"}
    preview = admin.submit(version_form(admin, world), values, button="Preview")
    form = admin.submit(preview.form(action="/new"), button="Change it").form(action="/new")
    assert form.fields["note"] == "Why"
    assert form.fields["terms"].split() == values["terms"].split()


@pytest.mark.parametrize(
    ("values", "field", "sentence"),
    [
        ({"terms": "model: per_unit\nunit_amount: cheap"}, "terms", "“cheap” is not a number"),
        ({"terms": "model: magic"}, "terms", "There is no price model “magic”"),
        ({"terms": "model: [per_unit"}, "terms", "Line "),
        ({"terms": "- per_unit"}, "terms", "Names and values belong here"),
        ({"terms": ""}, "terms", "There is no price model"),
        ({"terms": "model: graduated\ntiers:\n- up_to: 5\n  unit_amount: 1"}, "terms", "tiers[0].up_to"),
        ({"terms": "model: per_unit\nunit_amount: 1\ncommitment: 5"}, "terms", "Only the price of a plan"),
        ({"valid_from": "tomorrow"}, "valid_from", "Enter a day"),
        ({"valid_from": ""}, "valid_from", "Enter a day"),
        ({"note": "x" * 501}, "note", "at most 500 characters"),
    ],
)
def test_bad_input_is_named_and_kept(admin: Any, world: Any, values: dict[str, str], field: str, sentence: str) -> None:
    typed = {"terms": "model: per_unit\nunit_amount: 0.03", "note": "Why", "valid_from": str(NEXT_MONTH)} | values
    page = admin.submit(version_form(admin, world), typed, button="Preview")
    assert page.status == 422
    assert sentence in page.text
    assert page.link(start=f"#{field}") is not None
    kept = page.form(action="/new").fields
    assert {name: value.split() for name, value in kept.items() if name in typed} == {
        name: value.split() for name, value in typed.items()
    }


def test_a_version_in_a_billed_month_is_refused(admin: Any, world: Any) -> None:
    finalize_last_month(admin, world)
    last_month = Month.of(TODAY).previous.first_day
    page = admin.submit(version_form(admin, world), {"valid_from": str(last_month)}, button="Preview")
    assert page.status == 422
    assert "are final" in page.text
    assert page.link(start="#valid_from") is not None


def test_archiving_and_restoring_say_what_they_do(admin: Any, world: Any) -> None:
    with acting(world.app):
        plan = make_plan()
        subscribe(organization_of(world.organization), plan, datetime.now(UTC) - timedelta(days=1), quantity=3)
    meter = f"/admin/catalog/meters/{ids(world, Meter, code='gpu')}"
    plan_page = f"/admin/catalog/plans/{ids(world, Plan, code='support')}"
    assert "1 organization, 1 subscription, 3 in all" in admin.open(plan_page).text
    for address, said in (
        (address_of(world), "applies no more from today"),
        (meter, "takes no more events"),
        (plan_page, "Nobody can subscribe to it any more"),
    ):
        confirm = admin.open(f"{address}/archive")
        assert said in confirm.text
        page = admin.submit(confirm.form(action="/archive"))
        assert "is archived" in page.text
        page = admin.submit(admin.open(f"{address}/restore").form(action="/restore"))
        assert "on sale again" in page.text
    assert admin.open(f"{address_of(world)}/delete").status == 404
    assert admin.open(f"/admin/catalog/coupons/{world.organization}/archive").status == 404


def test_an_archived_price_takes_no_version(admin: Any, world: Any) -> None:
    form = version_form(admin, world)
    admin.submit(admin.open(f"{address_of(world)}/archive").form(action="/archive"))
    assert "Archived" in admin.open("/admin/catalog").text
    assert admin.open(f"{address_of(world)}/versions/new").status == 409
    assert admin.submit(form, button="Preview").status == 409


def test_an_organizations_own_price_names_it(admin: Any, world: Any) -> None:
    with acting(world.app):
        meter = db.session.scalars(select(Meter).filter_by(code="egress")).one()
        make_price(meter, "0.01", name="Agreed", organization_id=organization_of(world.organization).id)
    assert "Agreed" not in admin.open("/admin/catalog").text
    assert "Agreed" in admin.open(f"/admin/catalog/meters/{ids(world, Meter, code='egress')}").text
    page = admin.open(address_of(world, "Agreed"))
    assert "Acme" in page.text
    form = admin.open(f"{address_of(world, 'Agreed')}/versions/new").form(action="/new")
    preview = admin.submit(form, {"terms": "model: per_unit\nunit_amount: 0.005"}, button="Preview")
    assert "$0.005 per GB" in preview.text


@pytest.mark.parametrize("role", ["support", "billing_operations", "finance_lead"])
def test_who_is_no_admin_reads_the_catalog_and_changes_nothing(
    as_staff: Callable[[str], Any], world: Any, role: str
) -> None:
    staff = as_staff(role)
    assert staff.open("/admin/catalog").status == 200
    page = staff.open(address_of(world))
    assert page.status == 200
    assert page.link(start=f"{address_of(world)}/") is None
    for step in ("versions/new", "archive", "restore"):
        assert staff.open(f"{address_of(world)}/{step}").status == 404


def test_a_customer_finds_no_catalog(customer: FlaskClient, world: Any) -> None:
    assert customer.get("/admin/catalog").status_code == 404
    assert customer.get(address_of(world)).status_code == 404


def test_a_change_without_a_form_token_is_refused(admin: Any, world: Any) -> None:
    for step in ("versions/new", "archive"):
        assert admin.client.post(f"{address_of(world)}/{step}").status_code == 400


def test_an_unknown_price_is_not_found(admin: Any, world: Any) -> None:
    for kind in ("prices", "meters", "plans"):
        assert admin.open(f"/admin/catalog/{kind}/{world.organization}").status == 404


def test_many_prices_and_versions_take_no_more_queries_than_one(admin: Any, world: Any) -> None:
    def asked() -> list[int]:
        counts = []
        for address in ("/admin/catalog", address_of(world), f"/admin/catalog/meters/{meter_id}"):
            with statements(world.app) as seen:
                assert admin.open(address).status == 200
            counts.append(len(seen))
        return counts

    meter_id = ids(world, Meter, code="egress")
    one = asked()
    with acting(world.app):
        meter = db.session.scalars(select(Meter).filter_by(code="egress")).one()
        for number in range(30):
            make_price(meter, "0.01", name="Egress", valid_from=date(2030, 1, 1) + timedelta(days=number))
            with transaction():
                ensure_meter(f"m{number}", name=f"Meter {number}", product=f"Product {number}", unit="GB")
            make_price(
                db.session.scalars(select(Meter).filter_by(code=f"m{number}")).one(), "1", name=f"Price {number}"
            )
    assert asked() == one
    assert max(one) <= 12
    assert "Price 29" in admin.open("/admin/catalog").text
