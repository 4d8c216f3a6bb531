"""The worker dies at each step, once at each: there is one invoice at Stripe, one number, and no doubt."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date

import pytest

from portal.core.lifecycle import SyncState
from portal.infra.db import transaction
from portal.invoicing.voiding import void_invoice
from portal.payments.receiving import store_event
from tests.factories import (
    MONTH,
    NOW,
    add,
    fingerprint_of,
    make_draft,
    make_final,
    make_meter,
    make_organization,
    make_price,
    reload,
    sql,
    use,
)
from tests.full import every
from tests.payments.conftest import ROOT, examine, open_rows, work

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.usefixtures("books")]
# All points with --full; at other times some.
EVERY = every(7)


class Helper:
    """The process that does the work and dies."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process

    def __call__(self, **order: object) -> dict:
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@pytest.fixture(scope="module")
def helper(portal_environment: dict[str, str], sandbox_process: str) -> Iterator[Helper]:
    environment = {**os.environ, **portal_environment, "STRIPE_API_BASE": sandbox_process, "LOG_LEVEL": "CRITICAL"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.payments.killable"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield Helper(process)
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


def expire_leases() -> None:
    sql(
        "UPDATE outbox SET lease_until = now() - interval '1 second', run_after = now()"
        " WHERE finished_at IS NULL AND dead_at IS NULL"
    )


def kill_everywhere(helper: Helper, prepare: Callable[[int], int], capsys, what: str, *, every: int = 1) -> int:
    """Run a job to count its boundaries; then, for a fresh one at every boundary, kill it there and run it again.

    With `every` only at each so many-th boundary. Returns at how many it was killed.
    """
    helper(work="run", outbox_id=prepare(0))  # the first connection of a process asks the server some things more
    points = helper(work="run", outbox_id=prepare(999))["boundaries"]
    assert points > 20
    killed_at = range(1, points + 1, every)
    for k in killed_at:
        outbox_id = prepare(k)
        assert helper(work="run", outbox_id=outbox_id, kill_at=k)["killed"], k
        expire_leases()
        helper(work="run", outbox_id=outbox_id)
        [(finished, dead)] = sql("SELECT finished_at, dead_at FROM outbox WHERE id = :id", id=outbox_id)
        assert finished is not None, k
        assert dead is None, k
    with capsys.disabled():
        sys.stdout.write(f"\n{what}: killed at {len(killed_at)} of {points} points\n")
    return len(killed_at)


def newest_job(kind: str) -> int:
    return sql("SELECT max(id) FROM outbox WHERE kind = :kind AND finished_at IS NULL", kind=kind)[0][0]


def test_a_sync_that_is_killed_anywhere_makes_one_invoice_at_stripe(helper, sandbox, capsys):
    invoices = []

    def prepare(number: int) -> int:
        organization = make_organization(f"org-{number}")
        invoices.append(make_final(organization, "12.00", "23.45"))
        return newest_job("sync_invoice")

    points = kill_everywhere(helper, prepare, capsys, "sync", every=EVERY)
    ledger = sandbox.ledger()
    theirs = Counter(each["metadata"]["invoice_id"] for each in ledger["invoices"])
    assert theirs == {str(each.public_id): 1 for each in invoices}
    customers = Counter(each["metadata"]["organization_id"] for each in ledger["customers"])
    assert len(customers) == points + 2
    assert set(customers.values()) == {1}
    assert {(each["status"], each["total"], len(each["lines"])) for each in ledger["invoices"]} == {("open", 3545, 2)}
    for invoice in map(reload, invoices):
        assert (invoice.sync_state, invoice.amount_due, bool(invoice.stripe_id)) == (SyncState.SYNCED, 3545, True)
    assert sql("SELECT count(*) FROM audit_entries WHERE action = 'synced to Stripe'") == [(points + 2,)]
    assert examine() == []


def test_a_finalize_that_is_killed_anywhere_takes_one_number_and_leaves_no_gap(helper, sandbox, capsys):
    meter = make_meter()
    make_price(meter, "0.05")

    def prepare(number: int) -> dict:
        organization = make_organization(f"org-{number}")
        use(organization, meter, 100 + number, at=date(2026, 10, 3), region="ams")
        credit = make_draft(organization, MONTH.previous)
        add(credit, "-2.00")
        order(credit)
        invoice = make_draft(organization)
        add(invoice, "12.00")
        invoices.append(invoice)
        return order(invoice, run=False)

    def order(invoice, *, run: bool = True) -> dict:
        what = {
            "work": "finalize",
            "public_id": str(invoice.public_id),
            "fingerprint": fingerprint_of(invoice),
            "now": NOW.isoformat(),
            "again": False,
        }
        if run:
            helper(**what)
        return what

    invoices: list = []
    helper(**prepare(0))
    points = helper(**prepare(999))["boundaries"]
    assert points > 20
    # The last one is after the commit.
    killed_at = range(points, 0, -EVERY)
    committed = 0
    for k in killed_at:
        what = prepare(k)
        assert helper(**what, kill_at=k)["killed"], k
        state = reload(invoices[-1]).state
        assert state in ("draft", "finalized")
        committed += state == "finalized"
        if state == "draft":
            assert sql("SELECT count(*) FROM invoice_items WHERE invoice_id = :id", id=invoices[-1].id) == [(0,)]
        helper(**{**what, "again": True})
    with capsys.disabled():
        sys.stdout.write(
            f"\nfinalize: killed at {len(killed_at)} of {points} points, {committed} of them after the commit\n"
        )
    assert 1 <= committed < len(killed_at)
    finalized = len(killed_at) + 2
    numbers = sorted(int(reload(invoice).number.rpartition("-")[2]) for invoice in invoices)
    taken = sorted(int(n.rpartition("-")[2]) for (n,) in sql("SELECT number FROM invoices WHERE number IS NOT NULL"))
    assert taken == list(range(1, 2 * finalized + 1))
    assert len(set(numbers)) == finalized
    for number, invoice in zip([0, 999, *killed_at], map(reload, invoices), strict=True):
        assert (invoice.total, invoice.balance_applied) == (1200 + 5 * (100 + number), 200)
    assert sql("SELECT count(*) FROM outbox WHERE kind = 'sync_invoice'") == [(finalized,)]
    assert sql("SELECT sum(amount) FROM balance_entries") == [(0,)]
    assert examine() == []


def test_a_void_that_is_killed_anywhere_voids_once(helper, sandbox, capsys):
    organization = make_organization()
    make_final(organization, "1.00", month=MONTH.plus(1), now=NOW.replace(month=12))
    work()
    invoices = []

    def prepare(number: int) -> int:
        invoice = make_final(organization, "12.00", month=MONTH.plus(-number))
        helper(work="run", outbox_id=newest_job("sync_invoice"))
        with transaction():
            void_invoice(invoice.id, reason="a mistake", now=NOW)
        invoices.append(invoice)
        return newest_job("void_at_stripe")

    points = kill_everywhere(helper, prepare, capsys, "void", every=EVERY)
    statuses = Counter(each["status"] for each in sandbox.invoices())
    assert statuses == {"void": points + 2, "open": 1}
    assert {reload(invoice).stripe_status for invoice in invoices} == {"void"}
    assert examine() == []


def test_a_webhook_whose_job_is_killed_anywhere_is_applied_once(helper, sandbox, capsys):
    organization = make_organization()
    invoices = []

    def prepare(number: int) -> int:
        invoice = make_final(organization, "12.00", month=MONTH.plus(-number))
        helper(work="run", outbox_id=newest_job("sync_invoice"))
        stripe_id = reload(invoice).stripe_id
        sandbox.act("pay", invoice=stripe_id)
        with transaction():
            store_event(
                {"id": f"evt_{number}", "type": "invoice.paid", "data": {"object": {"id": stripe_id, "metadata": {}}}}
            )
        invoices.append(invoice)
        return newest_job("apply_stripe_event")

    points = kill_everywhere(helper, prepare, capsys, "webhook", every=EVERY)
    for invoice in map(reload, invoices):
        assert (invoice.payment_state, invoice.amount_paid) == ("paid", 1200)
    assert sql("SELECT count(*) FROM audit_entries WHERE action = 'payment changed'") == [(points + 2,)]
    assert sql("SELECT DISTINCT state FROM stripe_events") == [("applied",)]
    work()
    assert open_rows() == 0
    assert sql("SELECT count(*), count(DISTINCT invoice_id) FROM mails WHERE kind = 'receipt'") == [
        (points + 2, points + 2)
    ]
    assert examine() == []
