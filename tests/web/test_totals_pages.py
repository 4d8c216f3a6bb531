"""All years of a customer, as a page with a picture and as a file."""

import re

from flask import Flask
from flask.testing import FlaskClient

from portal.core.periods import Month
from portal.infra.db import transaction
from portal.organizations.queries import ids_by_slug, organization_by_id
from tests.factories import acting, make_final
from tests.statements import statements
from tests.web.conftest import World, assert_flawless
from tests.web.test_invoice_pages import read_csv


def invoice(app: Flask, month: Month, *amounts: str, slug: str = "acme") -> None:
    with acting(app):
        with transaction():
            organization = organization_by_id(ids_by_slug({slug})[slug])
        make_final(organization, *amounts, month=month)


def texts(page: str, name: str) -> list[str]:
    """What the cells with this label say."""
    return re.findall(rf'data-label="{name}">([^<]*)<', page)


def test_years_and_months_stand_there_with_their_sums(owner: FlaskClient, app: Flask, world: World):
    invoice(app, Month(2026, 8), "30")
    invoice(app, Month(2025, 12), "-5.50")
    page = owner.get("/totals")
    assert_flawless(page)
    # By year with all years, then the months of each year with its sum; a credit of 5.50 was used by the next invoice.
    assert texts(page.text, "Total") == [
        *("50.00", "\u22125.50", "$44.50"),
        *("20.00", "30.00", "$50.00"),
        *("\u22125.50", "\u2212$5.50"),
    ]
    assert texts(page.text, "Invoices")[:3] == ["2", "1", "3"]
    assert "September 2026" in page.text
    assert 'id="USD-2025"' in page.text


def test_the_picture_holds_every_month_from_the_first_to_the_last(owner: FlaskClient, app: Flask, world: World):
    invoice(app, Month(2026, 2), "30")
    page = owner.get("/totals").text
    assert "Invoiced per month (USD)" in page
    assert page.count("<rect ") == 2
    labels = re.findall(r'chart-text-middle"[^>]*>([^<]+)<', page)
    assert labels == ["Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep"]
    assert "Highest in February 2026: $30.00." in page


def test_the_file_has_a_row_for_every_month(owner: FlaskClient, app: Flask, world: World):
    invoice(app, Month(2025, 12), "-5.50")
    rows = read_csv(owner.get("/totals.csv").text)
    assert [(row["Year"], row["Month"], row["Total"], row["Amount due"]) for row in rows] == [
        ("2026", "2026-09", "20.00", "20.00"),
        ("2025", "2025-12", "-5.50", "0.00"),
    ]
    assert set(rows[0]) == {"Year", "Month", "Currency", "Invoices", "Net", "Tax", "Total", "Credited", "Amount due"}


def test_another_organizations_invoices_are_not_in_it(owner: FlaskClient, app: Flask, world: World):
    before = owner.get("/totals.csv").text
    invoice(app, Month(2024, 5), "777", slug="rival")
    assert owner.get("/totals.csv").text == before
    assert "777" not in owner.get("/totals").text


def test_before_the_first_invoice_the_page_says_when_months_come(as_person, app: Flask, world: World):
    with acting(app), transaction() as session:
        session.execute(app.extensions["sqlalchemy"].text("UPDATE invoice_months SET invoices = 0"))
    page = as_person("owner@acme.example").get("/totals")
    assert_flawless(page)
    assert "Nothing has been invoiced yet" in page.text
    assert "Download CSV" not in page.text


def test_the_list_of_invoices_leads_there_and_developers_find_nothing(owner: FlaskClient, as_person, world: World):
    assert 'href="/totals"' in owner.get("/invoices").text
    developer = as_person("developer@acme.example")
    assert [developer.get(address).status_code for address in ("/totals", "/totals.csv")] == [404, 404]


def test_the_page_asks_as_often_for_many_months_as_for_one(owner: FlaskClient, app: Flask, world: World):
    def asked() -> int:
        with statements(app) as seen:
            assert owner.get("/totals").status_code == 200
        assert not any("FROM invoices" in each for each in seen)
        return len(seen)

    one = asked()
    for back in range(4):
        invoice(app, Month(2025, 3 * back + 1), "1")
    assert asked() == one
