"""Two people for a large invoice: one asks, another approves exactly what was seen, and nobody is both."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from tests.admin.conftest import PASSWORD, Browser
from tests.factories import acting, sql

WAITS = "Waiting for a second approval"


@pytest.fixture(autouse=True)
def limit(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Set the limit; at first to the draft's own $20.00."""

    def set_to(text: str) -> None:
        limits = {"USD": Decimal(text)}
        monkeypatch.setitem(app.config, "SETTINGS", replace(app.config["SETTINGS"], second_approval_from=limits))

    set_to("20")
    return set_to


@pytest.fixture
def lead(as_staff: Callable[[str], Browser]) -> Browser:
    """The second person."""
    return as_staff("finance_lead")


def ask(browser: Browser, world: Any) -> Any:
    look = browser.submit(browser.open(world.draft).form(action="/finalize"))
    return browser.submit(look.form(action="/finalize"))


def decide(browser: Browser, world: Any, step: str, **values: str) -> Any:
    form = browser.open(f"{world.draft}/approval").form(action="/approval")
    return send(browser, form, step, **values)


def send(browser: Browser, form: Any, step: str, **values: str) -> Any:
    answer = browser.client.post(form.action, data={**form.fields, "step": step, **values})
    return browser.open(answer.location) if answer.status_code == 303 else answer


def requests(app: Flask) -> list[Any]:
    with acting(app):
        return sql("SELECT state, asked_by, decided_by, comment FROM approval_requests ORDER BY id")


def audited(app: Flask) -> list[Any]:
    with acting(app):
        return sql(
            "SELECT action, actor_name, reason FROM audit_entries WHERE action LIKE '%second%' ORDER BY id",
        )


def test_the_first_click_asks_and_another_person_finalizes(
    app: Flask, admin: Browser, lead: Browser, world: Any
) -> None:
    page = ask(admin, world)
    assert "Nothing is final yet" in page.text
    assert WAITS in page.text
    assert world.invoice().state == "draft"
    assert WAITS in lead.open("/admin").text
    assert "Acme" in lead.open("/admin/approvals").text
    assert "invoice,Acme,2" in lead.client.get("/admin/approvals.csv").text
    page = decide(lead, world, "approve", comment="Agreed with sales.")
    assert "Approved, and finalized as" in page.text
    done = world.invoice()
    assert (done.state, done.scheduled_by) == ("finalized", "admin and finance_lead")
    assert requests(app) == [("approved", "admin", "finance_lead", "Agreed with sales.")]
    assert audited(app) == [
        ("asked for a second approval", "admin", None),
        ("approved as the second person", "finance_lead", "Agreed with sales."),
    ]
    assert WAITS not in lead.open("/admin").text


def test_nobody_is_both_and_asking_twice_asks_once(app: Flask, admin: Browser, lead: Browser, world: Any) -> None:
    look = admin.submit(admin.open(world.draft).form(action="/finalize"))
    assert "it takes two people" in look.text
    for browser in (admin, admin, lead):
        browser.submit(look.form(action="/finalize"))
    assert requests(app) == [("waiting", "admin", None, None)]
    page = admin.open(f"{world.draft}/approval")
    assert "You asked for it yourself" in page.text
    fingerprint = sql_one(app, "SELECT fingerprint FROM approval_requests")
    token = look.form(action="/finalize").fields["csrf_token"]
    form = {"csrf_token": token, "step": "approve", "fingerprint": fingerprint, "comment": ""}
    answer = admin.client.post(f"{world.draft}/approval", data=form)
    assert answer.status_code == 403
    assert "a second person decides" in answer.text
    assert world.invoice().state == "draft"


def sql_one(app: Flask, statement: str) -> Any:
    with acting(app):
        return sql(statement)[0][0]


def test_below_the_limit_one_person_is_enough(
    app: Flask, admin: Browser, world: Any, limit: Callable[[str], None]
) -> None:
    limit("20.01")
    ask(admin, world)
    assert (world.invoice().state, requests(app)) == ("finalized", [])


