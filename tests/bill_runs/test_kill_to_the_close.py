"""A month that is killed anywhere on its way from drafts to a closed run: one invoice each, here and at Stripe.

At every so many-th statement, commit and call of each stage; with --full at all of them.
"""

import signal
import sys
from collections import Counter
from datetime import date, timedelta
from itertools import count

import pytest

from portal.bill_runs.models import RunKind
from portal.bill_runs.starting import start_run
from portal.core.periods import Month
from portal.infra import outbox
from portal.infra.db import transaction
from portal.payments.reconciling import RECONCILE
from tests.bill_runs.conftest import customers, examine, finalize, on, settings, start, state, states, work
from tests.bill_runs.test_faults import newest, numbers, run_worker
from tests.factories import finalize_now, make_draft, make_meter, make_organization, make_price, reload, sql, use
from tests.full import every
from tests.payments.test_kill_at_every_step import (
    Helper,
    expire_leases,
    helper,  # noqa: F401 - the fixture
    kill_everywhere,
    newest_job,
)

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.usefixtures("books", "sandbox")]

# Of how many boundaries one is tried.
EVERY = every(53)
JOBS = ("bill_run_generate", "bill_run_freeze", "bill_run_finish", "sync_invoice", RECONCILE)
OF_THE_CLOCK = ("to reconciling", "to the close")


def ring() -> None:
    """As time goes by: leases end, and the clock rings for whatever nobody works on."""
    expire_leases()
    sql("UPDATE outbox SET woken_at = NULL WHERE finished_at IS NULL AND dead_at IS NULL")
    outbox.sweep()


class Killing:
    """Does each stage's work: killed at its next boundary first, as long as it has one, then once more."""

    def __init__(self, do_it: Helper) -> None:
        self._do_it = do_it
        self._at = {stage: count(1, EVERY) for stage in (*JOBS, *OF_THE_CLOCK)}
        self.killed = dict.fromkeys(self._at, 0)
        self.over: set[str] = set()

    @property
    def is_over(self) -> bool:
        """Whether every stage was killed at its last boundary."""
        return len(self.over) == len(self._at)

    def job(self, kind: str) -> None:
        """The newest job of a kind; then all others of it."""
        self._twice(kind, {"work": "run", "outbox_id": newest(kind)})
        for (outbox_id,) in sql(
            "SELECT id FROM outbox WHERE kind = :kind AND finished_at IS NULL ORDER BY id", kind=kind
        ):
            self._do_it(work="run", outbox_id=outbox_id)

    def clock(self, stage: str, run_id: int, now: str) -> None:
        """What the clock does to bring a run on."""
        self._twice(stage, {"work": "advance", "run_id": run_id, "now": now})

    def _twice(self, stage: str, order: dict) -> None:
        if stage not in self.over:
            if self._do_it(**order, kill_at=next(self._at[stage]))["killed"]:
                self.killed[stage] += 1
            else:
                self.over.add(stage)
        expire_leases()
        self._do_it(**order)


