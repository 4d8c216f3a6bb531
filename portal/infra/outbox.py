"""The outbox: work to be done, written in the transaction that made it necessary.

A row is the job; RQ only rings. A worker takes a row by a lease with a fencing number (`attempt`). `tries` is
counted before the work starts, so that a job which kills its process still runs out of tries; a job that only had
to wait gets its try back. RQ may run a second copy beside a live first one: only the copy that holds the newest
attempt can write, because every transaction of a job begins with `Lease.transaction()`. Leases use the database's
clock.
"""

import json
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import g
from rq.timeouts import BaseTimeoutException
from sqlalchemy import Index, func, select, text
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from portal.infra import queue
from portal.infra.audit import Actor
from portal.infra.db import SYSTEM, Model, Numbered, act_as, after_commit, db, transaction

LEASE = timedelta(minutes=2)
WAKE_AGAIN_AFTER = timedelta(seconds=15)
MAX_TRIES = 12
LONGEST_BACKOFF_SECONDS = 600
log = logging.getLogger(__name__)


class OutboxJob(Numbered, Model):
    """One piece of work. Open until `finished_at` or `dead_at` is set."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_open", "run_after", postgresql_where=text("finished_at IS NULL AND dead_at IS NULL")),
        Index(
            "uq_outbox_open_kind_dedupe_key",
            "kind",
            "dedupe_key",
            unique=True,
            postgresql_where=text("finished_at IS NULL AND dead_at IS NULL"),
        ),
    )

    kind: Mapped[str]
    organization_id: Mapped[int | None]
    dedupe_key: Mapped[str]
    arguments: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    run_after: Mapped[datetime] = mapped_column(server_default=func.now())
    woken_at: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    lease_until: Mapped[datetime | None]
    last_error: Mapped[str | None]
    finished_at: Mapped[datetime | None]
    dead_at: Mapped[datetime | None]
    dismissed_at: Mapped[datetime | None]
    # Of the click or call that made the work necessary: it goes on into the job's logs and audit entries.
    request_id: Mapped[str | None]


class LostLease(Exception):
    """Another copy of this job has taken over; this one must not write any more."""


class RetryLater(Exception):
    """The job could not go on now; it is tried again after a while, without being an error."""

    def __init__(self, reason: str, *, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.seconds = seconds


class GiveUp(Exception):
    """Trying again cannot help; a person must look. The reason is a sentence for them."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one attempt to write."""

    outbox_id: int
    attempt: int
    tries: int

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A transaction that first proves, and prolongs, the lease. Raises LostLease if it is gone."""
        with transaction() as session:
            held = session.scalar(
                text(
                    "UPDATE outbox SET lease_until = clock_timestamp() + :lease WHERE id = :id AND attempt = :attempt"
                    " AND finished_at IS NULL AND dead_at IS NULL RETURNING id"
                ),
                {"lease": LEASE, "id": self.outbox_id, "attempt": self.attempt},
            )
            if held is None:
                raise LostLease(f"outbox row {self.outbox_id}, attempt {self.attempt}")
            yield session


_ENQUEUE_MANY = text("""
    INSERT INTO outbox (kind, dedupe_key, organization_id, arguments, request_id)
    SELECT :kind, key, organization_id, arguments, :request_id
    FROM json_to_recordset(CAST(:rows AS json)) AS wanted(key text, organization_id bigint, arguments jsonb)
    ON CONFLICT DO NOTHING
""")
Handler = Callable[..., None]
_handlers: dict[str, Handler] = {}


def handles(kind: str) -> Callable[[Handler], Handler]:
    """Register the function that does this kind of work: it gets its lease and the row's arguments."""

    def register(handler: Handler) -> Handler:
        assert kind not in _handlers, kind
        _handlers[kind] = handler
        return handler

    return register


