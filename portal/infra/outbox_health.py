"""How the outbox is doing, read from PostgreSQL: Redis only rings, so it is never asked."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.orm import aliased

from portal.core.errors import InvalidInput
from portal.infra import audit
from portal.infra.db import db
from portal.infra.outbox import OutboxJob

MOST_DEAD = 1_000
_CAUSE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class OpenWork:
    """The open jobs of one kind: how many, when the first of them is due, and one error as an example."""

    kind: str
    jobs: int
    due_at: datetime
    example_error: str | None


@dataclass(frozen=True, slots=True)
class DeadGroup:
    """Jobs of one kind that were given up for the same cause, the latest first."""

    kind: str
    cause: str
    jobs: tuple[OutboxJob, ...]


def open_work() -> list[OpenWork]:
    """Work that is neither done nor given up, by kind."""
    rows = db.session.execute(
        select(OutboxJob.kind, func.count(), func.min(OutboxJob.run_after), func.max(OutboxJob.last_error))
        .where(OutboxJob.finished_at.is_(None), OutboxJob.dead_at.is_(None))
        .group_by(OutboxJob.kind)
        .order_by(OutboxJob.kind)
    )
    return [OpenWork(*row) for row in rows]


def running_jobs() -> list[OutboxJob]:
    """What workers hold a lease on now, the longest first."""
    query = select(OutboxJob).where(
        OutboxJob.finished_at.is_(None),
        OutboxJob.dead_at.is_(None),
        OutboxJob.lease_until > func.clock_timestamp(),
    )
    return list(db.session.scalars(query.order_by(OutboxJob.lease_until)))


def dead_jobs(*, limit: int = 50) -> list[OutboxJob]:
    """Jobs that were given up and not asked for again since, the latest first: each of them needs a person."""
    query = select(OutboxJob).where(*_given_up()).order_by(OutboxJob.dead_at.desc()).limit(limit)
    return list(db.session.scalars(query))


def dead_groups() -> list[DeadGroup]:
    """The latest dead jobs by kind and cause, the largest group first."""
    by_cause = sorted(dead_jobs(limit=MOST_DEAD), key=_kind_and_cause)
    groups = [DeadGroup(*name, tuple(jobs)) for name, jobs in groupby(by_cause, _kind_and_cause)]
    return sorted(groups, key=lambda group: -len(group.jobs))


def dead_group_of(job_id: int) -> DeadGroup | None:
    """The group that a dead job belongs to; None if it needs nobody any more."""
    return next((group for group in dead_groups() if any(job.id == job_id for job in group.jobs)), None)


def count_dead_jobs() -> int:
    """How many jobs were given up and not asked for again since."""
    return db.session.scalar(select(func.count()).select_from(OutboxJob).where(*_given_up())) or 0


def dismiss(jobs: Iterable[OutboxJob], *, reason: str, now: datetime) -> int:
    """Put dead jobs aside, for nobody has to do anything about them; how many. Idempotent. Raises InvalidInput."""
    if not reason.strip():
        raise InvalidInput("Say why nothing is to be done; it is kept in the audit log.", field="reason")
    chosen = [job.id for job in jobs]
    done = db.session.execute(
        update(OutboxJob)
        .where(OutboxJob.id.in_(chosen), OutboxJob.dead_at.is_not(None), OutboxJob.dismissed_at.is_(None))
        .values(dismissed_at=now)
        .returning(OutboxJob.id, OutboxJob.organization_id, OutboxJob.kind)
    ).all()
    audit.record_many(
        [
            audit.Entry("put a dead job aside", "job", id, organization_id, None, {"kind": kind}, reason.strip())
            for id, organization_id, kind in done
        ]
    )
    return len(done)


def _kind_and_cause(job: OutboxJob) -> tuple[str, str]:
    return job.kind, (job.last_error or "")[:_CAUSE_CHARACTERS]


def _given_up() -> tuple[ColumnElement[bool], ...]:
    """Dead, nobody has put it aside, and no younger job does the same work: that one would speak for itself."""
    younger = aliased(OutboxJob)
    again = exists().where(
        younger.kind == OutboxJob.kind, younger.dedupe_key == OutboxJob.dedupe_key, younger.id > OutboxJob.id
    )
    return OutboxJob.dead_at.is_not(None), OutboxJob.dismissed_at.is_(None), ~again
