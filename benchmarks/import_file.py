"""`flask usage import` of a file of N events (200,000) in CSV and in JSON lines: rows a second, CPU and peak memory.

The events are those of 10,000 organizations with Zipf weights. Beside it the limit: one connection that only COPYs the
CSV file into a table with the same unique key. `ratio` is the rate of the CSV import over that; peak memory is that of
the command's process, which `--events N` must not raise.
"""

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
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
from portal.infra.audit import Actor
from portal.infra.db import SYSTEM, act_as, transaction

ROOT = Path(__file__).resolve().parent.parent
ORGANIZATIONS = 10_000
METER = "machine_seconds"
FIELDS = ("id", "organization", "meter", "quantity", "time", "region")
ADD_ORGANIZATIONS = """
    INSERT INTO organizations (slug, name, currency, public_id)
    SELECT 'org-' || n, 'Organization ' || n, 'USD', gen_random_uuid() FROM generate_series(1, :count) AS n
"""
LIMIT_TABLE = """
    CREATE TABLE bench_copy (event_key uuid, organization text, meter text, quantity numeric, moment timestamptz,
                             region text, PRIMARY KEY (organization, event_key))
"""


def main() -> None:
    """Prepare, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=200_000, metavar="N", help="events in each file (200,000)")
    events = parser.parse_args().events
    _prepare()
    table = Table("file", "MB", "s", "rows/s", "CPU µs a row", "peak MB")
    rates, peaks = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for number, form in enumerate(("csv", "jsonl")):
            path = Path(folder) / f"usage.{form}"
            _write(path, form, events, seed=number)
            started = time.perf_counter()
            cpu, peak = _import(path, form)
            seconds = time.perf_counter() - started
            rates[form], peaks[form] = events / seconds, peak
            size = path.stat().st_size / 1e6
            per_row = f"{cpu / events * 1e6:.1f}"
            table.add_row(form, f"{size:.0f}", f"{seconds:.1f}", f"{rates[form]:,.0f}", per_row, f"{peak:.0f}")
        limit = events / _copy(Path(folder) / "usage.csv")
    table.add_row("COPY of the CSV", "", f"{events / limit:.1f}", f"{limit:,.0f}", "", "")
    Console().print(table)
    print(
        f"RESULT import_file ratio={rates['csv'] / limit:.3f} rate={rates['csv']:.0f} rate_jsonl={rates['jsonl']:.0f}"
        f" peak_mb={max(peaks.values()):.0f}"
    )


def _prepare() -> None:
    app = create_app(settings_from_env(os.environ))
    with app.app_context():
        act_as(SYSTEM)
        g.actor = Actor("benchmark", "import")
        with transaction() as session:
            ensure_meter(METER, name="Machines", product="Compute", unit="second", dimensions=("region",))
            session.execute(text(ADD_ORGANIZATIONS), {"count": ORGANIZATIONS})
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(LIMIT_TABLE)
        connection.execute("VACUUM ANALYZE")


def _rows(count: int, seed: int) -> Iterator[tuple[str, ...]]:
    """Events of the last ten days in the order of time, with UUIDv7 as ids."""
    chance = random.Random(seed)
    weights = list(accumulate(1 / rank for rank in range(1, ORGANIZATIONS + 1)))
    begin = datetime.now(UTC) - timedelta(days=10)
    milliseconds = (begin - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    for number, place in enumerate(chance.choices(range(ORGANIZATIONS), cum_weights=weights, k=count)):
        passed = number * 864_000_000 // count
        tail = chance.getrandbits(80) & ~(0xF << 76 | 0b11 << 62) | 7 << 76 | 1 << 63
        key = UUID(bytes=(milliseconds + passed).to_bytes(6, "big") + tail.to_bytes(10, "big"))
        moment = begin + timedelta(milliseconds=passed)
        quantity = f"{chance.randrange(3600)}.{chance.randrange(10)}"
        region = chance.choice(("fra", "ord", "syd"))
        yield str(key), f"org-{place + 1}", METER, quantity, f"{moment:%Y-%m-%dT%H:%M:%SZ}", region


def _write(path: Path, form: str, events: int, *, seed: int) -> None:
    with path.open("w", newline="") as stream:
        if form == "csv":
            writer = csv.writer(stream)
            writer.writerow(FIELDS)
            writer.writerows(_rows(events, seed))
        else:
            stream.writelines(f"{json.dumps(dict(zip(FIELDS, row, strict=True)))}\n" for row in _rows(events, seed))


def _import(path: Path, form: str) -> tuple[float, float]:
    """Import a file by the command. CPU seconds and the largest memory, in MB, of its process."""
    command = [sys.executable, "-m", "flask", "usage", "import", str(path), "--format", form]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        watched = psutil.Process(process.pid)
        cpu, peak = 0.0, 0
        while process.poll() is None:
            try:
                times, peak = watched.cpu_times(), max(peak, watched.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            cpu = times.user + times.system
            time.sleep(0.05)
        output = process.stdout.read() if process.stdout else b""
    if process.returncode:
        raise SystemExit(output.decode())
    return cpu, peak / 1e6


def _copy(path: Path) -> float:
    """Seconds that one connection needs to COPY the file."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection, path.open("rb") as stream:
        started = time.perf_counter()
        with connection.cursor().copy(
            "COPY bench_copy (event_key, organization, meter, quantity, moment, region) FROM STDIN (FORMAT CSV, HEADER)"
        ) as copy:
            while block := stream.read(1 << 16):
                copy.write(block)
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
