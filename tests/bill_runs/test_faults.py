"""Whatever is killed, lost, doubled or in the way: the month is billed once, without a gap, and the doctor agrees."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import count

import pytest

from portal.bill_runs import starting
from portal.bill_runs.advancing import go_on
from portal.bill_runs.models import RunKind
from portal.bill_runs.queries import list_runs
from portal.bill_runs.starting import start_run
from portal.bill_runs.steering import take_back
from portal.billing_cycle import open_drafts
from portal.core.errors import PortalError
from portal.core.periods import Month
from portal.infra import clock, outbox
from portal.infra.db import transaction
from tests.bill_runs.conftest import (
    customers,
    end_holds,
    examine,
    finalize,
    on,
    settings,
    start,
    state,
    states,
    work,
)
from tests.factories import MONTH, add, at_once, make_draft, make_meter, make_price, sql, use
from tests.full import every
from tests.infra.test_outbox import ROOT
from tests.payments.test_kill_at_every_step import Helper, expire_leases

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("books")]

# Of how many boundaries one is tried.
EVERY = every(29)
# A worker that ends itself and its parent with SIGKILL before the so many-th statement that contains a text.
WORKER = """
import os, signal
from portal import create_app
from portal.config import settings_from_env
from portal.infra.queue import worker_of
from sqlalchemy import event
from sqlalchemy.engine import Engine

app = create_app(settings_from_env(os.environ))
left = int(os.environ.get("KILL_AT", "0"))

def look(connection, cursor, statement, *rest):
    global left
    if os.environ["KILL_TEXT"] in statement:
        left -= 1
        if left == 0:
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

if left:
    event.listen(Engine, "before_cursor_execute", look)
with app.app_context():
    worker_of(app).work(burst=True, logging_level="WARNING")
