"""Every staff page opens as flawless HTML, in few queries, with its table as a file."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from portal.infra.db import db

MOST_QUERIES = 21


@pytest.fixture
def queries(app: Flask) -> Iterator[list[str]]:
    """The statements that reach the database."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def addresses(world: Any) -> list[str]:
    """All pages without a form of their own."""
    return [
        "/admin",
        "/admin/organizations",
        "/admin/organizations?search=acme",
        "/admin/organizations?search=nobody",
        f"/admin/organizations/{world.organization}",
        "/admin/invoices",
        "/admin/invoices?state=draft",
        "/admin/invoices?month=2001-01",
        world.draft,
        "/admin/sync",
    ]


def test_every_page_opens_in_a_fixed_number_of_queries(admin: Any, world: Any, queries: list[str]) -> None:
    for address in addresses(world):
        queries.clear()
        page = admin.open(address)
        assert page.status == 200, address
        assert len(queries) <= MOST_QUERIES, (address, len(queries))


def test_the_tables_come_as_files(admin: Any, world: Any) -> None:
    for address, expected in {
        "/admin/organizations.csv": "Acme",
        "/admin/invoices.csv": str(world.last_month),
        f"{world.draft}/lines.csv": "Egress",
        f"/admin/organizations/{world.organization}/audit.csv": "action",
    }.items():
        response = admin.client.get(address)
        assert response.mimetype == "text/csv"
        assert expected in response.text


def test_a_wrong_filter_is_named(admin: Any, world: Any) -> None:
    assert "“nonsense” is not a state" in admin.open("/admin/invoices?state=nonsense").text
    assert "“2026” is not a month" in admin.open("/admin/invoices?month=2026").text


def test_an_unknown_invoice_is_not_found(admin: Any, world: Any) -> None:
    assert admin.open(f"/admin/invoices/{world.organization}").status == 404
