"""The pages and files of costs, for customers and for staff."""

import csv
import io
import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from portal.infra.db import transaction
from portal.organizations.queries import ids_by_slug, organization_by_id
from tests.factories import acting, add, make_draft, make_meter, use
from tests.web.conftest import World, assert_flawless


def rows_of(answer: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.removeprefix("\ufeff"))))


def amounts(page: str) -> list[str]:
    """The amounts of the table on the page, row by row, with the total last."""
    return re.findall(r'data-label="Amount \(USD\)" class="number">([^<]*)<', page)


@pytest.fixture
def _more(app: Flask, world: World) -> None:
    """Acme's October also has 50 seconds of an app with a telling name, 100 of nobody, and an item of 10.00."""
    with acting(app):
        with transaction():
            acme = organization_by_id(ids_by_slug({"acme"})["acme"])
        use(acme, make_meter(), 50, app="<b>lab</b>")
        use(acme, make_meter(), 100)
        add(make_draft(acme), "10")


@pytest.mark.usefixtures("_more")
def test_the_page_shows_each_app_and_the_total_of_the_draft(owner: FlaskClient):
    page = owner.get("/costs?month=2026-10")
    assert_flawless(page)
    assert "Costs by app in October 2026" in page.text
    # 250, 50 and 100 seconds at 0.01; 10.00 by hand; 14.00 in all.
    assert amounts(page.text) == ["2.50", "0.50", "1.00", "10.00", "14.00"]
    for text in ("launchpad", "&lt;b&gt;lab&lt;/b&gt;", "Without app", "Not attributed", "average price", "<svg"):
        assert text in page.text, text
    assert "secret-app" not in page.text
    assert "$14.00" in owner.get("/invoices/draft?month=2026-10").text


@pytest.mark.usefixtures("_more")
def test_the_file_is_exactly_the_table(owner: FlaskClient):
    address = "month=2026-10&by=app"
    rows = rows_of(owner.get(f"/costs.csv?{address}").text)
    assert [row["Amount"] for row in rows] == amounts(owner.get(f"/costs?{address}").text)
    assert [(row["Value"], row["Kind"], row["Share %"], row["Change"]) for row in rows] == [
        ("launchpad", "value", "17.9", "2.50"),
        ("<b>lab</b>", "value", "3.6", "0.50"),
        ("Without app", "without", "7.1", "1.00"),
        ("Not attributed", "not_attributed", "71.4", "-10.00"),
        ("Total", "total", "100", "-6.00"),
    ]


@pytest.mark.usefixtures("_more")
@pytest.mark.parametrize(
    ("by", "found"),
    [
        ("product", ["4.00", "10.00", "14.00"]),
        ("meter", ["4.00", "10.00", "14.00"]),
        ("app&meter=machine_seconds", ["2.50", "0.50", "1.00", "10.00", "14.00"]),
    ],
)
def test_costs_by_something_else_add_up_too(owner: FlaskClient, by: str, found: list[str]):
    page = owner.get(f"/costs?month=2026-10&by={by}")
    assert_flawless(page)
    assert amounts(page.text) == found


def test_a_final_month_names_its_invoice_and_a_month_of_nothing_the_one_before(owner: FlaskClient, world: World):
    final = owner.get("/costs?month=2026-09")
    assert_flawless(final)
    assert f'href="/invoices/{world.final}"' in final.text
    assert "$20.00" in final.text
    empty = owner.get("/costs?month=2026-07&by=app")
    assert_flawless(empty)
    assert "Nothing to bill for July 2026" in empty.text
    assert "month=2026-06" in empty.text


def test_the_ways_to_it(owner: FlaskClient, world: World):
    for page in ("/", "/invoices/draft?month=2026-10", f"/invoices/{world.final}"):
        link = re.search(r'href="(/costs[^"]*)">Cost by app<', owner.get(page).text)
        assert link, page
        assert owner.get(link[1].replace("&amp;", "&")).status_code == 200


@pytest.mark.parametrize(
    ("query", "status"), [("month=soon", 422), ("month=1999-01", 422), ("month=9999-12", 422), ("by=size", 422)]
)
def test_what_cannot_be_shown_gets_a_sentence(owner: FlaskClient, query: str, status: int):
    for address in ("/costs", "/costs.csv"):
        assert owner.get(f"{address}?{query}").status_code == status
    assert owner.get("/costs?meter=%00").status_code == 400


def test_who_may_not_see_invoices_sees_no_costs(as_person):
    developer = as_person("developer@acme.example")
    assert developer.get("/costs").status_code == 404
    assert developer.get("/costs.csv").status_code == 404
    assert "Cost by app" not in developer.get("/").text


@pytest.mark.usefixtures("_more")
def test_staff_see_the_same_of_every_organization(as_person, app: Flask):
    staff = as_person("staff@example.com")
    with acting(app), transaction():
        organization = organization_by_id(ids_by_slug({"acme"})["acme"])
        address = f"/admin/organizations/{organization.public_id}/costs"
    page = staff.get(f"{address}?month=2026-10")
    assert_flawless(page)
    assert amounts(page.text) == ["2.50", "0.50", "1.00", "10.00", "14.00"]
    rows = rows_of(staff.get(f"{address}.csv?month=2026-10&by=app").text)
    assert [row["Amount"] for row in rows] == ["2.50", "0.50", "1.00", "10.00", "14.00"]
    assert f'href="{address}"' in staff.get(address.removesuffix("/costs")).text
    assert as_person("owner@acme.example").get(address).status_code == 404
