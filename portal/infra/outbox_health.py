"""How the outbox is doing, read from PostgreSQL: Redis only rings, so it is never asked."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import aliased

from portal.infra.db import db
from portal.infra.outbox import OutboxJob


@dataclass(frozen=True, slots=True)
class OpenWork:
    """The open jobs of one kind: how many, when the first of them is due, and one error as an example."""

    kind: str
    jobs: int
    due_at: datetime
    example_error: str | None


def open_work() -> list[OpenWork]:
    """Work that is neither done nor given up, by kind."""
    rows = db.session.execute(
        select(OutboxJob.kind, func.count(), func.min(OutboxJob.run_after), func.max(OutboxJob.last_error))
        .where(OutboxJob.finished_at.is_(None), OutboxJob.dead_at.is_(None))
        .group_by(OutboxJob.kind)
        .order_by(OutboxJob.kind)
    )
    return [OpenWork(*row) for row in rows]


def dead_jobs(*, limit: int = 50) -> list[OutboxJob]:
    """Jobs that were given up and not asked for again since, the latest first: each of them needs a person."""
    query = select(OutboxJob).where(*_given_up()).order_by(OutboxJob.dead_at.desc()).limit(limit)
    return list(db.session.scalars(query))


def count_dead_jobs() -> int:
    """How many jobs were given up and not asked for again since."""
    return db.session.scalar(select(func.count()).select_from(OutboxJob).where(*_given_up())) or 0


def _given_up() -> tuple[ColumnElement[bool], ...]:
    """Dead, and no younger job does the same work: that one would speak for itself."""
    younger = aliased(OutboxJob)
    again = exists().where(
        younger.kind == OutboxJob.kind, younger.dedupe_key == OutboxJob.dedupe_key, younger.id > OutboxJob.id
    )
    return OutboxJob.dead_at.is_not(None), ~again
