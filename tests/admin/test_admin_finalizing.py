"""Finalizing: what was seen is what is finalized, or nothing is."""

from dataclasses import replace
from typing import Any

import pytest
from flask import Flask


@pytest.fixture
def hold_window(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute in which a finalize can be taken back."""
    monkeypatch.setitem(app.config, "SETTINGS", replace(app.config["SETTINGS"], finalize_hold_seconds=60))


def confirm(admin: Any, world: Any) -> Any:
    """The form on the page that asks whether to finalize."""
    page = admin.submit(admin.open(world.draft).form(action="/finalize"))
    assert "$20.00" in page.text
    return page.form(action="/finalize")


def test_a_confirmed_draft_is_final(admin: Any, world: Any) -> None:
    page = admin.submit(confirm(admin, world))
    invoice = world.invoice()
    assert (invoice.state, invoice.total, invoice.scheduled_by) == ("finalized", 2000, "admin")
    assert f"Finalized as {invoice.number}." in page.text
    assert page.data["data-total-minor"] == "2000"


def test_a_draft_that_changed_since_it_was_seen_is_left_alone(admin: Any, world: Any) -> None:
    form = confirm(admin, world)
    world.use(500)
    page = admin.submit(form)
    assert page.status == 409
    assert "The draft has changed since you looked" in page.text
    assert "from $20.00 to $30.00" in page.text
    invoice = world.invoice()
    assert (invoice.state, invoice.total, invoice.number, invoice.finalize_at) == ("draft", 0, None, None)


def test_a_change_between_review_and_confirmation_is_shown(admin: Any, world: Any) -> None:
    form = admin.open(world.draft).form(action="/finalize")
    world.use(500)
    page = admin.submit(form)
    assert page.status == 409
    assert "from $20.00 to $30.00" in page.text


def test_a_forged_fingerprint_finalizes_nothing(admin: Any, world: Any) -> None:
    assert admin.submit(confirm(admin, world), {"fingerprint": "0" * 64}).status == 409
    assert world.invoice().state == "draft"


def test_a_month_that_is_not_over_says_from_when(admin: Any, world: Any) -> None:
    address = f"/admin/invoices/{world.this_month}"
    page = admin.open(address)
    assert "can be finalized from" in page.text
    assert not any(form.action.endswith("/finalize") for form in page.forms)
    assert admin.open(f"{address}/finalize").status == 409


def test_usage_without_a_price_is_named_and_keeps_the_draft(admin: Any, world: Any) -> None:
    world.use(3, meter="gpu")
    page = admin.open(world.draft)
    assert "GPU hours" in page.text
    assert not any(form.action.endswith("/finalize") for form in page.forms)


@pytest.mark.usefixtures("hold_window")
def test_cancel_takes_a_finalize_back_within_its_window(admin: Any, world: Any) -> None:
    page = admin.submit(confirm(admin, world))
    assert "UTC; Cancel takes it back." in page.text
    assert world.invoice().state == "scheduled"
    page = admin.submit(page.form(action="/cancel"))
    assert "The invoice is a draft again" in page.text
    assert world.invoice().state == "draft"


@pytest.mark.usefixtures("hold_window")
def test_the_status_polls_only_while_something_moves(admin: Any, world: Any) -> None:
    admin.submit(confirm(admin, world))
    response = admin.client.get(f"{world.draft}/status?seen=scheduled")
    assert "every 2s" in response.text
    assert "HX-Refresh" not in response.headers
    admin.submit(admin.open(world.draft).form(action="/cancel"))
    response = admin.client.get(f"{world.draft}/status?seen=scheduled")
    assert "hx-trigger" not in response.text
    assert response.headers["HX-Refresh"] == "true"


def test_voiding_asks_why_and_keeps_the_number(admin: Any, world: Any) -> None:
    admin.submit(confirm(admin, world))
    page = admin.submit(admin.open(f"{world.draft}/void").form(action="/void"))
    assert page.status == 422
    page = admin.submit(page.form(action="/void"), {"reason": "Billed twice"})
    assert "Billed twice" in page.text
    assert world.invoice().state == "void"
    assert world.invoice().number is not None


def test_a_draft_is_not_voided(admin: Any, world: Any) -> None:
    assert admin.open(f"{world.draft}/void").status == 409
    form = admin.open("/admin").forms[0]
    data = {"csrf_token": form.fields["csrf_token"], "reason": "By force"}
    assert admin.client.post(f"{world.draft}/void", data=data).status_code == 409
    assert world.invoice().state == "draft"


def test_a_sync_that_has_not_stopped_is_not_sent_again(admin: Any, world: Any) -> None:
    admin.submit(confirm(admin, world))
    form = admin.open("/admin").forms[0]
    response = admin.client.post(f"{world.draft}/sync", data={"csrf_token": form.fields["csrf_token"]})
    assert response.status_code == 409
