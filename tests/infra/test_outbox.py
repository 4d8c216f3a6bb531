"""The outbox is the truth about work; Redis only rings."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import redis
from rq.timeouts import JobTimeoutException
from sqlalchemy import text

from portal.infra import clock, outbox, queue
from portal.infra.db import transaction
from portal.infra.outbox import MAX_TRIES, GiveUp, LostLease, RetryLater
from tests.factories import make_draft, make_organization, sql

KIND = "test work"
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("books")


class Work:
    """A handler that a test can steer, and what was asked of it."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.does = lambda lease, number: None

    def __call__(self, lease: outbox.Lease, *, number: int) -> None:
        self.does(lease, number)
        with lease.transaction() as session:
            session.execute(text("INSERT INTO number_series (series) VALUES (:n)"), {"n": f"{number}-{lease.attempt}"})
        self.done.append(number)


@pytest.fixture
def handler() -> Iterator[Work]:
    steerable = Work()
    outbox._handlers[KIND] = steerable
    yield steerable
    del outbox._handlers[KIND]


def put(number: int = 1, **more: object) -> int:
    with transaction():
        outbox.enqueue(KIND, dedupe_key=str(number), organization_id=None, number=number, **more)
    return sql("SELECT max(id) FROM outbox")[0][0]


def row(outbox_id: int):
    [found] = sql(
        "SELECT attempt, tries, lease_until IS NOT NULL AS leased, last_error, finished_at IS NOT NULL AS finished,"
        " dead_at IS NOT NULL AS dead, run_after > clock_timestamp() AS later, woken_at FROM outbox WHERE id = :id",
        id=outbox_id,
    )
    return found


def make_due() -> None:
    sql("UPDATE outbox SET run_after = clock_timestamp(), lease_until = NULL, woken_at = NULL")


def rung(client: redis.Redis) -> int:
    return client.llen(f"rq:queue:{queue.QUEUE}")


def test_a_rolled_back_transaction_queues_nothing(handler, clean_redis):
    with pytest.raises(ZeroDivisionError), transaction():  # noqa: PT012
        outbox.enqueue(KIND, dedupe_key="1", organization_id=None, number=1)
        raise ZeroDivisionError
    assert sql("SELECT count(*) FROM outbox") == [(0,)]
    assert rung(clean_redis) == 0


def test_the_bell_rings_after_the_commit_and_carries_only_an_id(handler, clean_redis):
    with transaction():
        outbox.enqueue(KIND, dedupe_key="1", organization_id=None, number=1)
        assert rung(clean_redis) == 0
    assert rung(clean_redis) == 1
    [key] = clean_redis.lrange(f"rq:queue:{queue.QUEUE}", 0, -1)
    data = clean_redis.hget(b"rq:job:" + key, "data")
    with suppress(zlib.error):
        data = zlib.decompress(data)
    assert json.loads(data)[0] == "portal.infra.outbox.run"
    assert json.loads(data)[2] == [sql("SELECT id FROM outbox")[0][0]]


def test_the_same_work_is_queued_once_while_it_is_open_and_again_afterwards(handler):
    first = put()
    assert put() == first
    with transaction():
        assert outbox.is_open(KIND, "1")
    outbox.drain()
    assert put() > first
    assert sql("SELECT count(*) FROM outbox") == [(2,)]


def test_work_without_a_handler_is_refused_where_it_is_asked_for(handler):
    with pytest.raises(AssertionError, match="no handler"), transaction():
        outbox.enqueue("typo", dedupe_key="1", organization_id=None)


def test_done_work_is_done_once_whoever_rings(handler):
    outbox_id = put()
    for _ in range(5):
        outbox.run(outbox_id)
    assert handler.done == [1]
    assert row(outbox_id).finished
    assert outbox.drain() == 0


def test_work_for_later_waits(handler, clean_redis):
    outbox_id = put(run_after=clock.now() + timedelta(hours=1))
    assert rung(clean_redis) == 0
    outbox.run(outbox_id)
    assert outbox.drain() == 0
    assert outbox.sweep() == 0
    make_due()
    assert outbox.drain() == 1


def test_work_that_was_taken_back_is_not_done(handler):
    outbox_id = put()
    with transaction():
        outbox.cancel(KIND, "1")
    outbox.run(outbox_id)
    assert handler.done == []
    assert row(outbox_id).last_error == "cancelled"