def test_a_run_that_is_killed_anywhere_closes_with_one_invoice_each(helper, sandbox, capsys):  # noqa: F811
    organizations = customers(2)
    meter = make_meter("old_seconds", dimensions=())
    make_price(meter, "0.01", valid_from=date(2000, 1, 1))
    outbox.drain()
    killing = Killing(helper)
    month = first = Month(2005, 1)
    while not killing.is_over:
        now = month.end + timedelta(days=3)
        for organization in organizations:
            use(organization, meter, 100, at=month.first_day, now=month.start)
        with transaction():
            run = start_run(month, RunKind.MONTHLY, by="Ada", now=now, settings=settings(), review_hours=None)
            run.hold_seconds = 0
        killing.job("bill_run_generate")
        sql("UPDATE bill_run_items SET state = 'approved' WHERE state = 'generated'")
        assert (state(run), states(run)) == ("review", {"approved": 2}), month
        finalize(run, now=now)
        killing.job("bill_run_freeze")
        assert states(run) == {"scheduled": 2}, month
        killing.job("bill_run_finish")
        assert (state(run), states(run)) == ("syncing", {"finalized": 2}), month
        killing.job("sync_invoice")
        killing.clock("to reconciling", run.id, now.isoformat())
        assert state(run) == "reconciling", month
        killing.job(RECONCILE)
        killing.clock("to the close", run.id, now.isoformat())
        assert state(run) == "closed", month
        month = month.next
    with capsys.disabled():
        sys.stdout.write(f"\nto the close: killed at {sum(killing.killed.values())} points, {killing.killed}\n")
    assert min(killing.killed.values()) >= 1
    months = 12 * (month.year - first.year) + month.month - first.month
    ours = 2 + 2 * months
    assert numbers() == list(range(1, ours + 1))
    assert sql("SELECT count(*), count(DISTINCT (organization_id, period_start)) FROM invoices") == [(ours, ours)]
    assert sql("SELECT DISTINCT sync_state FROM invoices") == [("synced",)]
    theirs = Counter(each["metadata"]["invoice_id"] for each in sandbox.invoices())
    assert (len(theirs), set(theirs.values())) == (ours, {1})
    assert sql("SELECT count(*) FROM audit_entries WHERE action = 'finalized'") == [(ours,)]
    assert sql("SELECT count(*) FROM drift WHERE state = 'open'") == [(0,)]
    assert examine() == []


def test_the_end_of_a_hold_window_that_is_killed_anywhere_takes_one_number(helper, capsys):  # noqa: F811
    meter = make_meter()
    make_price(meter, "0.05")
    invoices = []

    def prepare(number: int) -> int:
        organization = make_organization(f"org-{number}")
        use(organization, meter, 100, at=date(2026, 10, 3), region="ams")
        invoices.append(finalize_now(make_draft(organization), hold_seconds=30))
        sql("UPDATE outbox SET run_after = now() WHERE kind = 'finish_finalizing' AND finished_at IS NULL")
        return newest_job("finish_finalizing")

    kill_everywhere(helper, prepare, capsys, "end of the hold window", every=max(1, EVERY // 6))
    assert numbers() == list(range(1, len(invoices) + 1))
    assert {(each.state, each.total) for each in map(reload, invoices)} == {("finalized", 500)}
    for action in ("scheduled finalizing", "finalized"):
        assert sql("SELECT count(*) FROM audit_entries WHERE action = :action", action=action) == [(len(invoices),)]
    assert sql("SELECT count(*) FROM outbox WHERE kind = 'sync_invoice'") == [(len(invoices),)]
    assert examine() == []


def test_real_workers_that_are_killed_while_a_run_is_sent_and_compared(no_hold, portal_environment, sandbox):
    customers(3)
    run = start()
    work()
    finalize(run)
    work()
    assert state(run) == "syncing"
    environment = {**portal_environment, "STRIPE_API_BASE": sandbox.url}
    # Between what is written down before a call and what is written after it.
    assert run_worker(environment, kill_at=7, text="UPDATE stripe_calls") == -signal.SIGKILL
    ring()
    assert run_worker(environment) == 0
    assert sql("SELECT DISTINCT sync_state FROM invoices") == [("synced",)]
    on(run)
    assert state(run) == "reconciling"
    # With a page read, and not yet written down how far it went.
    assert run_worker(environment, kill_at=2, text="UPDATE reconciliations") == -signal.SIGKILL
    ring()
    assert run_worker(environment) == 0
    on(run)
    assert state(run) == "closed"
    assert Counter(each["metadata"]["invoice_id"] for each in sandbox.invoices()).most_common(1)[0][1] == 1
    assert len(sandbox.invoices()) == 6
    assert numbers() == list(range(1, 7))
    assert examine() == []
