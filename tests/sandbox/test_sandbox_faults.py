"""Each fault does to a call what it is named for, and leaves the truth in the ledger."""

import threading
import time

import pytest
import stripe


def test_a_timeout_after_the_work_is_repaired_by_the_same_key(sandbox, customer):
    sandbox.fault("POST /v1/invoices", "timeout_after", seconds=20)
    hasty = sandbox.client(timeout=0.3)
    call = ({"customer": customer}, {"idempotency_key": "k1"})
    with pytest.raises(stripe.APIConnectionError):
        hasty.v1.invoices.create(*call)
    again = hasty.v1.invoices.create(*call)
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert [invoice["id"] for invoice in sandbox.ledger()["invoices"]] == [again.id]


def test_a_timeout_before_the_work_leaves_nothing(sandbox):
    sandbox.fault("POST /v1/customers", "timeout_before", seconds=20)
    with pytest.raises(stripe.APIConnectionError):
        sandbox.client(timeout=0.3).v1.customers.create({}, {"idempotency_key": "k1"})
    assert sandbox.ledger()["customers"] == []


@pytest.mark.parametrize("mode", ["reset_after", "cut_after:20"])
def test_a_broken_connection_after_the_work(sandbox, client, mode):
    sandbox.fault("POST /v1/customers", mode)
    with pytest.raises(stripe.APIConnectionError):
        client.v1.customers.create({}, {"idempotency_key": "k1"})
    assert client.v1.customers.create({}, {"idempotency_key": "k1"}).id == sandbox.ledger()["customers"][0]["id"]
    assert len(sandbox.ledger()["customers"]) == 1


@pytest.mark.parametrize(("mode", "made"), [("html_502", 0), ("html_502_after", 1), ("garbage_body", 1)])
def test_an_answer_that_is_not_json(sandbox, client, mode, made):
    sandbox.fault("POST /v1/customers", mode)
    with pytest.raises(stripe.APIError):
        client.v1.customers.create({})
    assert len(sandbox.ledger()["customers"]) == made


def test_a_wrong_total_and_a_missing_field(sandbox, client, draft):
    sandbox.fault("GET /v1/invoices/*", "wrong_total:5")
    sandbox.fault("GET /v1/invoices/*", "missing_field:currency", nth=2)
    assert client.v1.invoices.retrieve(draft).total == 1205
    assert "currency" not in client.v1.invoices.retrieve(draft)
    assert client.v1.invoices.retrieve(draft).total == 1200


def test_a_fault_hits_the_nth_call_and_as_often_as_asked(sandbox, client):
    sandbox.fault("POST /v1/customers", "429", nth=2, times=2)
    outcomes = []
    for _ in range(4):
        try:
            client.v1.customers.create({})
            outcomes.append("made")
        except stripe.RateLimitError:
            outcomes.append("limited")
    assert outcomes == ["made", "limited", "limited", "made"]


def test_a_sticky_fault_stays_until_it_is_cleared(sandbox, client):
    sandbox.fault("* /v1/customers", "lock_timeout", sticky=True)
    for _ in range(3):
        with pytest.raises(stripe.RateLimitError, match="currently accessing"):
            client.v1.customers.create({})
    sandbox.ctl("faults", method="DELETE")
    client.v1.customers.create({})


def test_a_fault_can_pick_its_victim_by_content(sandbox, client):
    sandbox.fault("POST /v1/customers", "500_before", contains="victim", sticky=True)
    client.v1.customers.create({"name": "bystander"})
    with pytest.raises(stripe.APIError):
        client.v1.customers.create({"name": "victim"})


def test_a_badly_described_fault_is_refused(sandbox):
    for body in (
        {"match": "POST /v1/customers", "mode": "earthquake"},
        {"match": "customers", "mode": "429"},
    ):
        with pytest.raises(Exception, match="400"):
            sandbox.ctl("faults", body)


def test_a_second_writer_waits_for_the_first(sandbox, client, draft):
    sandbox.fault(f"POST /v1/invoices/{draft}/add_lines", "slow:0.4")
    slow = threading.Thread(target=client.v1.invoices.add_lines, args=(draft, {"lines": [{"amount": 1}]}))
    slow.start()
    time.sleep(0.1)
    started = time.monotonic()
    assert sandbox.client().v1.invoices.finalize_invoice(draft).total == 1201
    assert time.monotonic() - started > 0.2
    slow.join()


def test_the_dashboard_acts_behind_our_back(sandbox, client, draft):
    sandbox.ctl("dashboard", {"action": "edit", "invoice": draft, "add_line": {"amount": 50, "description": "?"}})
    assert client.v1.invoices.retrieve(draft).total == 1250
    sandbox.ctl("dashboard", {"action": "finalize", "invoice": draft})
    sandbox.ctl("dashboard", {"action": "edit", "invoice": draft, "changes": {"currency": "eur"}, "force": True})
    assert client.v1.invoices.retrieve(draft).currency == "eur"
    sandbox.ctl("dashboard", {"action": "void", "invoice": draft})
    assert client.v1.invoices.retrieve(draft).status == "void"


def test_the_ledger_counts_every_call_of_an_invoice(sandbox, client, draft):
    client.v1.invoices.retrieve(draft)
    client.v1.invoices.finalize_invoice(draft)
    calls = sandbox.ctl(f"calls?invoice={draft}", method="GET")["calls"]
    assert [call["path"].removeprefix(f"/v1/invoices/{draft}") for call in calls] == [
        "/v1/invoices", "/add_lines", "", "/finalize",
    ]  # fmt: skip
    assert calls[0]["params"]["auto_advance"] == "false"
    counts = sandbox.ledger()["counts"]
    assert (counts["POST /v1/invoices"], counts["POST /v1/invoices/<id>/finalize"]) == (1, 1)


@pytest.mark.parametrize("mode", ["400", "redirect:http://192.0.2.1/elsewhere"])
def test_a_refusal_or_redirect_does_nothing(sandbox, mode):
    sandbox.fault("POST /v1/customers", mode)
    status, headers = sandbox.raw("POST", "/v1/customers")
    assert (status, headers.get("Location")) == (int(mode) if mode == "400" else 302, mode[9:] or None)
    assert sandbox.ledger()["customers"] == []
