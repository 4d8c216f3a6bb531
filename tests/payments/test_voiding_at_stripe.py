"""An invoice that is voided here leaves nothing at Stripe, wherever its sync was at that moment."""

import random
import time
from itertools import product

import pytest

from portal.core.lifecycle import InvoiceState
from portal.infra import outbox
from portal.infra.db import transaction
from portal.invoicing.voiding import void_invoice
from portal.payments.gateway import client_of_app
from portal.payments.receiving import store_event
from tests.factories import MONTH, NOW, at_once, make_final, make_organization, reload, sql
from tests.full import part
from tests.payments.conftest import examine, open_rows, work
from tests.payments.test_adopting import MODES, run_once, settle, work_it_out

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("books", "impatient")]
CREATE, ADD = "POST /v1/invoices", "POST /v1/invoices/*/add_lines"


def void(invoice) -> None:
    with transaction():
        void_invoice(invoice.id, reason="wrong customer", now=NOW)


def assert_gone(sandbox, invoice) -> None:
    """Void here, and at Stripe void or not there at all."""
    assert reload(invoice).state == InvoiceState.VOID
    assert {each["status"] for each in sandbox.invoices(invoice.public_id)} <= {"void"}
    assert open_rows() == 0
    assert examine() == []


@pytest.mark.parametrize("mode", ["timeout_after", "reset_after", "500_after", "html_502_after", "missing_field:id"])
def test_a_draft_whose_creation_is_unknown_is_looked_up_and_deleted(sandbox, mode):
    sandbox.fault(CREATE, mode, seconds=5)
    invoice = make_final(make_organization(), "12.00")
    outbox.drain()
    sandbox.heal()
    assert reload(invoice).stripe_id is None
    assert len(sandbox.invoices()) == 1
    void(invoice)
    work()
    assert sandbox.invoices() == []
    assert reload(invoice).stripe_status == "deleted"
    assert sandbox.calls().count(CREATE) == 1
    assert_gone(sandbox, invoice)


@pytest.mark.parametrize("mode", ["timeout_before", "500_before", "html_502"])
def test_what_never_arrived_is_looked_for_until_that_is_certain_and_never_made(sandbox, mode):
    sandbox.fault(CREATE, mode, seconds=5)
    invoice = make_final(make_organization(), "12.00")
    outbox.drain()
    sandbox.heal()
    void(invoice)
    run_once()
    run_once()
    assert open_rows() == 1
    work_it_out()
    assert sandbox.calls().count(CREATE) == 1
    assert "never reached Stripe" in reload(invoice).sync_message
    assert_gone(sandbox, invoice)


def test_stripes_word_that_our_draft_is_deleted_is_no_trouble(sandbox):
    sandbox.fault(CREATE, "500_after")
    invoice = make_final(make_organization(), "12.00")
    outbox.drain()
    void(invoice)
    work()
    with transaction():
        for event in sandbox.events():
            store_event(event)
    work()
    assert sql("SELECT DISTINCT state FROM stripe_events WHERE type LIKE 'invoice.%'") == [("ignored",)]
    assert sql("SELECT count(*) FROM outbox WHERE dead_at IS NOT NULL") == [(0,)]
    assert_gone(sandbox, invoice)


def test_a_draft_that_comes_late_is_still_found(sandbox):
    sandbox.fault(CREATE, "500_before")
    invoice = make_final(make_organization(), "12.00")
    outbox.drain()
    void(invoice)
    run_once()
    [(parameters,)] = sql("SELECT parameters FROM stripe_calls WHERE step = 'create'")
    client_of_app().v1.invoices.create(parameters)
    settle()
    work_it_out()
    assert sandbox.invoices() == []
    assert_gone(sandbox, invoice)


@pytest.mark.parametrize(
    ("match", "mode"),
    part(list(product(["GET /v1/invoices", "GET /v1/invoices/*", "DELETE /v1/invoices/*"], MODES)), 5),
)
def test_whatever_happens_on_the_way_the_draft_is_gone_in_the_end(sandbox, match, mode):
    sandbox.fault(CREATE, "500_after")
    invoice = make_final(make_organization(), "12.00")
    outbox.drain()
    void(invoice)
    sandbox.fault(match, mode, seconds=5)
    run_once()
    run_once()
    sandbox.heal()
    work_it_out()
    assert sandbox.invoices() == []
    assert reload(invoice).stripe_status in ("deleted", "void")
    assert_gone(sandbox, invoice)


def test_a_draft_is_not_finalized_once_its_invoice_is_void_here(app, sandbox):
    sandbox.fault("GET /v1/invoices/*/lines", "429")
    invoice = make_final(make_organization(), "12.00")
    outbox.drain()
    sandbox.fault("GET /v1/invoices/*/lines", "slow:0.6")
    sql("UPDATE outbox SET run_after = clock_timestamp()")
    [(job,)] = sql("SELECT id FROM outbox")

    def void_soon() -> None:
        time.sleep(0.3)
        void(invoice)

    at_once(app, lambda: outbox.run(job), void_soon)
    assert "POST /v1/invoices/*/finalize" not in sandbox.calls()
    work()
    assert sandbox.invoices() == []
    assert_gone(sandbox, invoice)


def test_voided_at_any_moment_of_its_sync_it_ends_void_in_both(app, sandbox):
    organization = make_organization()
    make_final(organization, "1.00", month=MONTH.next, now=NOW.replace(month=12))
    work()
    chance = random.Random(34)
    for number in range(40):
        invoice = make_final(organization, "12.00", month=MONTH.plus(-number))
        [(job,)] = sql("SELECT id FROM outbox WHERE kind = 'sync_invoice' AND finished_at IS NULL")
        pause = chance.uniform(0, 0.25)

        def void_then(invoice=invoice, pause=pause) -> None:
            time.sleep(pause)
            void(invoice)

        def sync(job=job) -> None:
            outbox.run(job)

        at_once(app, sync, void_then)
        work()
        assert reload(invoice).state == InvoiceState.VOID
        assert {each["status"] for each in sandbox.invoices(invoice.public_id)} <= {"void"}, number
    assert open_rows() == 0
    assert examine() == []
