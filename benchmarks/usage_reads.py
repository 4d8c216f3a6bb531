"""Reads of usage at size: 10,000 organizations × 10 series × a month of daily rollups, made by SQL; in milliseconds.

`month to date` is one organization's quantity per meter; `draft` is the query that the draft's usage lines come from;
`last 24 hours` is one meter by the hour, beside two days of hourly rollups of everybody; `explorer's day` is all that
the usage page asks for one day: totals, points, sources with their gaps. Organizations are taken at random,
after a VACUUM. EXPLAIN has to show that none reads usage_events, and the rows in usage_events (`--events N`, 1,000,000)
that it stays so. `ratio` is a bare SELECT's median over that of the draft's.
"""

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
from flask import g
from rich.console import Console
from rich.table import Table
from sqlalchemy import event, text
from sqlalchemy.engine import Engine

from portal import create_app
from portal.catalog.publishing import ensure_meter
from portal.config import settings_from_env
from portal.core.periods import Month
from portal.core.quantities import Counting
from portal.infra.audit import Actor
from portal.infra.db import SYSTEM, act_as, db, tenant, transaction
from portal.usage.exploring import MeterFacts, Resolution, Span, points, totals
from portal.usage.heard import heard_sources
from portal.usage.queries import usage_by_series, usage_heard_of_at

ORGANIZATIONS, METERS, DAYS = 10_000, 10, 31
HOURS_OF_SOURCES = 240
READS, WARMING = 2_000, 100
MONTH = Month(2026, 10)
HOURS = HOURS_OF_SOURCES // 5
DAY = "explorer's day"
METER = MeterFacts("meter_0", "Meter 0", "Bench", "u", Counting())
NOON = datetime(2026, 10, 31, 12, tzinfo=UTC)
LAST_24_HOURS = Span(NOON - timedelta(hours=24), NOON, Resolution.HOUR)
ONE_DAY = Span(datetime(2026, 10, 30, tzinfo=UTC), datetime(2026, 10, 31, tzinfo=UTC), Resolution.HOUR)
# As the draft asks, but added up per meter and without names: what a page shows of the month so far.
MONTH_TO_DATE = text("""
    SELECT meter_id, sum(quantity) AS quantity, sum(events) AS events
    FROM usage_daily
    WHERE organization_id = :organization_id AND day BETWEEN :first AND :last
    GROUP BY meter_id
""")
ADD_ORGANIZATIONS = """
    INSERT INTO organizations (slug, name, currency, public_id)
    SELECT 'org-' || n, 'Organization ' || n, 'USD', gen_random_uuid() FROM generate_series(1, %(organizations)s) AS n
"""
ADD_SERIES = """
    INSERT INTO usage_series (organization_id, series_id, meter_id, dimensions)
    SELECT organizations.id, meters.id * 1000003, meters.id, '{"region": "fra"}' FROM organizations, meters
"""
# In the order of days, as they come to be.
ADD_ROLLUPS = """
    INSERT INTO usage_daily (organization_id, day, recorded_day, series_id, meter_id, quantity, events, updated_at)
    SELECT organization_id, CAST(%(first)s AS date) + n, CAST(%(first)s AS date) + n, series_id, meter_id, 100 + n, 24,
           now()
    FROM generate_series(0, %(days)s - 1) AS n, usage_series
"""
ADD_HOURS = """
    INSERT INTO usage_hourly (organization_id, hour, series_id, meter_id, quantity, events)
    SELECT organization_id, CAST(%(last_hour)s AS timestamptz) - n * interval '1 hour', series_id, meter_id, 5, 1
    FROM generate_series(%(hours)s - 1, 0, -1) AS n, usage_series
"""
ADD_SOURCES = """
    INSERT INTO usage_heard (organization_id, source, hour, events, last_at, heard_at)
    SELECT id, 'api', CAST(%(last_hour)s AS timestamptz) - n * interval '1 hour', 10, %(last_hour)s, %(last_hour)s
    FROM generate_series(%(hours_of_sources)s - 1, 0, -1) AS n, organizations
"""
ADD_EVENTS = """
    INSERT INTO usage_events (organization_id, event_key, meter_id, series_id, occurred_at, recorded_at, correction,
                              quantity, event_id, source)
    SELECT organizations.id, (lpad(to_hex(1700000000000 + n), 12, '0') || substr(md5(n::text), 1, 20))::uuid,
           %(meter)s, %(meter)s * 1000003, CAST(%(first)s AS date) + n %% %(days)s * interval '1 day', now(), false, 1,
           'event-' || n, 'api'
    FROM generate_series(1, %(events)s) AS n JOIN organizations ON organizations.slug = 'org-' || (n %% 10000 + 1)
"""


