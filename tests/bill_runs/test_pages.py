"""Runs as staff see them: start, watch, decide, finalize; without JavaScript."""

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from portal.bill_runs.models import RunKind
from portal.bill_runs.starting import start_run
from portal.core.periods import Month
from portal.infra.db import transaction
from tests.admin.conftest import PASSWORD, admin, as_staff, customer, world  # noqa: F401 - the pages' people and their world
from tests.bill_runs.conftest import end_holds, work
from tests.factories import acting, sql


@pytest.fixture
def month() -> Month:
    return Month.of(datetime.now(UTC)).previous


@pytest.fixture
def run(app, admin, month) -> Any:  # noqa: F811
    """The address of last month's run, computed; Acme's is its first invoice, so it waits for somebody."""
    page = admin.submit(
        admin.open("/admin/runs").form(action="/admin/runs"), {"month": str(month)}, button="Start the run"
    )
    do_work(app)
    return page.url


def do_work(app) -> None:
    with acting(app):
        work()


def decide(browser, address: str, step: str, **values: str) -> Any:
    """Tick everything that is listed and press a button."""
    form = browser.open(address).form(action="/items")
    rows = sql_in(browser, "SELECT o.public_id, t.fingerprint FROM bill_run_items AS t JOIN organizations AS o"
                           " ON o.id = t.organization_id")  # fmt: skip
    data = {**form.fields, "step": step, "item": [f"{row[0]}|{row[1]}" for row in rows], **values}
    answer = browser.client.post(form.action, data=data)
    return browser.open(answer.location) if answer.status_code == 303 else answer


def sql_in(browser, statement: str) -> list[Any]:
    with acting(browser.client.application):
        return sql(statement)


def test_a_month_is_run_by_its_pages(app, admin, run, world):  # noqa: F811
    page = admin.open(run)
    assert "It is the first invoice." in page.text
    assert "Somebody has to look: 1." in page.text
    assert "$20.00" in page.text
    page = decide(admin, run, "approve")
    assert "Approved: 1." in page.text
    page = admin.open(page.link(start=f"{run}/finalize").href)
    assert "Finalize 1 invoice of" in page.text
    assert "For 600 seconds" in page.text
    page = admin.submit(page.form(action="/finalize"))
    do_work(app)
    page = admin.open(run)
    assert "In the hold window" in page.text
    assert 'hx-trigger="every 3s"' in admin.client.get(run).text
    with acting(app):
        end_holds()
        work()
    page = admin.open(f"{run}?queue=final")
    assert world.invoice().number in page.text
    assert world.invoice().scheduled_by == "admin"
    assert "Being sent" in page.text
    assert "1 of 1 done" not in page.text


def test_a_run_above_the_limit_asks_whether_it_is_you(app, admin, run, world, monkeypatch):  # noqa: F811
    monkeypatch.setitem(app.config, "SETTINGS", replace(app.config["SETTINGS"], step_up_above=Decimal("19.99")))
    decide(admin, run, "approve")
    page = admin.open(f"{run}/finalize")
    with acting(app):
        sql("UPDATE sessions SET confirmed_at = now() - interval '10 minutes'")
    page = admin.submit(page.form(action="/finalize"))
    assert page.status == 422
    assert "Confirm that it is you" in page.text
    do_work(app)
    assert world.invoice().state == "draft"
    admin.submit(page.form(action="/finalize"), {"confirm": PASSWORD})
    do_work(app)
    assert world.invoice().state == "scheduled"


def test_a_run_of_only_large_invoices_asks_a_second_person(app, admin, run, world, monkeypatch):  # noqa: F811
    limits = replace(app.config["SETTINGS"], second_approval_from={None: Decimal(20)})
    monkeypatch.setitem(app.config, "SETTINGS", limits)
    decide(admin, run, "approve")
    page = admin.open(f"{run}/finalize")
    assert "So large that they take two people: 1." in page.text
    page = admin.submit(page.form(action="/finalize"))
    assert "Waiting for a second approval, and left out until then: 1." in page.text
    assert "It waits for a second approval; admin asked for it." in page.text
    do_work(app)
    assert world.invoice().state == "draft"
    assert sql_in(admin, "SELECT state, asked_by FROM approval_requests") == [("waiting", "admin")]


def test_the_moving_part_asks_for_the_whole_page_when_the_stage_changes(app, admin, run):  # noqa: F811
    same = admin.client.get(f"{run}/progress?seen=review")
    assert (same.status_code, same.headers.get("HX-Refresh")) == (200, None)
    assert "hx-trigger" not in same.text
    assert admin.client.get(f"{run}/progress?seen=generating").headers["HX-Refresh"] == "true"


