"""Organizations with eight meters and forty rollups a month, made by SQL, and the real run of a month by workers."""

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import psycopg
from flask import Flask, g
from sqlalchemy import text

from portal import create_app
from portal.bill_runs.models import RunKind
from portal.bill_runs.starting import start_run
from portal.bill_runs.steering import finalize_approved
from portal.catalog.publishing import ensure_meter, publish_price
from portal.config import settings_from_env
from portal.core.periods import Month
from portal.infra import outbox
from portal.infra.audit import Actor
from portal.infra.db import SYSTEM, act_as, db, transaction

METERS, DAYS, WORKERS = 8, 5, 2
ADD_ORGANIZATIONS = """
    INSERT INTO organizations (slug, name, currency, public_id, created_at)
    SELECT 'org-' || n, 'Organization ' || n, 'USD', gen_random_uuid(), '2026-01-01Z'
    FROM generate_series(1, %(count)s) AS n
"""
ADD_SERIES = """
    INSERT INTO usage_series (organization_id, series_id, meter_id, dimensions)
    SELECT o.id, m.id, m.id, '{}' FROM organizations AS o CROSS JOIN meters AS m
"""
ADD_USAGE = """
    INSERT INTO usage_daily (organization_id, day, series_id, recorded_day, meter_id, quantity, events, updated_at)
    SELECT o.id, CAST(%(first)s AS date) + d, m.id, CAST(%(first)s AS date) + d, m.id,
           100 + o.id %% 997 + d + m.id * 0.25, 3, now()
    FROM organizations AS o CROSS JOIN meters AS m CROSS JOIN generate_series(1, %(days)s) AS d
    ORDER BY 1, 2, 3
"""


def act() -> None:
    """Be the system, as a worker is."""
    act_as(SYSTEM)
    g.actor = Actor("benchmark", "bill_run")


def prepare(count: int, *months: Month) -> None:
    """Meters with a price each, and so many organizations with usage of these months."""
    with transaction():
        for number in range(METERS):
            meter = ensure_meter(f"meter_{number}", name=f"Meter {number}", product="Compute", unit="unit")
            publish_price(
                name=f"Meter {number}",
                currency="USD",
                terms={"model": "per_unit", "unit_amount": f"0.00{number + 1}"},
                valid_from=months[0].plus(-9).first_day,
                open_from=None,
                meter=meter,
            )
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("SET ROLE portal_system")
        connection.execute(ADD_ORGANIZATIONS, {"count": count})
        connection.execute(ADD_SERIES)
        for month in months:
            connection.execute(ADD_USAGE, {"days": DAYS, "first": month.first_day})
        connection.execute("RESET ROLE")
        connection.execute("VACUUM ANALYZE")


def run_month(app: Flask, month: Month, *, now: datetime) -> dict[str, float]:
    """Compute, approve and finalize a month by two worker processes; seconds of each stage."""
    settings = app.config["SETTINGS"]
    db.engine.dispose()
    with multiprocessing.get_context("spawn").Pool(WORKERS, initializer=_begin) as pool:
        pool.map(_warm, range(WORKERS), chunksize=1)
        with transaction():
            run = start_run(month, RunKind.MONTHLY, by="Ada", now=now, settings=settings, review_hours=None)
        taken = {"generate": _work(pool.map)}
        with transaction() as session:
            session.execute(text("UPDATE bill_run_items SET state = 'approved' WHERE state = 'generated'"))
        with transaction():
            finalize_approved(run.public_id, by="Ada", now=now)
        taken["finalize"] = _work(pool.map)
        return taken


def _work(do: Callable[..., object]) -> float:
    """Let the workers do all jobs of runs that are due, and what they ask for."""
    started = time.perf_counter()
    while jobs := rows(
        "SELECT id FROM outbox WHERE kind LIKE 'bill_run%' AND finished_at IS NULL AND dead_at IS NULL ORDER BY id"
    ):
        do(_do, [row[0] for row in jobs], chunksize=1)
    return time.perf_counter() - started


def rows(statement: str) -> list[tuple[int, ...]]:
    """What a statement finds."""
    with transaction() as session:
        return [tuple(row) for row in session.execute(text(statement))]


_app: Flask


def _begin() -> None:
    global _app
    _app = create_app(replace(settings_from_env(os.environ), bill_run_hold_seconds=0))


def _warm(_: int) -> None:
    with _app.app_context():
        act()
        db.session.execute(text("SELECT 1"))
    time.sleep(1)


def _do(job: int) -> None:
    with _app.app_context():
        act()
        outbox.run(job)