def enqueue(
    kind: str, *, dedupe_key: str, organization_id: int | None, run_after: datetime | None = None, **ids: int
) -> None:
    """Write work into the current transaction; a worker hears of it after the commit.

    Idempotent while the first row of the same kind and key is open.
    """
    assert kind in _handlers, f"no handler for {kind}"
    values: dict[str, Any] = {
        "kind": kind,
        "dedupe_key": dedupe_key,
        "organization_id": organization_id,
        "arguments": ids,
        "request_id": g.get("request_id"),
    }
    if run_after is None:
        values["woken_at"] = func.clock_timestamp()
    else:
        values["run_after"] = run_after
    statement = insert(OutboxJob).values(values).on_conflict_do_nothing().returning(OutboxJob.id)
    outbox_id = db.session.scalar(statement)
    if outbox_id is not None and run_after is None:
        after_commit(lambda: _ring(outbox_id))


def enqueue_many(kind: str, wanted: Sequence[tuple[str, int | None, dict[str, int]]]) -> None:
    """Write much work of one kind (dedupe key, organization, ids) into the current transaction, in one statement.

    Nobody is rung for: the sweep, which comes every second, hands it out. Idempotent as `enqueue` is.
    """
    assert kind in _handlers, f"no handler for {kind}"
    rows = [{"key": key, "organization_id": organization, "arguments": ids} for key, organization, ids in wanted]
    db.session.execute(_ENQUEUE_MANY, {"kind": kind, "rows": json.dumps(rows), "request_id": g.get("request_id")})


def _ring(outbox_id: int) -> None:
    queue.wake(outbox_id, 1)


def cancel(kind: str, dedupe_key: str) -> None:
    """Take back work that has not been done, in the current transaction."""
    db.session.execute(
        text(
            "UPDATE outbox SET finished_at = clock_timestamp(), last_error = 'cancelled'"
            " WHERE kind = :kind AND dedupe_key = :key AND finished_at IS NULL AND dead_at IS NULL"
        ),
        {"kind": kind, "key": dedupe_key},
    )


def sweep(limit: int = 500) -> int:
    """Ring for every due row that nobody works on: lost wake-ups, expired leases, retries whose time has come."""
    with transaction() as session:
        due = session.execute(
            text(
                "UPDATE outbox SET woken_at = clock_timestamp() WHERE id IN ("
                " SELECT id FROM outbox WHERE finished_at IS NULL AND dead_at IS NULL"
                " AND run_after <= clock_timestamp()"
                " AND (lease_until IS NULL OR lease_until < clock_timestamp())"
                " AND (woken_at IS NULL OR woken_at < clock_timestamp() - CAST(:again AS interval))"
                " ORDER BY run_after LIMIT :limit FOR UPDATE SKIP LOCKED) RETURNING id, attempt"
            ),
            {"again": WAKE_AGAIN_AFTER, "limit": limit},
        ).all()
    for outbox_id, attempt in due:
        if not queue.wake(outbox_id, attempt + 1):
            break
    return len(due)


def run(outbox_id: int) -> None:
    """Do the work of one row: the function that RQ calls. Safe to call at any time, by any number of copies."""
    g.job_id = f"outbox-{outbox_id}"
    act_as(SYSTEM)
    claimed = _claim(outbox_id)
    if claimed is None:
        return
    lease, kind = claimed.lease, claimed.kind
    g.actor = Actor("job", kind)
    g.request_id, g.organization_id = claimed.request_id, claimed.organization_id
    try:
        _handlers[kind](lease, **claimed.arguments)
    except LostLease:
        log.warning("lost lease", extra={"outbox_id": outbox_id, "attempt": lease.attempt})
    except RetryLater as later:
        _put_back(lease, str(later), seconds=later.seconds)
    except GiveUp as reason:
        _bury(lease, str(reason))
    except BaseTimeoutException:
        _put_back(lease, "The job ran out of time.")
    except Exception as error:
        log.exception("job failed", extra={"outbox_id": outbox_id, "attempt": lease.attempt})
        _put_back(lease, f"{type(error).__name__}: {error}")
    else:
        _close(lease, "finished_at = clock_timestamp(), last_error = NULL", {})


def run_now(kind: str, dedupe_key: str) -> int | None:
    """Do one piece of open work here and now, also if it was put back for later; nothing while somebody is at it.

    Returns the id of its row; None if there is none.
    """
    act_as(SYSTEM)
    with transaction() as session:
        outbox_id: int | None = session.scalar(
            text(
                "UPDATE outbox SET run_after = least(run_after, clock_timestamp())"
                " WHERE kind = :kind AND dedupe_key = :key AND finished_at IS NULL AND dead_at IS NULL RETURNING id"
            ),
            {"kind": kind, "key": dedupe_key},
        )
    if outbox_id is not None:
        run(outbox_id)
    return outbox_id


