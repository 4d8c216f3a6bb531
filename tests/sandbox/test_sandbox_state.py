"""A history can be taught, and the state outlives the process."""

import json
import os
import signal
import subprocess
import sys
import urllib.error

import pytest

from portal.sandbox import create_sandbox
from portal.sandbox.forms import decode
from portal.sandbox.server import close_sandbox

HISTORY = {
    "customers": [{"id": "cus_acme", "name": "Acme", "created": 1760000000, "card": "succeeds"}],
    "invoices": [
        {
            "id": "in_acme_1",
            "customer": "cus_acme",
            "currency": "usd",
            "total": 1500,
            "status": "paid",
            "created": 1761000000,
            "metadata": {"invoice_id": "1"},
            "custom_fields": [{"name": "Invoice number", "value": "BP-2025-0001"}],
            "lines": [
                {"amount": 1000, "description": "Usage", "period": {"start": 1758000000, "end": 1760600000}},
                {"amount": 500, "description": "Fee", "metadata": {"item_id": "2"}},
            ],
        },
        {
            "id": "in_acme_2",
            "customer": "cus_acme",
            "currency": "usd",
            "total": 0,
            "status": "draft",
            "lines": [],
        },
    ],
}


def test_a_history_is_loaded_once_however_often_it_is_told(sandbox, client):
    for _ in range(2):
        assert sandbox.ctl("load", HISTORY) == {"customers": 1, "invoices": 2}
    invoice = client.v1.invoices.retrieve("in_acme_1")
    assert (invoice.status, invoice.total, invoice.amount_paid, invoice.amount_remaining) == (
        "paid",
        1500,
        1500,
        0,
    )
    assert invoice.status_transitions.paid_at == 1761000000
    assert [line.amount for line in invoice.lines.data] == [1000, 500]
    assert sandbox.ledger()["events"] == []
    assert "BP-2025-0001" in sandbox.get("/hosted/in_acme_1")[1]
    assert client.v1.invoices.add_lines("in_acme_2", {"lines": [{"amount": 100}]}).total == 100


def test_a_history_that_does_not_add_up_is_refused_whole(sandbox, client):
    wrong = {**HISTORY["invoices"][0], "total": 1}
    with pytest.raises(urllib.error.HTTPError):
        sandbox.ctl("load", {"customers": HISTORY["customers"], "invoices": [wrong]})
    assert sandbox.ledger()["customers"] == []


def test_the_state_file_brings_everything_back(serve, tmp_path):
    path = tmp_path / "state.json"
    first = create_sandbox(webhook_url="", webhook_secret="s", state_path=path)
    asked = {"Authorization": "Bearer sk_test_sandbox", "Idempotency-Key": "k1"}
    made = first.test_client().post("/v1/customers", data={"name": "Acme"}, headers=asked).get_json()["id"]
    first.test_client().post("/_ctl/load", json=HISTORY)
    close_sandbox(first)
    second = serve(state_path=path)
    client = second.client()
    assert client.v1.customers.retrieve(made).name == "Acme"
    assert client.v1.invoices.line_items.list("in_acme_1").data[0].description == "Usage"
    assert client.v1.customers.create({"name": "Acme"}, {"idempotency_key": "k1"}).id == made


def test_the_command_serves_and_keeps_its_state_when_terminated(tmp_path):
    path = tmp_path / "state.json"
    command = [
        sys.executable,
        "-m",
        "portal.sandbox",
        "--port",
        "0",
        "--webhook-url",
        "",
        "--state",
        str(path),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        assert "Stripe sandbox on http://127.0.0.1:" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.stdout.close()


def test_a_reset_forgets_everything(sandbox, client, draft):
    sandbox.ctl("reset")
    ledger = sandbox.ledger()
    assert (ledger["customers"], ledger["invoices"], ledger["calls"]) == ([], [], [])


def test_the_page_for_people_lists_the_ledger(sandbox, client, draft):
    sandbox.fault("POST /v1/refunds", "429")
    status, page = sandbox.get("/")
    assert status == 200
    for words in ("BP-2026-0007", "12.00 USD", "POST /v1/refunds"):
        assert words in page
    assert json.loads(sandbox.get("/healthz")[1]) == {"status": "ok"}


def test_the_control_endpoints_answer_this_machine_only():
    app = create_sandbox(webhook_url="", webhook_secret="s")
    far = app.test_client().get("/_ctl/ledger", environ_overrides={"REMOTE_ADDR": "192.0.2.7"})
    assert far.status_code == 403
    close_sandbox(app)


def test_bracketed_names_become_nested_data():
    assert decode("lines[1][amount]=2&lines[0][amount]=1&metadata[0]=x&expand[]=a&expand[]=b&empty=") == {
        "lines": [{"amount": "1"}, {"amount": "2"}],
        "metadata": {"0": "x"},
        "expand": ["a", "b"],
        "empty": "",
    }