def test_holding_wants_a_reason_and_taking_back_gives_the_drafts_back(app, admin, run, world):  # noqa: F811
    refused = decide(admin, run, "hold")
    assert refused.status_code == 422
    assert "why they are held" in refused.text
    assert "Ask them first." in decide(admin, run, "hold", reason="Ask them first.").text
    decide(admin, run, "approve")
    admin.submit(admin.open(f"{run}/finalize").form(action="/finalize"))
    do_work(app)
    assert world.invoice().state == "scheduled"
    admin.submit(admin.open(run).form(action="/step"), button="Take back what is not final")
    do_work(app)
    assert world.invoice().state == "draft"
    page = admin.open(f"{run}?queue=approved")
    assert "Acme" in page.text


def test_pause_resume_cancel_and_start_again(admin, run):  # noqa: F811
    page = admin.submit(admin.open(run).form(action="/step"), button="Pause")
    assert "It stands at “Review”" in page.text
    page = admin.submit(page.form(action="/step"), button="Resume")
    assert "The run is review." in page.text
    page = admin.submit(page.form(action="/step"), button="Cancel the run: what is not final is taken back")
    assert "The run is cancelled." in page.text
    page = admin.submit(page.form(button="Start again"), button="Start again")
    assert "Generating" in page.text
    assert sql_in(admin, "SELECT count(*) FROM bill_runs") == [(1,)]


def test_a_confirmation_that_is_out_of_date_finalizes_nothing(app, admin, run):  # noqa: F811
    decide(admin, run, "approve")
    form = admin.open(f"{run}/finalize").form(action="/finalize")
    decide(admin, f"{run}?queue=approved", "hold", reason="Not yet.")
    page = admin.submit(form)
    assert page.status == 409
    assert "Nothing is approved" in page.text


def test_a_dry_run_shows_everything_and_makes_nothing(app, admin, month, world):  # noqa: F811
    before = sql_in(admin, "SELECT count(*), max(id) FROM invoices")
    page = admin.submit(
        admin.open("/admin/runs").form(action="/admin/runs"),
        {"month": str(month)},
        button="Dry run: nothing is made or changed",
    )
    do_work(app)
    page = admin.open(page.url)
    assert "Dry run of" in page.text
    assert "$20.00" in page.text
    assert not any(form.action.endswith("/step") and form.button("Pause") for form in page.forms)
    assert sql_in(admin, "SELECT count(*), max(id) FROM invoices") == before
    assert "Dry run" in admin.open("/admin/runs").text


def test_every_organization_with_its_figures_is_in_the_file(admin, run):  # noqa: F811
    answer = admin.client.get(f"{run}/items.csv")
    [row] = csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff")))
    assert (row["organization"], row["total"], row["currency"], row["state"]) == ("Acme", "20.00", "USD", "generated")
    assert row["flags"] == "It is the first invoice. The customer's address is missing."
    assert (row["score"], row["assigned_to"]) == ("24", "")


def test_a_month_that_is_not_over_is_refused_in_words(admin, month):  # noqa: F811
    form = admin.open("/admin/runs").form(action="/admin/runs")
    page = admin.submit(form, {"month": str(month.next)}, button="Start the run")
    assert page.status == 409
    assert "is not over" in page.text
    assert admin.submit(form, {"month": "soon"}, button="Start the run").status == 422


def test_who_may_only_look_can_only_look(as_staff, app, run):  # noqa: F811
    support = as_staff("support")
    page = support.open(run)
    assert "Download CSV" in page.text
    assert not any(form.action.endswith(("/step", "/items")) and form.buttons for form in page.forms)
    assert support.client.post(f"{run}/step", data={"step": "cancel"}).status_code in (400, 404)
    assert support.open(f"{run}/finalize").status == 404


def test_customers_find_no_runs(customer, run):  # noqa: F811
    assert customer.get(run).status_code == 404
    assert customer.get("/admin/runs").status_code == 404


def test_what_is_not_there_is_a_404(admin):  # noqa: F811
    assert admin.open("/admin/runs/0190f3a4-7c1d-7abc-8def-0123456789ab").status == 404


@pytest.fixture
def quick(app, monkeypatch) -> None:
    monkeypatch.setitem(app.config, "SETTINGS", replace(app.config["SETTINGS"], bill_run_hold_seconds=0))


def flask(runner, *words: str) -> Any:
    return runner.invoke(args=["billing", *words], env={"USER": "olga"})