def test_a_copy_that_has_lost_its_lease_cannot_write(handler):
    """RQ starts a second copy beside a live first one: only the newer attempt's writes count."""
    outbox_id = put()

    def second_copy_overtakes(lease, number):
        handler.does = lambda lease, number: None
        sql("UPDATE outbox SET lease_until = clock_timestamp() - interval '1 second'")
        outbox.run(outbox_id)
        with pytest.raises(LostLease), lease.transaction():
            raise AssertionError("never here")

    handler.does = second_copy_overtakes
    outbox.run(outbox_id)
    assert sql("SELECT series FROM number_series") == [("1-2",)]
    assert row(outbox_id)[:2] == (2, 2)
    assert row(outbox_id).finished
    assert not row(outbox_id).dead


def test_a_copy_cannot_write_while_a_newer_one_is_still_at_work(handler):
    outbox_id = put()

    def newer_copy_begins(lease, number):
        sql("UPDATE outbox SET attempt = attempt + 1, lease_until = clock_timestamp() + interval '2 minutes'")

    handler.does = newer_copy_begins
    outbox.run(outbox_id)
    assert handler.done == []
    assert sql("SELECT count(*) FROM number_series") == [(0,)]
    assert (row(outbox_id).attempt, row(outbox_id).leased, row(outbox_id).finished) == (2, True, False)


def test_a_second_copy_beside_a_live_lease_does_nothing(handler):
    outbox_id = put()

    def again(lease, number):
        outbox.run(outbox_id)

    handler.does = again
    outbox.run(outbox_id)
    assert handler.done == [1]
    assert row(outbox_id).attempt == 1


def test_a_failing_job_is_tried_again_with_growing_pauses_and_then_buried_while_others_go_on(handler):
    def poison(lease, number):
        if number == 7:
            raise ValueError("a corrupt price row")

    handler.does = poison
    bad = put(7)
    put(8)
    for tries in range(1, MAX_TRIES + 1):
        make_due()
        outbox.drain()
        assert row(bad).tries == tries
        assert "a corrupt price row" in row(bad).last_error
        assert row(bad).dead == (tries == MAX_TRIES)
        assert row(bad).later or row(bad).dead
    assert handler.done == [8]
    make_due()
    assert outbox.drain() == 0


def test_a_job_that_kills_its_process_runs_out_of_tries(handler):
    """Tries are counted before the work starts, so that even kill -9 is counted."""
    outbox_id = put()

    class Killed(BaseException):
        """Nothing that the outbox could catch, like a dead process."""

    def die(lease, number):
        raise Killed

    handler.does = die
    for tries in range(1, MAX_TRIES + 1):
        make_due()
        with pytest.raises(Killed):
            outbox.run(outbox_id)
        assert row(outbox_id).tries == tries
        assert row(outbox_id).leased
    make_due()
    outbox.run(outbox_id)
    assert row(outbox_id).dead
    assert "ended its process" in row(outbox_id).last_error
    assert handler.done == []


def test_a_job_that_only_waits_gets_its_try_back(handler):
    outbox_id = put()

    def wait(lease, number):
        raise RetryLater("Stripe is busy", seconds=5)

    handler.does = wait
    for attempt in range(1, MAX_TRIES + 4):
        make_due()
        outbox.run(outbox_id)
        assert (row(outbox_id).attempt, row(outbox_id).tries, row(outbox_id).dead) == (attempt, 0, False)
        assert row(outbox_id).later
        assert row(outbox_id).last_error == "Stripe is busy"


def test_a_job_that_gives_up_is_dead_at_once_and_says_why(handler):
    outbox_id = put()

    def give_up(lease, number):
        raise GiveUp("The customer is gone.")

    handler.does = give_up
    outbox.run(outbox_id)
    assert (row(outbox_id).dead, row(outbox_id).last_error, row(outbox_id).tries) == (True, "The customer is gone.", 1)


def test_a_job_whose_time_runs_out_is_put_back(handler):
    outbox_id = put()

    def slow(lease, number):
        raise JobTimeoutException("300 s")

    handler.does = slow
    outbox.run(outbox_id)
    assert (row(outbox_id).later, row(outbox_id).dead) == (True, False)
    assert "out of time" in row(outbox_id).last_error


def test_work_of_a_newer_release_is_put_back_for_a_newer_worker(handler):
    outbox_id = put()
    sql("UPDATE outbox SET kind = 'work of next year'")
    outbox.run(outbox_id)
    assert (row(outbox_id).later, row(outbox_id).dead, row(outbox_id).tries) == (True, False, 0)
    assert "next year" in row(outbox_id).last_error
    sql("UPDATE outbox SET kind = :kind", kind=KIND)
    make_due()
    outbox.run(outbox_id)
    assert handler.done == [1]


def test_what_a_failed_job_left_unsaved_is_rolled_back(handler):
    outbox_id = put()

    def half(lease, number):
        with lease.transaction() as session:
            session.execute(text("INSERT INTO number_series (series) VALUES ('half')"))
            raise ValueError("in the middle")

    handler.does = half
    outbox.run(outbox_id)
    assert sql("SELECT count(*) FROM number_series") == [(0,)]


