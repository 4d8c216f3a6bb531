"""Two admins for a price: one asks, another publishes exactly what was seen, and nothing is published in between."""

from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from portal.core.periods import Month
from portal.infra import clock
from tests.admin.conftest import Browser, _signed_in
from tests.admin.test_agreement_pages import base, confirm
from tests.admin.test_catalog_pages import address_of, version_form
from tests.factories import acting, sql

TERMS = 'model: per_unit\nunit_amount: "0.03"'


@pytest.fixture(autouse=True)
def two(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing takes two."""
    monkeypatch.setitem(app.config, "SETTINGS", replace(app.config["SETTINGS"], second_person_publishes=True))


@pytest.fixture
def second(app: Flask, world: Any) -> Browser:
    """Another admin."""
    return Browser(_signed_in(app, "second@example.com", role="admin"))


def ask(admin: Browser, world: Any, terms: str = TERMS) -> Any:
    preview = admin.submit(version_form(admin, world), {"terms": terms}, button="Preview")
    form = preview.form(action="/new")
    asking = next(button.label for button in form.buttons if button.label.startswith("Ask a second admin"))
    return admin.submit(form, button=asking)


def versions(app: Flask) -> list[Any]:
    with acting(app):
        return [row[0] for row in sql("SELECT terms ->> 'unit_amount' FROM price_versions ORDER BY id")]


def waiting(app: Flask) -> str:
    with acting(app):
        return f"/admin/approvals/{sql('SELECT public_id FROM approval_requests ORDER BY id DESC LIMIT 1')[0][0]}"


def decide(browser: Browser, address: str, label: str, **values: str) -> Any:
    return browser.submit(browser.open(address).form(action=address), values, button=label)


def test_a_version_waits_and_another_admin_publishes_it(
    app: Flask, admin: Browser, second: Browser, world: Any
) -> None:
    page = ask(admin, world)
    assert "Nothing is published yet" in page.text
    assert versions(app) == ["0.02"]
    assert "A version waits for a second admin" in second.open(address_of(world)).text
    assert "Prices: 1" in second.open("/admin/approvals").text
    assert "price,Egress" in second.client.get("/admin/approvals.csv").text
    assert "Waiting for a second approval: 1" in second.open("/admin").text
    mine = admin.open(waiting(app))
    assert "You asked for it yourself" in mine.text
    token = page.form(action="/sign-out").fields["csrf_token"]
    answer = admin.client.post(waiting(app), data={"csrf_token": token, "step": "approve"})
    assert (answer.status_code, versions(app)) == (403, ["0.02"])
    page = decide(second, waiting(app), "Approve and publish", comment="As agreed.")
    assert "“Egress” is published from" in page.text
    assert versions(app) == ["0.02", "0.03"]
    assert "second approved it" in admin.open(waiting(app)).text
    about = "SELECT actor_name FROM audit_entries WHERE subject_kind LIKE 'price%' AND actor_kind = 'user' ORDER BY id"
    with acting(app):
        assert [name for (name,) in sql(about)] == ["admin", "second", "second"]


def test_one_waits_at_a_time_and_a_refusal_makes_room(app: Flask, admin: Browser, second: Browser, world: Any) -> None:
    ask(admin, world)
    ask(admin, world)
    other = ask(second, world, TERMS.replace("3", "4"))
    assert other.status == 409
    assert "Another version waits for a second person, as admin asked." in other.text
    assert "Say why you refuse." in decide(second, waiting(app), "Refuse").text
    assert "stays as it is" in decide(second, waiting(app), "Refuse", comment="Too dear.").text
    assert "Nothing is published yet" in ask(second, world, TERMS.replace("3", "4")).text
    with acting(app):
        assert sql("SELECT state, comment FROM approval_requests ORDER BY id") == [
            ("refused", "Too dear."),
            ("waiting", None),
        ]
    assert versions(app) == ["0.02"]


def test_a_price_that_has_changed_since_is_asked_for_anew(
    app: Flask, admin: Browser, second: Browser, world: Any
) -> None:
    ask(admin, world)
    with acting(app):
        sql("UPDATE prices SET archived_at = now()")
    page = decide(second, waiting(app), "Approve and publish")
    assert page.status == 409
    assert "It is not as it was when it was asked for." in page.text
    with acting(app):
        sql("UPDATE prices SET archived_at = NULL")
        sql("UPDATE approval_requests SET expires_at = now()")
    assert "Its time is over" in second.open(waiting(app)).text
    assert versions(app) == ["0.02"]


def test_an_organizations_first_own_price_takes_two_as_well(
    app: Flask, admin: Browser, second: Browser, world: Any
) -> None:
    form = admin.open(f"{base(world)}/prices/new").form(button="Preview")
    first = str(Month.of(clock.now()).first_day)
    values = {"of": "meter:egress", "name": "Agreed", "terms": TERMS, "valid_from": first}
    page = admin.submit(form, values, button="Preview")
    assert "$0.03 per GB" in page.text
    page = confirm(admin, page)
    assert "Nothing is published yet" in page.text
    assert versions(app) == ["0.02"]
    shown = second.open(waiting(app))
    assert "Acme’s own" in shown.text
    assert "No such price applies." in shown.text
    decide(second, waiting(app), "Approve and publish")
    with acting(app):
        assert sql("SELECT name, organization_id IS NOT NULL FROM prices ORDER BY id DESC LIMIT 1") == [
            ("Agreed", True)
        ]
    assert versions(app) == ["0.02", "0.03"]


def test_who_may_not_publish_decides_nothing(app: Flask, admin: Browser, as_staff: Any, world: Any) -> None:
    ask(admin, world)
    lead = as_staff("finance_lead")
    assert "Egress" in lead.open("/admin/approvals").text
    assert lead.client.get(waiting(app)).status_code == 404
