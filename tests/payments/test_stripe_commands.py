"""`flask stripe reconcile`, `replay` and `compare`: what they print, and with which code they end."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import Result

from tests.factories import MONTH, NOW, acting, make_final, make_organization, reload, sql
from tests.payments.conftest import ROOT, examine, work


@pytest.fixture
def run(app, clean_database, clean_redis, sandbox):
    """Runs a command in a context of its own; at Stripe it is the month after the one that is billed."""
    sandbox.ctl("clock", {"now": int(NOW.timestamp())})

    def command(*words: str) -> Result:
        with app.app_context():
            return app.test_cli_runner().invoke(args=["stripe", *words], env={"COLUMNS": "200"})

    return command


@pytest.fixture
def sent(app, run):
    with acting(app):
        invoice = make_final(make_organization(), "12.00")
        work()
        return reload(invoice)


def test_a_clean_month_reads_0_differences_and_ends_with_0(run, sent):
    result = run("reconcile", "--month", "2026-10")
    assert result.output.splitlines()[-1] == "0 differences, 0.00"
    assert result.exit_code == 0, result.output


def test_differences_are_a_table_and_exit_code_1(run, sent, sandbox):
    sandbox.act("edit", invoice=sent.stripe_id, force=True, changes={"total": 1300})
    result = run("reconcile", "--since", "2026-11-01")
    assert result.exit_code == 1
    for words in (sent.number, sent.stripe_id, "total", "12.00 USD", "13.00 USD", "open"):
        assert words in result.output
    assert result.output.splitlines()[-1] == "1 difference, 1.00 USD"


def test_what_is_not_ours_is_said_and_no_difference(run, sent, sandbox):
    foreign = {"id": "in_foreign", "customer": sent.organization.stripe_customer_id, "currency": "usd"}
    sandbox.ctl("load", {"invoices": [{**foreign, "status": "open"}]})
    result = run("reconcile", "--month", "2026-10")
    assert "1 at Stripe are not ours (unmanaged)" in result.output
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "either --month, or --since"),
        (("--month", "2026-10", "--since", "2026-11-01"), "either --month, or --since"),
        (("--month", "2099-10"), "not over"),
        (("--since", "2026-11-02", "--until", "2026-11-01"), "ends before it begins"),
    ],
)
def test_a_window_that_is_none_is_refused(run, words, says):
    result = run("reconcile", *words)
    assert result.exit_code
    assert says in result.output


def test_busy_and_broken_answers_are_waited_for(run, sent, sandbox, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    sandbox.fault("GET /v1/invoices", "429")
    sandbox.fault("GET /v1/customers", "html_502")
    assert run("reconcile", "--month", "2026-10").exit_code == 0
    sandbox.fault("GET /v1/invoices", "html_502", sticky=True)
    result = run("reconcile", "--month", "2026-10")
    assert result.exit_code == 1
    assert "run it again later" in result.output


def test_a_command_that_is_killed_in_the_middle_leaves_nothing_that_is_wrong(
    app, run, sent, sandbox, portal_environment
):
    """SIGKILL while the second page is being read; then the command runs again."""
    foreign = {"customer": sent.organization.stripe_customer_id, "currency": "usd", "status": "paid"}
    sandbox.ctl("load", {"invoices": [{**foreign, "id": f"in_{number:03d}"} for number in range(150)]})
    sandbox.act("void", invoice=sent.stripe_id)
    sandbox.fault("GET /v1/invoices", "slow:20", nth=2)
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "stripe", "reconcile", "--month", "2026-10"]
    environment = {**os.environ, **portal_environment, "STRIPE_API_BASE": sandbox.url, "LOG_LEVEL": "CRITICAL"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    pages = "GET /v1/invoices"
    while sandbox.calls().count(pages) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    with acting(app):
        assert sql("SELECT phase, invoices FROM reconciliations") == [("invoices", 100)]
        half = sql("SELECT count(*) FROM drift")[0][0]
    assert 0 < half <= 100
    result = run("reconcile", "--month", "2026-10")
    assert (result.exit_code, result.output.splitlines()[-1]) == (1, "1 difference, 0.00")
    with acting(app):
        assert sql("SELECT count(*), count(DISTINCT (stripe_id, field)) FROM drift") == [(151, 151)]
        assert sql("SELECT count(*) FROM reconciled_invoices") == [(0,)]
        assert examine() == []
    sandbox.heal()


def test_progress_is_said_for_long_runs(run, sent, sandbox, monkeypatch):
    monkeypatch.setattr("portal.stripe_commands.PROGRESS_EVERY", 100)
    foreign = {"customer": sent.organization.stripe_customer_id, "currency": "usd", "status": "paid"}
    sandbox.ctl("load", {"invoices": [{**foreign, "id": f"in_{number:03d}"} for number in range(250)]})
    output = run("reconcile", "--month", "2026-10").output
    assert "100 invoices compared …" in output
    assert "200 invoices compared …" in output


def test_an_event_is_applied_again_by_its_id_and_all_since_a_day(app, run, sent, sandbox):
    assert "no event evt_nobody" in run("replay", "evt_nobody").output
    with acting(app):
        sql("INSERT INTO stripe_events (event_id, type, livemode, payload) VALUES ('evt_1', 'x', false, '{}')")
    assert run("replay", "evt_1").output == "evt_1 (x) is applied again.\n"
    assert run("replay", "--since", "2026-01-01").output == "1 events are applied again.\n"
    for words in ((), ("evt_1", "--since", "2026-01-01")):
        assert "either an event's id, or --since" in run("replay", *words).output


def test_a_month_of_an_existing_set_up_is_compared_from_a_file(app, run, sandbox, tmp_path):
    with acting(app):
        make_final(make_organization(stripe_customer_id="cus_1"), "12.00", month=MONTH)
    old = {
        "id": "in_old",
        "customer": "cus_1",
        "currency": "usd",
        "status": "paid",
        "total": 1200,
        "lines": {"data": [{"amount": 1200, "description": "Item 0001"}]},
    }
    export, table = tmp_path / "invoices.json", tmp_path / "differences.csv"
    export.write_text(json.dumps([old]))
    result = run("compare", "--month", "2026-10", "--file", str(export))
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "0 differences.")
    old["total"] = old["lines"]["data"][0]["amount"] = 1201
    export.write_text(json.dumps([old]))
    result = run("compare", "--month", "2026-10", "--file", str(export), "--csv", str(table))
    assert (result.exit_code, result.output.splitlines()[-1]) == (1, "2 differences.")
    assert table.read_text(encoding="utf-8-sig").splitlines() == [
        "Organization,What,Description,Ours,Theirs,Currency",
        "Acme,total,,12.00,12.01,USD",
        "Acme,line,Item 0001,12.00,12.01,USD",
    ]
    result = run("compare", "--month", "2026-10")
    assert "0 invoices at Stripe, 1 customers compared." in result.output
    assert result.exit_code == 1