def test_without_redis_the_work_is_still_queued_and_rung_for_later(app, handler, clean_redis, monkeypatch):
    away = replace(app.config["SETTINGS"], redis_url="redis://127.0.0.1:9/0")
    with monkeypatch.context() as without_redis:
        without_redis.setitem(app.config, "SETTINGS", away)
        without_redis.delitem(app.extensions, "billing_queue", raising=False)
        outbox_id = put()
        assert outbox.sweep() == 0  # it was rung for a moment ago, as far as anybody knows
        app.extensions.pop("billing_queue")
    assert rung(clean_redis) == 0
    sql("UPDATE outbox SET woken_at = clock_timestamp() - interval '16 seconds'")
    assert outbox.sweep() == 1
    assert rung(clean_redis) == 1
    assert outbox.sweep() == 0
    outbox.run(outbox_id)
    assert handler.done == [1]


def test_the_sweeper_rings_for_what_nobody_works_on_and_for_nothing_else(handler, clean_redis):
    waiting = [put(number) for number in range(1, 7)]
    done, dead, later, leased, expired, fresh = waiting
    sql("UPDATE outbox SET woken_at = NULL")
    sql("UPDATE outbox SET finished_at = now() WHERE id = :id", id=done)
    sql("UPDATE outbox SET dead_at = now() WHERE id = :id", id=dead)
    sql("UPDATE outbox SET run_after = now() + interval '1 hour' WHERE id = :id", id=later)
    sql("UPDATE outbox SET lease_until = now() + interval '1 minute' WHERE id = :id", id=leased)
    sql("UPDATE outbox SET lease_until = now() - interval '1 minute', attempt = 3 WHERE id = :id", id=expired)
    clean_redis.flushdb()
    assert outbox.sweep() == 2
    ids = {key.decode() for key in clean_redis.lrange(f"rq:queue:{queue.QUEUE}", 0, -1)}
    assert ids == {f"outbox-{expired}-4", f"outbox-{fresh}-1"}


WORKER = """
import os, sys
from portal import create_app
from portal.config import settings_from_env
from portal.infra import outbox
from portal.infra.queue import worker_of
from sqlalchemy import text

app = create_app(settings_from_env(os.environ))

@outbox.handles("test work")
def work(lease, *, number):
    if number == 666:
        os.kill(os.getpid(), 9)
    with lease.transaction() as session:
        session.execute(text("INSERT INTO number_series (series) VALUES (:n)"), {"n": f"{number}-{lease.attempt}"})

with app.app_context():
    worker_of(app).work(burst=True, logging_level="WARNING")
"""


def run_worker(environment: dict[str, str], *, program: str = WORKER) -> None:
    """A real RQ worker process that ends when the queue is empty."""
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT), "LOG_LEVEL": "CRITICAL"},
        check=True,
        timeout=60,
        capture_output=True,
    )


@pytest.mark.slow
def test_a_real_worker_does_the_work_once_though_redis_forgot_everything(handler, clean_redis, portal_environment):
    for number in range(1, 6):
        put(number)
    clean_redis.flushdb()
    run_worker(portal_environment)
    assert sql("SELECT count(*) FROM number_series") == [(0,)]
    sql("UPDATE outbox SET woken_at = NULL")
    assert outbox.sweep() == 5
    for outbox_id in range(1, 6):
        queue.wake(outbox_id, 1)  # and rung for twice
    run_worker(portal_environment)
    assert sql("SELECT series FROM number_series ORDER BY 1") == [(f"{number}-1",) for number in range(1, 6)]
    assert sql("SELECT count(*) FROM outbox WHERE finished_at IS NULL") == [(0,)]


@pytest.mark.fault
@pytest.mark.slow
def test_a_job_that_kills_its_worker_child_does_not_hold_up_the_others(handler, clean_redis, portal_environment):
    bad = put(666)
    put(1)
    run_worker(portal_environment)
    assert sql("SELECT series FROM number_series") == [("1-1",)]
    assert (row(bad).tries, row(bad).leased, row(bad).finished) == (1, True, False)
    sql("UPDATE outbox SET tries = :tries, lease_until = now() - interval '1 second', woken_at = NULL WHERE id = :id",
        tries=MAX_TRIES, id=bad)  # fmt: skip
    assert outbox.sweep() == 1
    run_worker(portal_environment)
    assert row(bad).dead


