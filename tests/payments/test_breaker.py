"""While Stripe does not answer nothing is sent or counted; one call asks; then the queue drains in order."""

import time
from dataclasses import replace
from datetime import timedelta

import pytest

from portal import create_app
from portal.core.lifecycle import SyncState
from portal.infra import outbox
from portal.infra.db import db, transaction
from portal.infra.outbox import RetryLater
from portal.payments import breaker, gateway
from portal.payments.breaker import FIRST_WAIT, OPENS_AFTER, Parked, standing
from portal.payments.journal import read_now
from portal.payments.receiving import store_event
from tests.factories import MONTH, NOW, acting, at_once, make_final, make_organization, reload, sql
from tests.payments.conftest import examine, open_rows, work

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("books", "impatient")]


def stand():
    with transaction():
        return standing()


def break_it(sandbox, mode="html_502") -> None:
    """Stripe is away, and five calls have seen it."""
    for match in ("GET /v1/invoices/*", "GET /v1/invoices", "POST /v1/customers", "POST /v1/invoices"):
        sandbox.fault(match, mode, sticky=True, seconds=1)
    for _ in range(OPENS_AFTER):
        with pytest.raises(RetryLater):
            read_now(lambda: gateway.read_invoice("in_none"))


def let_time_pass() -> None:
    sql("UPDATE stripe_circuit SET retry_at = clock_timestamp() WHERE opened_at IS NOT NULL")


def make_due() -> None:
    sql("UPDATE outbox SET run_after = clock_timestamp() WHERE finished_at IS NULL AND dead_at IS NULL")


@pytest.mark.parametrize("mode", ["html_502", "429", "500_before", "reset_after", "timeout_before"])
def test_the_circuit_opens_after_five_in_a_row_and_nothing_more_is_sent(sandbox, mode):
    break_it(sandbox, mode)
    opened = stand()
    assert opened.waiting == 0
    assert opened.retry_at - opened.opened_at == FIRST_WAIT
    calls = len(sandbox.calls())
    assert calls == OPENS_AFTER
    with pytest.raises(Parked):
        read_now(lambda: gateway.read_invoice("in_none"))
    assert len(sandbox.calls()) == calls
    assert sql("SELECT action, reason IS NOT NULL FROM audit_entries WHERE subject_kind = 'stripe'") == [
        ("stopped sending to Stripe", True)
    ]


def test_an_answer_between_two_failures_begins_the_count_anew(sandbox):
    invoice = make_final(make_organization(), "1.00")
    work()
    stripe_id = reload(invoice).stripe_id
    for _ in range(3):
        sandbox.fault("GET /v1/invoices/*", "429", times=OPENS_AFTER - 1)
        for _ in range(OPENS_AFTER - 1):
            with pytest.raises(RetryLater):
                read_now(lambda: gateway.read_invoice(stripe_id))
        assert read_now(lambda: gateway.read_invoice(stripe_id))["id"] == stripe_id
    assert stand() is None


def test_a_refusal_is_an_answer(sandbox):
    for _ in range(OPENS_AFTER + 1):
        with pytest.raises(outbox.GiveUp):
            read_now(lambda: gateway.read_invoice("in_none"))
    assert stand() is None


def test_a_stored_error_says_nothing_against_stripe(sandbox):
    """One sick invoice must not stop all others."""
    organization = make_organization()
    make_final(organization, "1.00")
    work()
    for number in range(OPENS_AFTER):
        sandbox.fault("POST /v1/invoices", "500_after")
        make_final(organization, "1.00", month=MONTH.plus(-1 - number))
        work()
    assert stand() is None
    assert len(sandbox.invoices()) == OPENS_AFTER + 1
    assert examine() == []


def test_while_it_is_open_work_is_put_back_without_counting_and_says_why(sandbox):
    break_it(sandbox)
    calls = len(sandbox.calls())
    invoice = make_final(make_organization(), "12.00")
    for _ in range(outbox.MAX_TRIES + 2):
        make_due()
        outbox.drain()
    assert len(sandbox.calls()) == calls
    assert (reload(invoice).sync_state, reload(invoice).sync_message) == (SyncState.PENDING, None)
    assert sql("SELECT tries, last_error, dead_at FROM outbox") == [(0, breaker.WAITS, None)]
    assert sql("SELECT count(*) FROM stripe_calls") == [(0,)]
    assert stand().waiting == 1
    assert examine() == []


def test_an_invoice_whose_outcome_is_unknown_stays_unknown_while_it_waits(sandbox):
    sandbox.fault("POST /v1/invoices", "reset_after")
    invoice = make_final(make_organization(), "12.00")
    outbox.drain()
    before = reload(invoice).sync_message
    break_it(sandbox)
    make_due()
    outbox.drain()
    assert (reload(invoice).sync_state, reload(invoice).sync_message) == (SyncState.UNKNOWN, before)
    sandbox.heal()
    let_time_pass()
    work()
    assert reload(invoice).sync_state == SyncState.SYNCED
    assert len(sandbox.invoices()) == 1
    assert examine() == []