def main() -> None:
    """Prepare, measure, print; ends with an error if a read looks at events."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000, metavar="N", help="rows of usage_events (1,000,000)")
    options = parser.parse_args()
    app = create_app(settings_from_env(os.environ))
    with app.app_context():
        act_as(SYSTEM)
        organizations, series_id = _prepare(options.events)
        reads: dict[str, Callable[[int], Any]] = {
            "bare SELECT": lambda _: db.session.execute(text("SELECT 1")).all(),
            "month to date": _month_to_date,
            "draft": lambda organization_id: usage_by_series(organization_id, MONTH, cuts=[date(2026, 10, 15)]),
            "last 24 hours": lambda organization_id: points(
                organization_id, LAST_24_HOURS, [(METER, [series_id])], now=NOON
            ),
            DAY: _explorer_day,
        }
        milliseconds = {name: _measure(organizations, read) for name, read in reads.items()}
        plans = {name: _plan(organizations[0], read) for name, read in reads.items()}
    _print(milliseconds, plans)


def _prepare(events: int) -> tuple[list[int], int]:
    """The organizations, and the series of the first meter, which all of them have."""
    g.actor = Actor("benchmark", "usage_reads")
    with transaction():
        meters = [
            ensure_meter(
                f"meter_{number}", name=f"Meter {number}", product="Bench", unit="u", dimensions=("region",)
            ).id
            for number in range(METERS)
        ]
    values = {
        "organizations": ORGANIZATIONS,
        "days": DAYS,
        "first": MONTH.first_day,
        "meter": meters[0],
        "events": events,
        "last_hour": NOON - timedelta(hours=1),
        "hours": HOURS,
        "hours_of_sources": HOURS_OF_SOURCES,
    }
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("SET ROLE portal_system")
        for statement in (ADD_ORGANIZATIONS, ADD_SERIES, ADD_ROLLUPS, ADD_HOURS, ADD_SOURCES, ADD_EVENTS):
            connection.execute(statement, values)
        rows = connection.execute("SELECT id FROM organizations ORDER BY id").fetchall()
        connection.execute("RESET ROLE")
        connection.execute("VACUUM ANALYZE")
    return [row[0] for row in rows], meters[0] * 1000003


def _month_to_date(organization_id: int) -> Any:
    values = {"organization_id": organization_id, "first": MONTH.first_day, "last": MONTH.last_day}
    return db.session.execute(MONTH_TO_DATE, values).all()


def _explorer_day(organization_id: int) -> Any:
    """What portal.web.usage reads for a day, but for who is signed in."""
    found = totals(organization_id, ONE_DAY)
    points(organization_id, ONE_DAY, [(found[0].meter, [each.series_id for each in found])], now=NOON)
    heard_sources(organization_id, ONE_DAY.start, ONE_DAY.end)
    usage_heard_of_at(organization_id, ONE_DAY.first_day, ONE_DAY.last_day)
    return found


def _measure(organizations: list[int], read: Callable[[int], Any]) -> list[float]:
    """Milliseconds of each read, within the transaction that acts as the organization."""
    chance = random.Random(1)
    taken = []
    for number in range(READS + WARMING):
        organization_id = chance.choice(organizations)
        act_as(tenant(organization_id))
        db.session.connection()
        started = time.perf_counter()
        read(organization_id)
        if number >= WARMING:  # statements are prepared by then
            taken.append((time.perf_counter() - started) * 1000)
    return taken


def _plan(organization_id: int, read: Callable[[int], Any]) -> str:
    """What PostgreSQL says it does for the statements that a read sends."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        sent.append((statement, values))

    act_as(tenant(organization_id))
    connection = db.session.connection()
    event.listen(Engine, "before_cursor_execute", note)
    read(organization_id)
    event.remove(Engine, "before_cursor_execute", note)
    cursor = connection.connection.cursor()
    lines: list[str] = []
    for statement, values in sent:
        cursor.execute(f"EXPLAIN (COSTS OFF) {statement}", values)
        lines += [row[0] for row in cursor.fetchall()]
    return "\n".join(lines)


def _print(milliseconds: dict[str, list[float]], plans: dict[str, str]) -> None:
    table = Table("read", "p50 ms", "p99 ms", "of usage_events")
    medians = {name: statistics.median(taken) for name, taken in milliseconds.items()}
    p99 = {name: statistics.quantiles(taken, n=100)[98] for name, taken in milliseconds.items()}
    for name in milliseconds:
        looks = "reads them" if "usage_events" in plans[name] else "no"
        table.add_row(name, f"{medians[name]:.2f}", f"{p99[name]:.2f}", looks)
    Console().print(table)
    print(plans["draft"])
    print(
        f"RESULT usage_reads ratio={medians['bare SELECT'] / medians['draft']:.3f} rate={1000 / medians['draft']:.0f}"
        f" month_p50_ms={medians['month to date']:.2f} month_p99_ms={p99['month to date']:.2f}"
        f" draft_p50_ms={medians['draft']:.2f} draft_p99_ms={p99['draft']:.2f}"
        f" hours_p50_ms={medians['last 24 hours']:.2f} hours_p99_ms={p99['last 24 hours']:.2f}"
        f" day_p50_ms={medians[DAY]:.2f} day_p99_ms={p99[DAY]:.2f}"
    )
    if any("usage_events" in plan for plan in plans.values()):
        raise SystemExit("A read looks at raw events.")


if __name__ == "__main__":
    main()
