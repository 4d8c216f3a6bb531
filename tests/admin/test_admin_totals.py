"""Totals for staff: of the platform by currency, and of one organization."""

import csv
import io
from typing import Any

import pytest
from flask import Flask

from portal.core.periods import Month
from portal.infra.db import transaction
from portal.organizations.queries import organization_of
from tests.factories import acting, make_final, make_organization


@pytest.fixture
def invoiced(app: Flask, world: Any) -> Any:
    """Acme has $7.00 and, a year before, $1.00; Kyoto, in yen, 500."""
    with acting(app):
        with transaction():
            acme = organization_of(world.organization)
        make_final(acme, "7.00", month=Month(2026, 2))
        make_final(acme, "1.00", month=Month(2025, 2))
        make_final(make_organization("kyoto", currency="JPY"), "500", month=Month(2026, 2))
    return world


def rows(response: Any) -> list[tuple[str, ...]]:
    assert response.mimetype == "text/csv"
    read = csv.DictReader(io.StringIO(response.text.removeprefix("\ufeff")))
    return [(row["Month"], row["Currency"], row["Invoices"], row["Total"]) for row in read]


def test_the_platform_is_shown_by_currency_and_never_added_up(admin: Any, invoiced: Any) -> None:
    page = admin.open("/admin/totals")
    assert page.status == 200
    for words in ("By year, in JPY", "By year, in USD", "2026 by month: $7.00", "$8.00", "¥500"):
        assert words in page.text
    assert page.link(start="/admin/invoices?month=2026-02&state=finalized")
    assert rows(admin.client.get("/admin/totals.csv")) == [
        ("2026-02", "JPY", "1", "500"),
        ("2026-02", "USD", "1", "7.00"),
        ("2025-02", "USD", "1", "1.00"),
    ]


def test_an_organization_is_found_and_has_totals_of_its_own(admin: Any, invoiced: Any) -> None:
    address = f"/admin/organizations/{invoiced.organization}/totals"
    assert admin.open("/admin/totals?organization=acm").link(start=address)
    assert "No organization matches “nobody”" in admin.open("/admin/totals?organization=nobody").text
    assert admin.open(f"/admin/organizations/{invoiced.organization}").link(start=address)
    page = admin.open(address)
    assert "Totals of Acme" in page.text
    assert "JPY" not in page.text
    assert [row[0] for row in rows(admin.client.get(f"{address}.csv"))] == ["2026-02", "2025-02"]


def test_before_the_first_invoice_both_pages_say_so(admin: Any, world: Any) -> None:
    for address in ("/admin/totals", f"/admin/organizations/{world.organization}/totals"):
        page = admin.open(address)
        assert "Nothing has been invoiced yet" in page.text
        assert "Download CSV" not in page.text
        assert rows(admin.client.get(f"{address}.csv")) == []


def test_customers_and_unknown_organizations_are_not_found(admin: Any, customer: Any, invoiced: Any) -> None:
    addresses = ("/admin/totals", "/admin/totals.csv", f"/admin/organizations/{invoiced.organization}/totals")
    assert {customer.get(address).status_code for address in addresses} == {404}
    for part in ("totals", "totals.csv"):
        assert admin.client.get(f"/admin/organizations/{invoiced.last_month}/{part}").status_code == 404