def test_a_restart_remembers_it(app, sandbox):
    break_it(sandbox)
    again = create_app(app.config["SETTINGS"])
    with acting(again):
        assert stand() is not None
        with pytest.raises(Parked):
            read_now(lambda: gateway.read_invoice("in_none"))
        db.session.remove()
        db.engine.dispose()


def test_one_call_at_a_time_asks_and_each_failure_doubles_the_wait(app, sandbox):
    break_it(sandbox)
    calls = len(sandbox.calls())
    for failures, wait in ((1, 60), (2, 120), (3, 240), (4, 300), (5, 300)):
        let_time_pass()
        results = at_once(app, *[_ask] * 4)
        assert sorted(results) == ["failed", "parked", "parked", "parked"]
        assert len(sandbox.calls()) == calls + failures
        [(probes, remaining)] = sql("SELECT failed_probes, retry_at - clock_timestamp() FROM stripe_circuit")
        assert probes == failures
        assert timedelta(seconds=wait) / 2 < remaining <= timedelta(seconds=wait)
    sandbox.heal()
    let_time_pass()
    with pytest.raises(outbox.GiveUp):
        read_now(lambda: gateway.read_invoice("in_none"))
    assert stand() is None
    assert sql("SELECT failures, failed_probes FROM stripe_circuit") == [(0, 0)]


def _ask() -> str:
    try:
        read_now(lambda: gateway.read_invoice("in_none"))
    except Parked:
        return "parked"
    except RetryLater:
        return "failed"
    return "answered"


def test_a_probe_whose_process_dies_is_followed_by_another(sandbox):
    break_it(sandbox)
    let_time_pass()
    with transaction():
        assert breaker.admit().is_probe  # and then nothing is heard of it
    with pytest.raises(Parked), transaction():
        breaker.admit()
    let_time_pass()
    with transaction():
        assert breaker.admit().is_probe


def test_afterwards_the_queue_drains_in_the_order_of_finalizing(sandbox):
    break_it(sandbox)
    order = [4, 0, 3, 1, 5, 2]
    invoices = {
        minute: make_final(make_organization(f"org-{minute}"), "1.00", now=NOW + timedelta(minutes=minute))
        for minute in order
    }
    with transaction():
        store_event({"id": "evt_1", "type": "invoice.paid", "data": {"object": {"id": "in_x", "metadata": {}}}})
    outbox.drain()
    assert stand().waiting == len(order)  # the event is of nobody's invoice, so it asks for nothing
    sandbox.heal()
    let_time_pass()
    breaker.tend()
    deadline = time.monotonic() + 60
    while open_rows() and time.monotonic() < deadline:
        outbox.drain()
    created = [call["params"]["metadata"]["invoice_id"] for call in sandbox.ledger()["calls"] if _creates(call)]
    assert created == [str(invoices[minute].public_id) for minute in sorted(order)]
    assert {reload(each).sync_state for each in invoices.values()} == {SyncState.SYNCED}
    assert stand() is None
    assert examine() == []


def _creates(call) -> bool:
    return (call["method"], call["path"], call["status"]) == ("POST", "/v1/invoices", 200)


def test_the_clock_has_the_oldest_ask_and_only_when_it_is_time(sandbox):
    break_it(sandbox)
    late = make_final(make_organization("late"), "1.00", now=NOW + timedelta(hours=1))
    early = make_final(make_organization("early"), "1.00")
    outbox.drain()
    due = "SELECT dedupe_key FROM outbox WHERE run_after <= clock_timestamp()"
    breaker.tend()
    assert sql(due) == []
    let_time_pass()
    breaker.tend()
    assert sql(due) == [(str(early.id),)]
    assert late.id > 0


def test_the_clock_brings_back_what_was_just_being_put_back_when_the_circuit_closed(sandbox):
    break_it(sandbox)
    invoice = make_final(make_organization(), "1.00")
    outbox.drain()
    sandbox.heal()
    sql("UPDATE stripe_circuit SET opened_at = NULL, retry_at = NULL, failures = 0")
    breaker.tend()
    assert sql("SELECT last_error FROM outbox") == [(breaker.ITS_TURN_COMES,)]
    outbox.drain()
    assert reload(invoice).sync_state == SyncState.SYNCED
    assert examine() == []


def test_brought_back_jobs_are_spread_by_what_stripe_takes(app, sandbox, monkeypatch):
    settings = replace(app.config["SETTINGS"], stripe_endpoint_calls_per_second=4)
    monkeypatch.setitem(app.config, "SETTINGS", settings)
    break_it(sandbox)
    for number in range(5):
        make_final(make_organization(f"org-{number}"), "1.00", now=NOW + timedelta(minutes=number))
    outbox.drain()
    with transaction():
        assert breaker.bring_back() == 5
        assert breaker.bring_back() == 0
    [(spread,)] = sql("SELECT max(run_after) - min(run_after) FROM outbox")
    assert timedelta(seconds=1) <= spread < timedelta(seconds=2)


def test_readiness_says_so_in_a_sentence(app, client, sandbox):
    assert client.get("/readyz").get_json() == {"database": "ok", "redis": "ok"}
    break_it(sandbox)
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert "Stripe has not answered since" in answer.get_json()["stripe"]