def test_the_command_runs_a_month_and_says_what_needs_somebody(runner, app, world, month, quick, tmp_path):  # noqa: F811
    file = tmp_path / "run.csv"
    done = flask(runner, "run", "--month", str(month), "--dry-run", "--csv", str(file))
    assert "The dry run of" in done.output
    assert "Acme: It is the first invoice." in done.output
    assert "0 of 1 done, 1 need somebody." in done.output
    assert done.exit_code == 1
    assert "Acme" in file.read_text()
    assert sql_now(app, "SELECT count(*) FROM bill_runs WHERE kind = 'monthly'") == [(0,)]
    assert flask(runner, "run", "--month", str(month)).exit_code == 1
    sql_now(app, "UPDATE bill_run_items SET state = 'approved'")
    done = flask(runner, "run", "--month", str(month), "--finalize")
    assert "is syncing" in done.output
    assert done.exit_code == 0
    assert world.invoice().state == "finalized"
    assert sql_now(app, "SELECT started_by, finalized_by FROM bill_runs WHERE kind = 'monthly'") == [("olga", "olga")]
    listed = flask(runner, "runs").output
    assert "rehearsal" in listed
    assert "syncing" in listed


def test_the_command_steers_a_run(runner, app, world, month):  # noqa: F811
    flask(runner, "run", "--month", str(month))
    for command, state in (("pause", "paused"), ("resume", "review"), ("cancel-run", "cancelled")):
        done = flask(runner, command, "--month", str(month))
        assert (done.output, done.exit_code) == (f"The run of {month} is {state}.\n", 0)
    done = flask(runner, "pause", "--month", str(month))
    assert "is cancelled; it cannot become paused" in done.output
    assert done.exit_code == 1
    assert "There is no run of" in flask(runner, "pause", "--month", str(month.previous)).output


def test_a_dry_run_that_finalizes_is_a_contradiction(runner):
    assert flask(runner, "run", "--month", "2026-10", "--dry-run", "--finalize").exit_code == 2


def sql_now(app, statement: str) -> list[Any]:
    with acting(app):
        return sql(statement)


def test_a_run_that_the_clock_has_started_is_the_one_that_the_page_shows(app, admin, month, world):  # noqa: F811
    with acting(app), transaction():
        start_run(
            month, RunKind.MONTHLY, by="the clock", now=datetime.now(UTC), settings=app.config["SETTINGS"],
            review_hours=None,
        )  # fmt: skip
    page = admin.submit(
        admin.open("/admin/runs").form(action="/admin/runs"), {"month": str(month)}, button="Start the run"
    )
    assert "Started by the clock" in page.text


def test_one_organization_is_reviewed_with_the_way_from_last_month(admin, run, world):  # noqa: F811
    page = admin.open("/admin/review")
    assert page.url.startswith(run)
    page = admin.open(page.link(start=f"{run}/organizations/").href)
    address = page.url
    assert "Why to look: 24 points" in page.text
    assert "It is the first invoice." in page.text
    assert "20.00" in page.text
    admin.submit(page.form(action="/items"), {"reason": "They have moved."}, button="Comment")
    admin.submit(page.form(action="/items"), button="Assign to me")
    page = admin.open(address)
    assert "They have moved." in page.text
    assert "Assigned to admin." in page.text
    assert "Acme" in admin.open(f"{run}?queue=review&mine=1&reason=first").text
    assert "None here" in admin.open(f"{run}?queue=review&reason=unpaid").text
    assert admin.client.get(f"{run}?reason=weather").status_code == 422
    admin.submit(page.form(action="/items"), button="Approve")
    assert "1 clean draft is ready to finalize" in admin.open(run).text
    admin.submit(admin.open(address).form(action="/items"), button="Undo: back into review")
    assert sql_in(admin, "SELECT state, decided_by, assigned_to FROM bill_run_items") == [("generated", None, "admin")]
    assert admin.client.get(f"{run}/organizations/{run.rpartition('/')[2]}").status_code == 404


def test_many_become_final_only_once_their_number_is_typed(app, admin, run, world, monkeypatch):  # noqa: F811
    monkeypatch.setattr("portal.admin.runs.BULK_FROM", 1)
    decide(admin, run, "approve")
    form = admin.open(f"{run}/finalize").form(action="/finalize")
    page = admin.submit(form, {"typed": "2"})
    assert page.status == 422
    assert "Nothing was done" in page.text
    do_work(app)
    assert world.invoice().state == "draft"
    admin.submit(form, {"typed": "1"})
    do_work(app)
    assert world.invoice().state == "scheduled"
