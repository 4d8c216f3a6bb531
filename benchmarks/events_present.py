"""What storing usage costs PostgreSQL when many events are there already: its CPU µs per event, and the curve of it.

At 0, 2, 10 and 20 million events present, batches of 1,000 new ones for 10,000 organizations with Zipf weights are
stored as the API stores them, by one connection, whose backend's CPU is read before and after: so neither what else
runs on the machine nor how long it takes counts. Ids are in the order of time, those present too, which come by SQL.
`ratio` is the CPU at the last point over that of the empty table, each the median of its rounds.
"""

import argparse
import os
import random
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any
from uuid import UUID

import psutil
import psycopg
from flask import g
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from portal import create_app
from portal.catalog.models import Meter
from portal.catalog.publishing import ensure_meter
from portal.config import settings_from_env
from portal.infra.audit import Actor
from portal.infra.db import SYSTEM, act_as, transaction
from portal.usage.events import Reader
from portal.usage.ingesting import ingest

ORGANIZATIONS = 10_000
REGIONS = ("fra", "ord", "syd")
POINTS = (0, 2_000_000, 10_000_000, 20_000_000)
ROUNDS, BATCHES, BATCH = 5, 40, 1_000
PRESENT_AT_ONCE = 1_000_000
_WEIGHTS = list(accumulate(1 / rank for rank in range(1, ORGANIZATIONS + 1)))
ADD_ORGANIZATIONS = """
    INSERT INTO organizations (slug, name, currency, public_id)
    SELECT 'org-' || n, 'Organization ' || n, 'USD', gen_random_uuid() FROM generate_series(1, :count) AS n
"""
# Keys begin with the time, as those of UUIDv7 do; so the table looks like one that has been written to for months.
ADD_PRESENT = """
    INSERT INTO usage_events (organization_id, event_key, meter_id, series_id, occurred_at, recorded_at, correction,
                              quantity, event_id, source)
    SELECT %(first)s + floor(%(organizations)s ^ random())::bigint - 1,
           (lpad(to_hex(1600000000000 + n * 1000), 12, '0') || substr(md5(n::text), 1, 20))::uuid, %(meter)s, n %% 3,
           to_timestamp(1600000000 + n), to_timestamp(1600000000 + n), false, n %% 3600, 'present-' || n, 'api'
    FROM generate_series(%(lower)s::bigint, %(upper)s::bigint) AS n
"""


def main() -> None:
    """Measure at each point, fill up to the next one, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, nargs="+", default=POINTS, metavar="N", help="events present at each")
    points = parser.parse_args().points
    app = create_app(settings_from_env(os.environ))
    with app.app_context():
        act_as(SYSTEM)
        g.actor = Actor("benchmark", "events_present")
        bench = Bench()
        bench.round()  # caches are filled and rollups are there before the first figure counts
        figures = []
        for before, present in zip((0, *points), points, strict=False):
            bench.fill(before, present)
            figures.append([bench.round() for _ in range(ROUNDS)])
            print(f"  {present:,} present: {statistics.median(figures[-1]):.1f} µs per event", flush=True)
    _print(points, figures)


class Bench:
    """The organizations, and the batches that are stored for them."""

    def __init__(self) -> None:
        with transaction() as session:
            meter = ensure_meter(
                "machine_seconds", name="Machines", product="Compute", unit="second", dimensions=("region",)
            )
            session.execute(text(ADD_ORGANIZATIONS), {"count": ORGANIZATIONS})
            rows = session.execute(text("SELECT slug, id FROM organizations ORDER BY id")).all()
        self._meter: Meter = meter
        self._organizations = {row.slug: row.id for row in rows}
        self._chance = random.Random(1)
        self._moment = datetime.now(UTC)

    def fill(self, before: int, present: int) -> None:
        """Bring the table from so many events to so many, by SQL."""
        values = {
            "first": min(self._organizations.values()),
            "meter": self._meter.id,
            "organizations": ORGANIZATIONS,
        }
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
            connection.execute("SET ROLE portal_system")
            for lower in range(before, present, PRESENT_AT_ONCE):
                upper = min(present, lower + PRESENT_AT_ONCE) - 1
                connection.execute(ADD_PRESENT, {**values, "lower": lower, "upper": upper})
            connection.execute("RESET ROLE")
            connection.execute("VACUUM ANALYZE")

    def round(self) -> float:
        """Store batches, and tell the µs of CPU that the backend needed for each event."""
        batches = [self._batch() for _ in range(BATCHES)]
        backend = _backend()
        started = _seconds(backend)
        for batch in batches:
            with transaction():
                ingest(batch, now=self._moment)
        assert _backend().pid == backend.pid, "the connection was lost"
        return (_seconds(backend) - started) / (BATCHES * BATCH) * 1e6

    def _batch(self) -> list[Any]:
        """Records of a second later than those before."""
        self._moment += timedelta(seconds=1)
        reader = Reader(
            {self._meter.code: self._meter},
            now=self._moment,
            organization_id=None,
            organizations=self._organizations,
        )
        places = self._chance.choices(range(1, ORGANIZATIONS + 1), cum_weights=_WEIGHTS, k=BATCH)
        return [reader.read(self._document(place)) for place in places]

    def _document(self, place: int) -> dict[str, Any]:
        milliseconds = int(self._moment.timestamp() * 1000)
        key = milliseconds << 80 | 7 << 76 | self._chance.getrandbits(76) & ~(0b11 << 62) | 1 << 63
        return {
            "id": str(UUID(int=key)),
            "organization": f"org-{place}",
            "meter": self._meter.code,
            "quantity": f"{self._chance.randrange(3600)}.{self._chance.randrange(10)}",
            "time": (self._moment - timedelta(seconds=self._chance.randrange(600))).isoformat(),
            "properties": {"region": self._chance.choice(REGIONS)},
        }


def _backend() -> psutil.Process:
    """The server's process behind this session's connection."""
    with transaction() as session:
        return psutil.Process(session.scalar(text("SELECT pg_backend_pid()")))


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _print(points: Sequence[int], figures: Sequence[Sequence[float]]) -> None:
    table = Table("events present", "PostgreSQL's CPU, µs per event", "least", "most")
    medians = [statistics.median(each) for each in figures]
    for present, median, each in zip(points, medians, figures, strict=True):
        table.add_row(f"{present:,}", f"{median:.1f}", f"{min(each):.1f}", f"{max(each):.1f}")
    Console(width=100).print(table)
    curve = " ".join(f"us_{point}={median:.1f}" for point, median in zip(points, medians, strict=True))
    print(f"RESULT events_present ratio={medians[-1] / medians[0]:.3f} {curve}")


if __name__ == "__main__":
    main()
