"""How the outbox is doing, read from PostgreSQL: Redis only rings, so it is never asked."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from portal.infra.db import db
from portal.infra.outbox import OutboxJob


@dataclass(frozen=True, slots=True)
class OpenWork:
    """The open jobs of one kind: how many, and since when the one that is due longest has been due."""

    kind: str
    jobs: int
    due_since: datetime
    last_error: str | None


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
    """Jobs that were given up, the latest first: each of them needs a person."""
    query = select(OutboxJob).where(OutboxJob.dead_at.is_not(None)).order_by(OutboxJob.dead_at.desc()).limit(limit)
    return list(db.session.scalars(query))


def count_dead_jobs() -> int:
    """How many jobs were given up."""
    return db.session.scalar(select(func.count()).where(OutboxJob.dead_at.is_not(None))) or 0