def drain(limit: int = 10_000) -> int:
    """Do all due work here and now, without workers: for commands and tests. Returns how many rows were run."""
    for count in range(limit):
        with transaction() as session:
            outbox_id = session.scalar(
                select(OutboxJob.id)
                .where(
                    OutboxJob.finished_at.is_(None),
                    OutboxJob.dead_at.is_(None),
                    OutboxJob.run_after <= func.clock_timestamp(),
                    func.coalesce(OutboxJob.lease_until, func.clock_timestamp()) <= func.clock_timestamp(),
                )
                .order_by(OutboxJob.run_after, OutboxJob.id)
                .limit(1)
            )
        if outbox_id is None:
            return count
        run(outbox_id)
    return limit


@dataclass(frozen=True, slots=True)
class _Claimed:
    """A row that is ours to work on."""

    lease: Lease
    kind: str
    arguments: dict[str, Any]
    organization_id: int | None
    request_id: str | None


def _claim(outbox_id: int) -> _Claimed | None:
    with transaction() as session:
        row = session.execute(
            text(
                "UPDATE outbox SET attempt = attempt + 1, tries = tries + 1, lease_until = clock_timestamp() + :lease"
                " WHERE id = :id"
                " AND finished_at IS NULL AND dead_at IS NULL AND run_after <= clock_timestamp()"
                " AND (lease_until IS NULL OR lease_until < clock_timestamp())"
                " RETURNING attempt, tries, kind, arguments, organization_id, request_id"
            ),
            {"lease": LEASE, "id": outbox_id},
        ).one_or_none()
        if row is None:
            return None
        lease = Lease(outbox_id, row.attempt, row.tries)
        if row.kind in _handlers and row.tries <= MAX_TRIES:
            return _Claimed(lease, row.kind, row.arguments, row.organization_id, row.request_id)
    if row.kind not in _handlers:
        # A newer release wrote it while this older worker still runs; the newer worker will know it.
        _put_back(lease, f"This worker does not know “{row.kind}”.", seconds=30)
    else:
        _bury(lease, "The job ended its process on every try.")
    return None


def _put_back(lease: Lease, reason: str, *, seconds: float | None = None) -> None:
    """Open the row again for a later try; a wait that was asked for (`seconds`) does not count as a try."""
    if seconds is not None:
        given_back = 1
    elif lease.tries < MAX_TRIES:
        given_back = 0
        seconds = min(LONGEST_BACKOFF_SECONDS, 2.0**lease.tries) * random.uniform(0.5, 1.0)
    else:
        _bury(lease, reason)
        return
    _close(
        lease,
        "lease_until = NULL, woken_at = NULL, last_error = :error, tries = tries - :given_back,"
        " run_after = clock_timestamp() + make_interval(secs => :seconds)",
        {"error": reason, "seconds": seconds, "given_back": given_back},
    )


def _bury(lease: Lease, reason: str) -> None:
    log.error("job is dead", extra={"outbox_id": lease.outbox_id, "reason": reason})
    _close(lease, "dead_at = clock_timestamp(), lease_until = NULL, last_error = :error", {"error": reason})


def _close(lease: Lease, changes: str, values: dict[str, Any]) -> None:
    db.session.rollback()
    act_as(SYSTEM)
    with transaction() as session:
        session.execute(
            text(f"UPDATE outbox SET {changes} WHERE id = :id AND attempt = :attempt AND finished_at IS NULL"),
            {**values, "id": lease.outbox_id, "attempt": lease.attempt},
        )


def is_open(kind: str, dedupe_key: str) -> bool:
    """Whether such work is waiting or being done."""
    query = select(OutboxJob.id).where(
        OutboxJob.kind == kind,
        OutboxJob.dedupe_key == dedupe_key,
        OutboxJob.finished_at.is_(None),
        OutboxJob.dead_at.is_(None),
    )
    return db.session.scalar(query.limit(1)) is not None
