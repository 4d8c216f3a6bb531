"""Usage over HTTP beside the limit of the database, in one run on the same machine, in turn: A B A B …

A: gunicorn as in the Procfile; four client processes with a connection each send batches for 10,000 organizations with
Zipf weights (then for one hot organization) by a key of the platform. B (C1): two connections only COPY, in binary, the
same rows into a table with the same unique key. Bodies and rows are made before the clock starts; packing rows for
COPY is a client's work as reading them is the portal's, and counts. `ratio` is A's events
a second over B's; CPU is that of the web processes and of PostgreSQL's, in µs per event. Then requests of one event.

`--present N` first puts N events into the table, with keys in the order of time.
"""

import argparse
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import psutil
import psycopg
from flask import g
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from portal import create_app
from portal.catalog.publishing import ensure_meter
from portal.config import settings_from_env
from portal.core.keys import series_key
from portal.infra.audit import Actor
from portal.infra.db import SYSTEM, act_as, transaction
from portal.organizations.api_keys import create_key

ROOT = Path(__file__).resolve().parent.parent
ORGANIZATIONS = 10_000
REGIONS = ("fra", "ord", "syd")
METER = "machine_seconds"
CLIENTS, COPIERS = 4, 2
PAIRS, SMALL_BATCH, LARGE_BATCH = 5, 1_000, 5_000
EVENTS = 80_000  # of a phase, over all clients
SINGLES = 4_000  # requests, over all clients
PRESENT_AT_ONCE = 1_000_000
ADD_ORGANIZATIONS = """
    INSERT INTO organizations (slug, name, currency, public_id)
    SELECT 'org-' || n, 'Organization ' || n, 'USD', gen_random_uuid() FROM generate_series(1, :count) AS n
"""
# Keys begin with the time, as those of UUIDv7 do; so the table looks like one that has been written to for months.
ADD_PRESENT = """
    INSERT INTO usage_events (organization_id, event_key, meter_id, series_id, occurred_at, recorded_at, correction,
                              quantity, event_id, source)
    SELECT %(first)s + floor(%(organizations)s ^ random())::bigint - 1,
           (lpad(to_hex(1700000000000 + n), 12, '0') || substr(md5(n::text), 1, 20))::uuid, %(meter)s, n %% 3,
           to_timestamp(1700000000 + n / 10), to_timestamp(1700000000 + n / 10), false, n %% 3600,
           'present-' || n, 'api'
    FROM generate_series(%(lower)s::bigint, %(upper)s::bigint) AS n
"""
COPY = """
    COPY bench_copy (organization_id, event_key, meter_id, series_id, occurred_at, recorded_at, correction, quantity,
                     event_id, source) FROM STDIN (FORMAT BINARY)
"""
COPY_TYPES = ("int8", "uuid", "int8", "int8", "timestamptz", "timestamptz", "bool", "numeric", "text", "text")


class Event(NamedTuple):
    """What both sides send. The quantity is `whole` and `tenths`, the place that of the organization."""

    place: int
    key: bytes
    moment: datetime
    whole: int
    tenths: int
    region: int


@dataclass(frozen=True)
class World:
    """What has been prepared in the database."""

    port: int
    key: str
    first_id: int
    meter_id: int
    database_url: str


@dataclass(frozen=True)
class Phase:
    """What a client's events are made from: the same number, the same events."""

    number: int
    now: datetime
    batch: int
    events: int
    hot: bool


@dataclass(frozen=True)
class Figures:
    """Of one phase: events a second, and CPU µs per event."""

    rate: float
    portal_us: float
    postgres_us: float
    milliseconds: list[float]