def test_a_changed_draft_is_not_approved_and_asks_anew(app: Flask, admin: Browser, lead: Browser, world: Any) -> None:
    ask(admin, world)
    seen = lead.open(f"{world.draft}/approval").form(action="/approval")
    world.use(50)
    answer = send(lead, seen, "approve")
    assert answer.status_code == 409
    assert "The draft has changed since it was asked for" in answer.text
    page = lead.open(f"{world.draft}/approval")
    assert "The draft has changed since" in page.text
    assert page.form(action="/approval").button("Approve") is None
    # Not even who has seen the new figures approves what was asked for with the old ones.
    answer = send(lead, page.form(action="/approval"), "approve")
    assert (answer.status_code, world.invoice().state) == (409, "draft")
    assert "it is asked for anew" in admin.open(world.draft).text
    ask(admin, world)
    assert [row[0] for row in requests(app)] == ["lapsed", "waiting"]
    decide(lead, world, "approve")
    assert world.invoice().state == "finalized"


def test_a_refusal_wants_a_comment_which_whoever_asked_reads(
    app: Flask, admin: Browser, lead: Browser, world: Any
) -> None:
    ask(admin, world)
    answer = decide(lead, world, "refuse")
    assert answer.status_code == 422
    assert "Say why you refuse." in answer.text
    decide(lead, world, "refuse", comment="Ask them about the GPUs first.")
    page = admin.open(world.draft)
    assert "Ask them about the GPUs first." in page.text
    assert (world.invoice().state, requests(app)[0][0]) == ("draft", "refused")
    ask(admin, world)
    assert [row[0] for row in requests(app)] == ["refused", "waiting"]


def test_after_its_time_nobody_approves_it_and_it_is_asked_anew(
    app: Flask, admin: Browser, lead: Browser, world: Any
) -> None:
    ask(admin, world)
    hours = app.config["SETTINGS"].second_approval_hours
    assert sql_one(app, "SELECT expires_at - asked_at FROM approval_requests") == timedelta(hours=hours)
    form = lead.open(f"{world.draft}/approval").form(action="/approval")
    with acting(app):
        sql("UPDATE approval_requests SET expires_at = now()")
    send(lead, form, "approve")
    assert world.invoice().state == "draft"
    assert WAITS not in lead.open("/admin").text
    ask(admin, world)
    assert [row[0] for row in requests(app)] == ["lapsed", "waiting"]


def test_what_is_taken_back_in_its_hold_window_asks_anew(
    app: Flask, admin: Browser, lead: Browser, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "SETTINGS", replace(app.config["SETTINGS"], finalize_hold_seconds=60))
    ask(admin, world)
    page = decide(lead, world, "approve")
    assert "Approved. Finalizing at" in page.text
    assert "as admin and finance_lead asked" in page.text
    lead.submit(page.form(action="/cancel"))
    assert world.invoice().state == "draft"
    ask(admin, world)
    assert [row[0] for row in requests(app)] == ["approved", "waiting"]
    assert world.invoice().state == "draft"


def test_the_second_person_of_a_very_large_invoice_says_who_they_are(
    app: Flask, admin: Browser, lead: Browser, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.config, "SETTINGS", replace(app.config["SETTINGS"], step_up_above=Decimal(1)))
    ask(admin, world)
    form = lead.open(f"{world.draft}/approval").form(action="/approval")
    with acting(app):
        sql("UPDATE sessions SET confirmed_at = now() - interval '10 minutes'")
    answer = send(lead, form, "approve")
    assert answer.status_code == 422
    assert world.invoice().state == "draft"
    send(lead, form, "approve", confirm=PASSWORD)
    assert world.invoice().state == "finalized"


def test_who_may_not_finalize_decides_nothing(
    app: Flask, admin: Browser, as_staff: Callable[[str], Browser], world: Any
) -> None:
    ask(admin, world)
    operations = as_staff("billing_operations")
    page = operations.open(world.draft)
    assert WAITS in page.text
    assert operations.client.get(f"{world.draft}/approval").status_code == 404
    form = {"csrf_token": page.form(action="/sign-out").fields["csrf_token"], "step": "approve"}
    assert operations.client.post(f"{world.draft}/approval", data=form).status_code == 404
    assert world.invoice().state == "draft"


def test_the_command_does_not_go_round_it(runner: FlaskCliRunner, world: Any) -> None:
    result = runner.invoke(args=["billing", "finalize", str(world.last_month)])
    assert result.exit_code != 0
    assert "a second person approves it" in " ".join(result.output.split())
    assert world.invoice().state == "draft"