"""


def run_worker(environment: dict[str, str], *, kill_at: int = 0, text: str = "") -> int:
    """A real RQ worker process that ends when the queue is empty, or in the middle; its exit code."""
    more = {"PYTHONPATH": str(ROOT), "LOG_LEVEL": "CRITICAL", "KILL_AT": str(kill_at), "KILL_TEXT": text}
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        cwd=ROOT,
        env={**os.environ, **environment, **more},
        timeout=60,
        capture_output=True,
        check=False,
    )
    return done.returncode


def ring() -> None:
    """As time goes by: leases end, and the clock rings for what nobody works on."""
    sql(
        "UPDATE outbox SET lease_until = NULL, woken_at = NULL, run_after = least(run_after, clock_timestamp())"
        " WHERE finished_at IS NULL AND dead_at IS NULL AND kind LIKE 'bill_run%'"
    )
    outbox.sweep()


def numbers() -> list[int]:
    rows = sql("SELECT number FROM invoices WHERE number IS NOT NULL")
    return sorted(int(number.rpartition("-")[2]) for (number,) in rows)


@pytest.mark.slow
def test_a_worker_that_is_killed_in_the_middle_of_each_stage(portal_environment, clean_redis):
    customers(6)
    environment = portal_environment
    run = start()
    # In the middle of computing: nothing of the chunk is kept.
    assert run_worker(environment, kill_at=1, text="usage_series") == -signal.SIGKILL
    assert states(run) == {"waiting": 6}
    ring()
    assert run_worker(environment) == 0
    assert (state(run), states(run)) == ("review", {"approved": 6})
    finalize(run)
    # In the middle of freezing: nothing of what is frozen together is kept.
    assert run_worker(environment, kill_at=1, text="INSERT INTO invoice_items") == -signal.SIGKILL
    assert states(run) == {"approved": 6}
    ring()
    assert run_worker(environment) == 0
    assert states(run) == {"scheduled": 6}
    # In the middle of finishing, after the numbers were taken: none is.
    end_holds()
    ring()
    assert run_worker(environment, kill_at=1, text="INSERT INTO audit_entries") == -signal.SIGKILL
    assert states(run) == {"scheduled": 6}
    assert numbers() == [1, 2, 3, 4, 5, 6]
    ring()
    assert run_worker(environment) == 0
    assert (state(run), states(run)) == ("syncing", {"finalized": 6})
    assert numbers() == list(range(1, 13))
    assert examine() == []


@pytest.mark.slow
def test_redis_forgets_everything_in_the_middle(portal_environment, clean_redis, monkeypatch):
    """R05: jobs of a run are rows; Redis only rings."""
    monkeypatch.setattr(starting, "CHUNK_SIZE", 4)
    customers(20)
    run = start()
    assert sql("SELECT count(*) FROM outbox WHERE kind = 'bill_run_generate'") == [(5,)]
    [(first,)] = sql("SELECT min(id) FROM outbox WHERE kind = 'bill_run_generate'")
    outbox.run(first)
    clean_redis.flushdb()
    assert run_worker(portal_environment) == 0
    assert states(run) == {"approved": 4, "waiting": 16}
    ring()
    assert run_worker(portal_environment) == 0
    assert (state(run), states(run)) == ("review", {"approved": 20})
    assert sql("SELECT count(*) FROM invoices WHERE period_start = '2026-10-01'") == [(20,)]
    assert examine() == []


def test_jobs_that_are_gone_altogether_are_asked_for_again(no_hold):
    customers(2)
    run = start()
    sql("UPDATE outbox SET dead_at = now() WHERE kind LIKE 'bill_run%'")
    work()
    assert states(run) == {"waiting": 2}
    on(run)
    work()
    finalize(run)
    sql("UPDATE outbox SET finished_at = now() WHERE kind LIKE 'bill_run%'")
    on(run)
    work()
    assert (state(run), states(run)) == ("syncing", {"finalized": 2})


def test_one_that_kills_its_process_every_time_fails_alone(no_hold):
    """The job runs again, one organization at a time, and gives up on the one that is always there when it dies."""
    customers(3)
    run = start()
    [(job,)] = sql("SELECT id FROM outbox WHERE kind = 'bill_run_generate'")
    # As after two deaths of the process: the others were not tried as often.
    sql("UPDATE outbox SET tries = 2 WHERE id = :id", id=job)
    sql("UPDATE bill_run_items SET attempts = 3 WHERE organization_id = (SELECT max(id) FROM organizations)")
    outbox.run(job)
    assert states(run) == {"approved": 2, "failed": 1}
    assert sql("SELECT reason FROM bill_run_items WHERE state = 'failed'") == [
        ("It was tried 3 times, and every time the job ended before it was done.",)
    ]


@pytest.fixture
def helper(portal_environment: dict[str, str]) -> Iterator[Helper]:
    """The process of the payments' tests that does a job and dies at its k-th boundary."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.payments.killable"],
        cwd=ROOT,
        env={**os.environ, **portal_environment, "LOG_LEVEL": "CRITICAL"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield Helper(process)
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


def newest(kind: str) -> int:
    return sql("SELECT max(id) FROM outbox WHERE kind = :kind AND finished_at IS NULL", kind=kind)[0][0]


@pytest.mark.slow
def test_killed_at_every_step_of_every_stage(helper, capsys):
    """At boundaries of each stage's job (with --full at all), then run again: one invoice each, without a gap."""
    organizations = customers(2)
    meter = make_meter("old_seconds", dimensions=())
    make_price(meter, "0.01", valid_from=date(2000, 1, 1))
    at = {kind: count(1, EVERY) for kind in ("generate", "freeze", "take_back", "finish")}
    over: set[str] = set()
    killed = dict.fromkeys(at, 0)

    def do(kind: str) -> None:
        """Do the stage's job: killed at its next boundary first, as long as it has one."""
        job = newest(f"bill_run_{kind}")
        if kind not in over:
            if helper(work="run", outbox_id=job, kill_at=next(at[kind]))["killed"]:
                killed[kind] += 1
            else:
                over.add(kind)
        expire_leases()
        helper(work="run", outbox_id=job)

    month = first = Month(2005, 1)
    while len(over) < len(at):
        now = month.plus(1).start + timedelta(days=3)
        for organization in organizations:
            use(organization, meter, 100, at=month.first_day, now=month.start)
        with transaction():
            run = start_run(month, RunKind.MONTHLY, by="Ada", now=now, settings=settings(), review_hours=None)
        do("generate")
        sql("UPDATE bill_run_items SET state = 'approved' WHERE state = 'generated'")
        assert (state(run), states(run)) == ("review", {"approved": 2}), month
        finalize(run, now=now)
        do("freeze")
        assert states(run) == {"scheduled": 2}, month
        with transaction():
            take_back(run.public_id, now=now)
        do("take_back")
        assert states(run) == {"approved": 2}, month
        finalize(run, now=now)
        helper(work="run", outbox_id=newest("bill_run_freeze"))
        end_holds()
        do("finish")
        assert (state(run), states(run)) == ("syncing", {"finalized": 2}), month
        month = month.next
    with capsys.disabled():
        sys.stdout.write(f"\nbill run: killed {killed}\n")
    assert all(each > 2 for each in killed.values())
    billed = 12 * (month.year - first.year) + month.month - first.month
    assert numbers() == list(range(1, 2 + 2 * billed + 1))
    assert sql("SELECT count(*) FROM outbox WHERE kind = 'sync_invoice'") == [(2 + 2 * billed,)]
    assert examine() == []


def test_three_clocks_at_once_start_one_run(app):
    """R23: the unique key of month and kind decides, and every chunk has one job."""
    customers(3)
    open_drafts(MONTH)
    now = datetime(2026, 11, 3, 0, 0, tzinfo=UTC)
    at_once(app, *[lambda: go_on(now=now, settings=app.config["SETTINGS"])] * 3)
    on_clock = sql("SELECT month, kind, state, started_by FROM bill_runs")
    assert [tuple(row) for row in on_clock] == [(date(2026, 10, 1), "monthly", "generating", "the clock")]
    assert sql("SELECT count(*) FROM outbox WHERE kind = 'bill_run_generate'") == [(1,)]
    assert sql("SELECT count(*) FROM bill_run_items") == [(3,)]
    assert sql("SELECT count(*) FROM audit_entries WHERE action = 'planned bill run'") == [(1,)]


def test_the_clock_waits_for_the_end_of_the_grace_time(app):
    customers(1)
    open_drafts(MONTH)
    for moment, runs in (
        (datetime(2026, 11, 2, 23, 59, 59, tzinfo=UTC), 0),
        (datetime(2026, 11, 3, tzinfo=UTC), 1),
    ):
        go_on(now=moment, settings=settings())
        assert sql("SELECT count(*) FROM bill_runs") == [(runs,)]


def test_a_clock_that_was_away_for_two_months_catches_up_in_order_and_once(app, monkeypatch):
    """R24: the runs of October and November, each once; November's waits until October is final."""
    first, _ = customers(2)
    open_drafts(MONTH)
    meter = make_meter()
    use(first, meter, 50, at=date(2026, 11, 5), region="ams")
    now = datetime(2027, 1, 2, 12, 0, tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda: now)
    for _ in range(3):
        go_on(now=now, settings=settings())
    assert [tuple(row) for row in sql("SELECT month, state FROM bill_runs ORDER BY month")] == [
        (date(2026, 10, 1), "generating"),
        (date(2026, 11, 1), "planned"),
    ]
    work()
    [october, november] = runs()
    finalize(october, now=now)
    work()
    end_holds()
    work()
    assert state(october) == "syncing"
    go_on(now=now, settings=settings())
    work()
    assert (state(november), states(november)) == ("review", {"approved": 1, "generated": 1})
    # December is complete two days into January; T16: the runs under way go on with their own month.
    later = datetime(2027, 1, 3, 0, 0, tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda: later)
    go_on(now=later, settings=settings())
    assert len(runs()) == 3
    assert sql("SELECT as_of FROM bill_runs WHERE month = '2026-10-01'") == [(now,)]
    assert {row[0] for row in sql("SELECT period_start FROM invoices WHERE id IN"
                                  " (SELECT invoice_id FROM bill_run_items WHERE bill_run_id = :id)", id=november.id)
            } == {date(2026, 11, 1)}  # fmt: skip
    assert sql("SELECT DISTINCT left(number, 8) FROM invoices WHERE period_start = '2026-10-01'") == [("INV-2027",)]
    assert examine() == []


def runs():
    with transaction():
        return list(reversed(list_runs()))


def test_finalizing_in_bulk_beside_items_ingest_and_a_second_worker(app, monkeypatch):
    """P08: rows are locked in one order; nobody waits for ever, nothing is billed twice and nothing is lost."""
    monkeypatch.setattr(starting, "CHUNK_SIZE", 5)
    organizations = customers(20)
    make_price(make_meter("gpu"), "1")
    drafts = [make_draft(each) for each in organizations]
    run = start()
    work()
    sql("UPDATE bill_runs SET hold_seconds = 0")
    finalize(run)
    jobs = [row[0] for row in sql("SELECT id FROM outbox WHERE kind = 'bill_run_freeze' ORDER BY id")]
    assert len(jobs) == 4

    def worker(ids):
        for job in ids:
            outbox.run(job)

    def add_items():
        added = 0
        for draft in drafts[::-1]:
            try:
                add(draft, "1.00")
                added += 1
            except PortalError:
                pass
        return added

    def report():
        for organization in organizations:
            use(organization, make_meter(), 10, at=date(2026, 10, 6), region="fra")

    results = at_once(app, lambda: worker(jobs[:2]), lambda: worker(jobs[2:]), add_items, report)
    assert isinstance(results[2], int)
    ring()
    work()
    on(run)
    found = states(run)
    assert found.pop("generated", 0) + found.pop("finalized") == 20
    assert found == {}
    [(items, billed)] = sql(
        "SELECT (SELECT count(*) FROM one_off_items AS o JOIN invoices AS i ON i.id = o.invoice_id"
        "        WHERE i.state = 'finalized' AND i.period_start = '2026-10-01'),"
        " (SELECT count(*) FROM invoice_items AS l JOIN invoices AS i ON i.id = l.invoice_id"
        "  WHERE l.one_off_item_id IS NOT NULL AND i.period_start = '2026-10-01')"
    )
    assert items == billed
    assert numbers() == list(range(1, len(numbers()) + 1))
    assert examine() == []


def test_the_doctor_sees_a_run_that_is_stuck_and_one_that_says_what_is_not_so(no_hold):
    customers(2)
    run = start()
    sql("UPDATE outbox SET dead_at = now() WHERE kind LIKE 'bill_run%'")
    assert examine() == []
    sql("UPDATE bill_run_items SET updated_at = now() - interval '16 minutes'")
    assert ["I8 no bill run is stuck" in each for each in examine()] == [True]
    on(run)
    assert examine() == []
    work()
    finalize(run)
    work()
    sql("UPDATE bill_run_items SET total = total + 1 WHERE organization_id = 1")
    assert ["I10 what a bill run says" in each for each in examine()] == [True]


def test_the_doctor_sees_an_invoice_that_is_forgotten_in_its_hold_window():
    customers(1)
    run = start()
    work()
    finalize(run)
    work()
    sql("UPDATE invoices SET finalize_at = now() - interval '1 hour' WHERE state = 'scheduled'")
    assert examine() == []
    sql("UPDATE bill_run_items SET state = 'skipped', reason = 'x'")
    assert ["I8 no invoice is forgotten" in each for each in examine()] == [True]
