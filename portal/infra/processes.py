"""Which workers and clocks are alive, by their own word in PostgreSQL: Redis forgets its workers when it is emptied."""

import logging
import os
import socket
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import URL, create_engine, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.pool import NullPool

from portal.infra.db import SYSTEM_ROLE, Model, db

SAYS_SO_EVERY_SECONDS = 10
ALIVE_FOR = timedelta(seconds=90)
FORGOTTEN_AFTER = timedelta(days=1)
log = logging.getLogger(__name__)
_NOTE = text("""
    INSERT INTO processes (kind, host, pid, started_at, seen_at) VALUES (:kind, :host, :pid, :started_at, :now)
    ON CONFLICT (kind, host, pid) DO UPDATE SET started_at = excluded.started_at, seen_at = excluded.seen_at
""")
_FORGET = text("DELETE FROM processes WHERE seen_at < :before")


class Process(Model):
    """A worker or a clock, and when it last said that it lives."""

    __tablename__ = "processes"

    kind: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str] = mapped_column(primary_key=True)
    pid: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]


@dataclass
class Heartbeat:
    """The word of this process. It has a connection for a moment only: a worker forks, and children share nothing."""

    kind: str
    url: URL
    started_at: datetime
    _said_at: float | None = None

    def beat(self) -> None:
        """Say so, at most every ten seconds; a database that is away is no reason to stop."""
        if self._said_at is not None and time.monotonic() - self._said_at < SAYS_SO_EVERY_SECONDS:
            return
        self._said_at = time.monotonic()
        engine = create_engine(self.url, poolclass=NullPool, connect_args={"connect_timeout": 2})
        now = datetime.now(UTC)
        values = {"kind": self.kind, "host": socket.gethostname(), "pid": os.getpid(), "started_at": self.started_at}
        try:
            with engine.begin() as connection:
                connection.execute(text(f"SET LOCAL ROLE {SYSTEM_ROLE}"))
                connection.execute(text("SET LOCAL lock_timeout = '1s'"))
                connection.execute(_NOTE, values | {"now": now})
                connection.execute(_FORGET, {"before": now - FORGOTTEN_AFTER})
        except DBAPIError as error:
            log.warning("could not say that this process lives", extra={"error": str(error.orig)})
        finally:
            engine.dispose()


def heartbeat_of(kind: str) -> Heartbeat:
    """The heartbeat of the process that runs now."""
    return Heartbeat(kind, db.engine.url, datetime.now(UTC))


def processes(*, now: datetime) -> list[tuple[Process, bool]]:
    """Every process that was heard of within a day, the latest first, and whether it is alive."""
    rows = db.session.scalars(
        select(Process)
        .where(Process.seen_at > now - FORGOTTEN_AFTER)
        .order_by(Process.kind, Process.seen_at.desc())
        .execution_options(populate_existing=True)
    )
    return [(each, each.seen_at > now - ALIVE_FOR) for each in rows]
