"""The end of a month: everything has arrived at Stripe, both sides agree, and the run closes with its totals."""

import pytest

from portal import billing_cycle
from portal.infra import outbox
from portal.infra.db import transaction
from portal.invoicing.voiding import void_invoice
from tests.bill_runs.conftest import customers, examine, finalize, on, start, state, work
from tests.factories import NOW, sql

pytestmark = pytest.mark.usefixtures("books", "no_hold")


@pytest.fixture(autouse=True)
def sandbox_in_reach(sandbox):
    """Everything here talks to the stand-in for Stripe."""
    return sandbox


def finalized(count: int = 3):
    customers(count)
    run = start()
    work()
    finalize(run)
    work()
    assert state(run) == "syncing"
    return run


def test_a_run_closes_when_stripe_has_every_invoice(sandbox):
    run = finalized()
    on(run)
    assert state(run) == "syncing"
    outbox.drain()
    on(run)
    assert state(run) == "reconciling"
    outbox.drain()
    on(run)
    assert state(run) == "closed"
    [(report,)] = sql("SELECT report FROM bill_runs")
    assert report == {
        "organizations": {"finalized": 3},
        "sums": [{"currency": "USD", "organizations": 3, "total": 600, "amount_due": 600, "before": 600}],
        "sent": [
            {
                "currency": "USD",
                "invoices": 3,
                "amount_due": 600,
                "synced": 3,
                "synced_amount": 600,
                "settled": 0,
                "void": 0,
            }
        ],
        "stripe": "0 differences, 0.00",
        "problems": 0,
        "closed_by": "the clock",
    }
    theirs = [each["total"] for each in sandbox.invoices() if each["description"] != "September"]
    assert sum(theirs) == 1200
    assert examine() == []


def test_an_invoice_that_stripe_refuses_keeps_the_run_open_until_it_is_repaired(sandbox):
    run = finalized(2)
    sandbox.fault("POST /v1/invoices/*/finalize", "400", sticky=True)
    outbox.drain()
    on(run)
    assert state(run) == "reconciling"
    outbox.drain()
    on(run)
    assert state(run) == "reconciling"
    sandbox.heal()
    for (invoice_id,) in sql("SELECT id FROM invoices WHERE sync_state = 'dead'"):
        billing_cycle.sync_again(invoice_id)
    outbox.drain()
    # The next comparison, tonight's or one by hand, sees that both sides agree now.
    sql("UPDATE drift SET state = 'gone'")
    on(run)
    assert state(run) == "closed"
    assert examine() == []


def test_a_void_invoice_is_no_difference(sandbox):
    run = finalized(2)
    outbox.drain()
    [(invoice_id,)] = sql("SELECT min(invoice_id) FROM bill_run_items")
    with transaction():
        void_invoice(invoice_id, reason="a mistake", now=NOW)
    outbox.drain()
    on(run)
    outbox.drain()
    on(run)
    assert state(run) == "closed"
    [(report,)] = sql("SELECT report FROM bill_runs")
    assert (report["sent"][0]["invoices"], report["sent"][0]["void"], report["problems"]) == (1, 1, 0)
    assert examine() == []