@pytest.mark.fault
@pytest.mark.slow
def test_a_ring_that_died_between_the_lists_of_redis_is_rung_again(handler, clean_redis, portal_environment):
    """R22: RQ calls such a job failed minutes later; by then the work has long been done, once."""
    outbox_id = put(1)
    ring = f"outbox-{outbox_id}-1"
    assert clean_redis.lmove(f"rq:queue:{queue.QUEUE}", f"rq:queue:{queue.QUEUE}:intermediate") == ring.encode()
    sql("UPDATE outbox SET woken_at = NULL")
    assert outbox.sweep() == 1
    run_worker(portal_environment)
    clean_redis.set(f"rq:job:{ring}:first_seen", 0)
    run_worker(portal_environment)
    assert (row(outbox_id).finished, row(outbox_id).dead) == (True, False)
    assert sql("SELECT series FROM number_series") == [("1-1",)]


@pytest.mark.fault
@pytest.mark.slow
def test_code_that_somebody_put_into_redis_is_not_run(handler, clean_redis, portal_environment, tmp_path):
    """R28: a pickle would be run by being read."""
    outbox_id, canary = put(1), tmp_path / "canary"
    ring = f"outbox-{outbox_id}-1"
    assert clean_redis.hset(f"rq:job:{ring}", "data", zlib.compress(pickle.dumps(Code(canary)))) == 0
    run_worker(portal_environment)
    assert not canary.exists()
    assert not row(outbox_id).finished
    sql("UPDATE outbox SET woken_at = NULL")
    assert outbox.sweep() == 1


class Code:
    """What is run when it is read."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.canary),)


@pytest.mark.fault
@pytest.mark.slow
def test_redis_never_holds_what_a_job_said_when_it_failed(handler, clean_redis, portal_environment):
    """R32: neither its result nor its traceback; what is kept has ids only, and goes within a week."""
    outbox_id = put(777)
    run_worker(
        portal_environment,
        program=WORKER.replace("number == 666", "number == 777: raise ValueError('Acme, Main Street')\n    if False"),
    )
    assert "Acme" in row(outbox_id).last_error
    for key in clean_redis.scan_iter("rq:job:*"):
        job = b" ".join(clean_redis.hgetall(key).values())
        assert b"Acme" not in job
        assert b"Main Street" not in zlib.decompress(clean_redis.hget(key, "exc_info") or zlib.compress(b""))
        assert clean_redis.hget(key, "description") == f"outbox row {outbox_id}".encode()
        # -1 would be for ever.
        assert -1 != clean_redis.ttl(key) <= 7 * 24 * 3600


SHARING = """
from portal.infra.db import db

def backend():
    with db.engine.connect() as connection:
        return connection.scalar(text("SELECT pg_backend_pid()"))

with app.app_context():
    before = backend()
    worker_of(app).work(burst=True, logging_level="WARNING")
    assert backend() == before
    with db.engine.begin() as connection:
        connection.execute(text("SET LOCAL ROLE portal_system"))
        connection.execute(text("INSERT INTO number_series (series) VALUES (:n)"), {"n": f"parent-{before}"})
"""


@pytest.mark.slow
def test_a_worker_and_its_children_share_no_connection(handler, clean_redis, portal_environment):
    """R33: a shared one mixes the answers of two processes."""
    for number in range(4):
        put(number)
    program = WORKER.replace("VALUES (:n)", "VALUES (:n || '-' || pg_backend_pid())").partition(
        "with app.app_context()"
    )
    run_worker(portal_environment, program=program[0] + SHARING)
    backends = [series.split("-")[-1] for (series,) in sql("SELECT series FROM number_series")]
    assert len(backends) == len(set(backends)) == 5


@pytest.mark.slow
def test_the_worker_command_does_what_was_queued_and_ends_politely(app, handler, clean_redis, portal_environment):
    """`flask worker`, as an operator starts it; SIGTERM ends it with 0."""
    invoice = make_draft(make_organization())  # has never been sent: looking again at it is no work at all
    with transaction():
        outbox.enqueue("look_again_at_stripe", dedupe_key="1", organization_id=None, invoice_id=invoice.id)
    worker = subprocess.Popen(
        [sys.executable, "-m", "flask", "worker"],
        cwd=ROOT,
        env={**os.environ, **portal_environment, "LOG_LEVEL": "CRITICAL"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert wait_for(portal_environment["DATABASE_URL"], DONE)
    finally:
        worker.send_signal(signal.SIGTERM)
        code = worker.wait(30)
    assert code == 0


DONE = "SELECT count(*) = 1 FROM outbox WHERE finished_at IS NOT NULL"


def wait_for(database_url: str, question: str, seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET ROLE portal_system")
        while time.monotonic() < deadline:
            if connection.execute(question).fetchone()[0]:
                return True
            time.sleep(0.05)
    return False
