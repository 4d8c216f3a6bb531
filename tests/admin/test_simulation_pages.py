"""Simulating a price from its preview: choose months, see what it says, publish it from there."""

import csv
from datetime import UTC, datetime
from typing import Any

from portal.catalog.models import Price, PriceVersion
from portal.core.periods import Month
from portal.infra import outbox
from portal.infra.db import db
from portal.invoicing.terms import FINISH
from tests.factories import acting, make_plan, sql

TODAY = datetime.now(UTC).date()
LAST_MONTH = Month.of(TODAY).previous


def price_address(world: Any, name: str = "Egress") -> str:
    with acting(world.app):
        return f"/admin/catalog/prices/{db.session.query(Price.public_id).filter_by(name=name).scalar()}"


def choose_form(admin: Any, world: Any) -> Any:
    """Down the way that staff take: the form of a version, its preview, and the question which months."""
    form = admin.open(f"{price_address(world)}/versions/new").form(action="/versions/new")
    values = {"terms": "model: per_unit\nunit_amount: 0.03", "note": "Transit"}
    preview = admin.submit(form, values, button="Preview")
    return admin.submit(preview.form(action="/simulate"), button="Simulate…").form(action="/simulate")


def finalize_last_month(admin: Any, world: Any) -> None:
    admin.submit(admin.submit(admin.open(world.draft).form(action="/finalize")).form(action="/finalize"))
    with acting(world.app):
        for (outbox_id,) in sql("SELECT id FROM outbox WHERE kind = :kind AND finished_at IS NULL", kind=FINISH):
            outbox.run(outbox_id)


def work(world: Any) -> None:
    with acting(world.app):
        for (outbox_id,) in sql("SELECT id FROM outbox WHERE kind = 'simulate_price' AND finished_at IS NULL"):
            outbox.run(outbox_id)


def test_a_price_is_simulated_and_then_published_from_what_it_says(admin: Any, as_staff: Any, world: Any) -> None:
    finalize_last_month(admin, world)
    page = admin.submit(choose_form(admin, world), {"months": str(LAST_MONTH)}, button="Simulate")
    assert page.status == 200
    assert "Running" in page.text
    work(world)
    page = admin.open(page.url)
    assert "1 of 1 invoices rated" in page.text
    for words in (
        "$20.00",
        "$30.00",
        "$10.00",
        "1, together $10.00 more",
        "25 to +50",
        "before coupons, credits and tax",
    ):
        assert words in page.text
    file = admin.client.get(f"{page.url}.csv").text.removeprefix("\ufeff").splitlines()
    [row] = csv.DictReader(file)
    assert {row[name] for name in ("organization", "month", "old", "new", "difference")} == {
        *("acme", str(LAST_MONTH), "20.00", "30.00", "10.00")
    }
    assert admin.client.get(f"{page.url}/progress").headers["HX-Refresh"] == "true"
    assert "Simulation" in admin.open(price_address(world)).text
    # Whoever may only look sees the figures, and no button.
    seen = as_staff("support").open(page.url)
    assert seen.status == 200
    assert "Publish" not in seen.text
    form = page.form(action="/versions/new")
    publish = next(button.label for button in form.buttons if button.value == "publish")
    published = admin.submit(form, button=publish)
    assert "has a new version from" in published.text
    with acting(world.app):
        [version] = db.session.query(PriceVersion).filter_by(note="Transit")
        assert version.terms["unit_amount"] == "0.03"


def test_a_simulation_that_runs_is_cancelled(admin: Any, world: Any) -> None:
    page = admin.submit(choose_form(admin, world), {"months": str(LAST_MONTH)}, button="Simulate")
    page = admin.submit(page.form(action="/cancel"), button="Cancel the simulation")
    assert "Cancelled" in page.text
    work(world)
    page = admin.open(page.url)
    assert "Cancelled" in page.text
    assert "Pay more" not in page.text


def test_what_cannot_be_simulated_is_said_at_its_field(admin: Any, world: Any) -> None:
    form = choose_form(admin, world)
    assert form.fields["months"] == str(LAST_MONTH.plus(-2))  # the last of three that are chosen at first
    page = admin.submit(form, {"organizations": "nobody"}, button="Simulate")
    assert page.status == 422
    assert "There is no active organization “nobody”." in page.text
    page = admin.submit(form, {"terms": "model: magic"}, button="Simulate")
    assert page.status == 422
    assert "There is no price model “magic”" in page.text
    page = admin.submit(form, {"months": "2020-13"}, button="Simulate")
    assert page.link(start="#months") is not None
    token = form.fields["csrf_token"]
    kept = {name: form.fields[name] for name in ("valid_from", "terms", "note")}
    answer = admin.client.post(form.action, data={**kept, "csrf_token": token, "step": "start"})
    assert answer.status_code == 422
    assert "Choose at least one month" in answer.text


def test_who_may_not_publish_may_not_simulate_and_plans_are_not_offered(admin: Any, as_staff: Any, world: Any) -> None:
    form = choose_form(admin, world)
    assert as_staff("support").client.post(form.action, data=form.fields).status_code in (400, 403, 404)
    with acting(world.app):
        make_plan()
    version = admin.open(f"{price_address(world, 'Support')}/versions/new").form(action="/versions/new")
    assert "Simulate" not in admin.submit(version, button="Preview").text
