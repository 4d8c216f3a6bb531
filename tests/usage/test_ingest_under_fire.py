"""Four processes send the same events in other orders while connections, senders and PostgreSQL itself are killed."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from devkit.testservers import TEST_SETTINGS, CrashableServers
from portal import create_app
from portal.config import settings_from_env
from portal.doctor import examine
from portal.infra.db import db, transaction
from tests.factories import acting, make_meter, make_organization
from tests.full import FULL
from tests.usage.under_fire import ORGANIZATIONS, event

ROOT = Path(__file__).parents[2]
SENDERS = 4
EVENTS, BLOWS = (60_000, 24) if FULL else (4_000, 6)
LONGEST_SECONDS = 300 if FULL else 60
CONNECTIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"


class Senders:
    """The sending processes. One that has been killed begins anew: it does not know what was acknowledged."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._running = [self._start(number) for number in range(SENDERS)]

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        words = [str(self._folder / f"{number}.acknowledged"), str(EVENTS), str(number)]
        command = [sys.executable, "-m", "tests.usage.under_fire", *words]
        return subprocess.Popen(command, cwd=ROOT, env=os.environ | self._environment)

    def are_done(self) -> bool:
        """Whether all have come to their end. A sender that failed fails the test."""
        assert all(sender.poll() in (None, 0) for sender in self._running)
        return all(sender.poll() == 0 for sender in self._running)

    def kill_one(self, chance: random.Random) -> None:
        """End a sender in the middle of whatever it does."""
        number = chance.randrange(SENDERS)
        if self._running[number].poll() is None:
            self._running[number].kill()
            self._running[number].wait()
            self._running[number] = self._start(number)

    def stop(self) -> None:
        """Leave nothing behind."""
        for sender in self._running:
            sender.kill()
            sender.wait()

    def acknowledged(self) -> set[int]:
        """The numbers of all acknowledged events; a line that a kill has cut short does not count."""
        return {int(line) for line in self._lines()}

    def acknowledgements(self) -> int:
        """How many lines have been written, repetitions too."""
        return len(self._lines())

    def _lines(self) -> list[str]:
        texts = [path.read_text() for path in self._folder.glob("*.acknowledged")]
        return [line for text in texts for line in text.splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.fault
@pytest.mark.slow
def test_every_acknowledged_event_is_there_once(crashable: CrashableServers, tmp_path: Path):
    environment = TEST_SETTINGS | {"DATABASE_URL": crashable.database_url, "REDIS_URL": crashable.servers.redis_url}
    app = create_app(settings_from_env(environment))
    with acting(app):
        for number in range(ORGANIZATIONS):
            make_organization(f"org-{number}")
        make_meter("disk")
        db.session.remove()
        db.engine.dispose()
        senders = Senders(tmp_path, environment)
        try:
            _strike(senders, crashable)
        finally:
            senders.stop()
        acknowledged = senders.acknowledged()
        _check(acknowledged)
        db.session.remove()
        db.engine.dispose()


def _strike(senders: Senders, crashable: CrashableServers) -> None:
    """Deal the blows in turn, evenly over the work: each when so many acknowledgements have been written."""
    chance = random.Random(4)
    blows: list[Callable[[], None]] = [
        lambda: senders.kill_one(chance),
        lambda: _cut_connections(crashable),
        lambda: _crash(crashable),
    ]
    deadline = time.monotonic() + LONGEST_SECONDS
    struck = 0
    while not senders.are_done():
        assert time.monotonic() < deadline, "the senders do not come to an end"
        time.sleep(0.02)
        if struck < BLOWS and senders.acknowledgements() > (struck + 1) * SENDERS * EVENTS // (BLOWS + 1):
            blows[struck % len(blows)]()
            struck += 1
    assert struck == BLOWS


def _crash(crashable: CrashableServers) -> None:
    crashable.crash_postgres()
    crashable.start_postgres()


def _cut_connections(crashable: CrashableServers) -> None:
    with psycopg.connect(crashable.servers.superuser_url, autocommit=True) as connection:
        connection.execute(CONNECTIONS, [crashable.database_url.rsplit("/", 1)[1]])


def _check(acknowledged: set[int]) -> None:
    assert acknowledged == set(range(EVENTS))
    with transaction() as session:
        assert [finding for finding in examine() if finding.broken] == []
        stored = session.connection().exec_driver_sql("SELECT count(*), sum(quantity) FROM usage_events").one()
        rolled = session.connection().exec_driver_sql("SELECT sum(events), sum(quantity) FROM usage_daily").one()
        unknown = session.connection().exec_driver_sql(
            "SELECT count(*) FROM usage_daily LEFT JOIN usage_series USING (organization_id, series_id, meter_id)"
            " WHERE dimensions IS NULL"
        )
        assert unknown.scalar_one() == 0
    total = sum((Decimal(event(number)["quantity"]) for number in range(EVENTS)), Decimal(0))
    assert tuple(stored) == tuple(rolled) == (EVENTS, total)