def main() -> None:
    """Prepare, measure in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--present", type=int, default=0, metavar="N", help="events that are there before (0)")
    parser.add_argument("--pairs", type=int, default=PAIRS, metavar="N", help=f"pairs of A and B ({PAIRS})")
    options = parser.parse_args()
    world = _prepare(options.present)
    with _gunicorn(world.port) as web, _workers(world) as (clients, copiers):
        bench = Bench(web, _postmaster(world), clients, copiers)
        bench.a(SMALL_BATCH, EVENTS, hot=False)  # caches are filled before the first figure counts
        plan = {
            "1,000 a batch": (SMALL_BATCH, False, options.pairs),
            "5,000 a batch": (LARGE_BATCH, False, options.pairs),
            "one hot organization": (SMALL_BATCH, True, max(1, options.pairs // 2)),
        }
        pairs = {name: [bench.pair(batch, hot=hot) for _ in range(count)] for name, (batch, hot, count) in plan.items()}
        singles = bench.a(1, SINGLES, hot=False)
    _print(pairs, singles)


def _prepare(present: int) -> World:
    app = create_app(settings_from_env(os.environ))
    with app.app_context():
        act_as(SYSTEM)
        g.actor = Actor("benchmark", "ingest")
        with transaction() as session:
            meter = ensure_meter(METER, name="Machines", product="Compute", unit="second", dimensions=("region",))
            key = create_key(name="benchmark", organization_id=None, scopes=("ingest",), live=False)
            session.execute(text(ADD_ORGANIZATIONS), {"count": ORGANIZATIONS})
            first_id = session.scalar(text("SELECT id FROM organizations WHERE slug = 'org-1'"))
    world = World(int(os.environ["PORTAL_URL"].rsplit(":", 1)[1]), key, first_id, meter.id, os.environ["DATABASE_URL"])
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE bench_copy (LIKE usage_events INCLUDING DEFAULTS)")
        connection.execute("ALTER TABLE bench_copy ADD PRIMARY KEY (organization_id, event_key)")
        connection.execute("SET ROLE portal_system")
        values = {"first": first_id, "meter": meter.id, "organizations": ORGANIZATIONS}
        for lower in range(0, present, PRESENT_AT_ONCE):
            upper = min(present, lower + PRESENT_AT_ONCE) - 1
            connection.execute(ADD_PRESENT, {**values, "lower": lower, "upper": upper})
        connection.execute("RESET ROLE")
        connection.execute("VACUUM ANALYZE")
    return world


@contextmanager
def _gunicorn(port: int) -> Iterator[psutil.Process]:
    options = ["--worker-class", "gthread", "--workers", "2", "--threads", "4", "--no-control-socket"]
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "wsgi:app",
        "-b",
        f"127.0.0.1:{port}",
        *options,
        "--log-level",
        "warning",
    ]
    no_limits = {"API_REQUESTS_PER_MINUTE": "0", "API_EVENTS_PER_MINUTE": "0"}
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | no_limits) as process:
        try:
            _until_it_listens(port)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


def _until_it_listens(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("gunicorn did not start")


def _postmaster(world: World) -> psutil.Process | None:
    """The server's first process; None if the server is on another machine."""
    with psycopg.connect(world.database_url) as connection:
        (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        try:
            backend = psutil.Process(pid)
            return backend.parent() if "postgres" in backend.name() else None
        except psutil.NoSuchProcess:
            return None


@contextmanager
def _workers(world: World) -> Iterator[tuple[list[Connection], list[Connection]]]:
    """Processes that prepare a phase when they are told which, and go when they are told to."""
    started: list[tuple[Process, Connection]] = []
    for target, count in ((_client, CLIENTS), (_copier, COPIERS)):
        for number in range(count):
            ours, theirs = Pipe()
            process = Process(target=target, args=(theirs, world, number), daemon=True)
            process.start()
            started.append((process, ours))
    pipes = [pipe for _, pipe in started]
    try:
        yield pipes[:CLIENTS], pipes[CLIENTS:]
    finally:
        for process, pipe in started:
            with suppress(BrokenPipeError):  # one that failed has said why
                pipe.send(None)
            process.join()


class Bench:
    """Runs phases and measures them."""

    def __init__(
        self,
        web: psutil.Process,
        postmaster: psutil.Process | None,
        clients: list[Connection],
        copiers: list[Connection],
    ) -> None:
        self._web, self._postmaster, self._clients, self._copiers = web, postmaster, clients, copiers
        self._number = 0

    def pair(self, batch: int, *, hot: bool) -> tuple[Figures, Figures]:
        """A, then B with the same rows."""
        phase = self._phase(batch, EVENTS, hot=hot)
        a, b = self._run(self._clients, phase), self._run(self._copiers, phase)
        print(f"  {batch:,} a batch{', hot' if hot else ''}: {a.rate:,.0f} over {b.rate:,.0f}", flush=True)
        return a, b

    def a(self, batch: int, events: int, *, hot: bool) -> Figures:
        """Over HTTP."""
        return self._run(self._clients, self._phase(batch, events, hot=hot))

    def _phase(self, batch: int, events: int, *, hot: bool) -> Phase:
        self._number += 1
        return Phase(self._number, datetime.now(UTC), batch, events, hot)

    def _run(self, workers: list[Connection], phase: Phase) -> Figures:
        for worker in workers:
            worker.send(phase)
        for worker in workers:
            worker.recv()
        portal, postgres = _cpu(self._web), _cpu(self._postmaster)
        started = time.perf_counter()
        for worker in workers:
            worker.send("go")
        milliseconds = [taken for worker in workers for taken in worker.recv()]
        seconds = time.perf_counter() - started
        portal, postgres = _cpu(self._web) - portal, _cpu(self._postmaster) - postgres
        return Figures(phase.events / seconds, portal / phase.events * 1e6, postgres / phase.events * 1e6, milliseconds)


def _cpu(first: psutil.Process | None) -> float:
    """CPU seconds of a process and its children, ended ones too."""
    if first is None:
        return 0
    own = first.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in first.children():
        with suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            total += times.user + times.system
    return total


_WEIGHTS = list(accumulate(1 / rank for rank in range(1, ORGANIZATIONS + 1)))


def _events(phase: Phase, client: int) -> list[Event]:
    """A client's events of a phase: ids that are UUIDv7 of these seconds, used in the last ten minutes."""
    chance = random.Random(f"{phase.number}/{client}")
    count = phase.events // CLIENTS
    places = [0] * count if phase.hot else chance.choices(range(ORGANIZATIONS), cum_weights=_WEIGHTS, k=count)
    milliseconds = (phase.now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return [
        Event(
            place,
            _uuid7(milliseconds + number // 100, chance),
            phase.now.replace(microsecond=0) - timedelta(seconds=chance.randrange(600)),
            chance.randrange(3600),
            chance.randrange(10),
            chance.randrange(len(REGIONS)),
        )
        for number, place in enumerate(places)
    ]


def _uuid7(milliseconds: int, chance: random.Random) -> bytes:
    return milliseconds.to_bytes(6, "big") + (
        (chance.getrandbits(80) & ~(0xF << 76 | 0b11 << 62)) | 7 << 76 | 1 << 63
    ).to_bytes(10, "big")


def _client(pipe: Connection, world: World, number: int) -> None:
    while phase := pipe.recv():
        events = _events(phase, number)
        requests = [_request(world, events[at : at + phase.batch]) for at in range(0, len(events), phase.batch)]
        with _connected(world.port) as connection:
            pipe.send("ready")
            pipe.recv()
            pipe.send([_post(connection, request, len(events[: phase.batch])) for request in requests])


def _request(world: World, events: list[Event]) -> bytes:
    documents = ",".join(
        f'{{"id":"{UUID(bytes=event.key)}","organization":"org-{event.place + 1}","meter":"{METER}",'
        f'"quantity":{event.whole}.{event.tenths},"time":"{event.moment:%Y-%m-%dT%H:%M:%SZ}",'
        f'"properties":{{"region":"{REGIONS[event.region]}"}}}}'
        for event in events
    )
    head = (
        f"POST /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1:{world.port}\r\nAuthorization: Bearer {world.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(documents) + 2}\r\n\r\n"
    )
    return f"{head}[{documents}]".encode()


@contextmanager
def _connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)
_ACCEPTED = re.compile(rb'"accepted": *([0-9]+)')


def _post(connection: socket.socket, request: bytes, events: int) -> float:
    """Send one request and read its answer; the milliseconds that took."""
    started = time.perf_counter()
    connection.sendall(request)
    answer = b""
    while (end := answer.find(b"\r\n\r\n")) < 0:
        answer += _received(connection)
    length = _LENGTH.search(answer, 0, end)
    assert length is not None, answer
    while len(answer) < end + 4 + int(length[1]):
        answer += _received(connection)
    taken = (time.perf_counter() - started) * 1000
    accepted = _ACCEPTED.search(answer)
    assert accepted is not None, answer[:2000]
    assert int(accepted[1]) == events, answer[:2000]
    return taken


def _received(connection: socket.socket) -> bytes:
    received = connection.recv(1 << 20)
    assert received, "gunicorn closed the connection"
    return received


def _copier(pipe: Connection, world: World, number: int) -> None:
    series = [series_key(world.meter_id, {"region": region}) for region in REGIONS]
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        while phase := pipe.recv():
            events = [event for client in range(number, CLIENTS, COPIERS) for event in _events(phase, client)]
            rows = [_row(event, world, series, phase.now) for event in events]
            pipe.send("ready")
            pipe.recv()
            with connection.cursor().copy(COPY) as copy:
                copy.set_types(COPY_TYPES)
                for row in rows:
                    copy.write_row(row)
            pipe.send([])


def _row(event: Event, world: World, series: list[int], now: datetime) -> tuple[object, ...]:
    """The columns of COPY. The id of the event is its key, as text."""
    key = UUID(bytes=event.key)
    quantity = Decimal(f"{event.whole}.{event.tenths}")
    return (
        *(world.first_id + event.place, key, world.meter_id, series[event.region], event.moment, now, False, quantity),
        *(str(key), "api"),
    )


def _print(pairs: dict[str, list[tuple[Figures, Figures]]], singles: Figures) -> None:
    table = Table("", "events/s", "C1, rows/s", "ratio", "portal, µs", "PostgreSQL, µs", "C1, µs", "p50 ms", "p99 ms")
    ratios, rates = {}, {}
    for name, measured in pairs.items():
        a, b = ([pair[side] for pair in measured] for side in (0, 1))
        ratios[name] = statistics.median(one.rate / other.rate for one, other in measured)
        rates[name] = _median(a, lambda each: each.rate)
        table.add_row(
            name,
            f"{rates[name]:,.0f}",
            f"{_median(b, lambda each: each.rate):,.0f}",
            f"{ratios[name]:.3f}",
            f"{_median(a, lambda each: each.portal_us):.1f}",
            f"{_median(a, lambda each: each.postgres_us):.1f}",
            f"{_median(b, lambda each: each.postgres_us):.1f}",
            *_percentiles([taken for each in a for taken in each.milliseconds]),
        )
    p50, p99 = _percentiles(singles.milliseconds)
    table.add_row(
        *("single events", f"{singles.rate:,.0f}", "", "", f"{singles.portal_us:.0f}", f"{singles.postgres_us:.0f}"),
        *("", p50, p99),
    )
    Console(width=110).print(table)
    batch, large, hot = ratios.values()
    print(
        f"RESULT ingest ratio={batch:.3f} rate={next(iter(rates.values())):.0f} ratio_5000={large:.3f} hot={hot:.3f}"
        f" singles={singles.rate:.0f} p99_ms={p99}"
    )


def _median(figures: list[Figures], value: Callable[[Figures], float]) -> float:
    return statistics.median(map(value, figures))


def _percentiles(milliseconds: list[float]) -> tuple[str, str]:
    cuts = statistics.quantiles(milliseconds, n=100)
    return f"{cuts[49]:.1f}", f"{cuts[98]:.1f}"


if __name__ == "__main__":
    main()
