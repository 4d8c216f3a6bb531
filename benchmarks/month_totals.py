"""Totals of all years at size: 2.4 million final invoices (20,000 organizations × 120 months), made by SQL; in ms.

The summary's read for one organization and for the platform, beside the same sums taken from the invoices themselves;
both have to be equal. EXPLAIN has to show that the summary's reads look at no invoice. `ratio` is a bare SELECT's
median over that of the platform's summary; `faster` is how often the summary fits into the raw sums of the platform.
The invoices have no documents and no lines, so the raw sums are as cheap as they can be.
"""

import argparse
import os
import random
import re
import statistics
import time
from collections.abc import Callable
from typing import Any

import psycopg
from flask import g
from rich.console import Console
from rich.table import Table
from sqlalchemy import event, text
from sqlalchemy.engine import Engine

from portal import create_app
from portal.config import settings_from_env
from portal.core.periods import Month
from portal.infra.audit import Actor
from portal.infra.db import STAFF, SYSTEM, act_as, db, tenant
from portal.invoicing.month_totals import MonthTotals, Totals, months_of, months_of_platform

MONTHS, FIRST = 120, Month(2016, 1)
READS, SCANS, WARMING = 1_000, 10, 50
ADD_ORGANIZATIONS = """
    INSERT INTO organizations (slug, name, currency, public_id)
    SELECT 'org-' || n, 'Organization ' || n, (ARRAY['USD', 'USD', 'EUR', 'JPY'])[n %% 4 + 1], gen_random_uuid()
    FROM generate_series(1, %(organizations)s) AS n
"""
# Month by month, as they come to be, with ids in the order of time.
ADD_INVOICES = """
    INSERT INTO invoices (public_id, organization_id, period_start, period_end, currency, state, payment_state, tax,
                          total, amount_due, number, finalized_at, invoiced_at, amount_paid, paid_at)
    SELECT (lpad(to_hex(1700000000000 + m * 1000000 + o.id), 12, '0') || substr(md5(m || '-' || o.id), 1, 20))::uuid,
           o.id, first, (first + interval '1 month')::date, o.currency, 'finalized', 'paid', 100 + o.id %% 50,
           1000 + o.id + m, 1000 + o.id + m, 'INV-' || m || '-' || lpad(o.id::text, 6, '0'), now(), now(),
           1000 + o.id + m, now()
    FROM generate_series(0, %(months)s - 1) AS m
    CROSS JOIN LATERAL (SELECT (CAST(%(first)s AS date) + m * interval '1 month')::date AS first) AS month
    CROSS JOIN organizations AS o
"""
# In the order of months, as they come to be: those of one organization lie far apart.
FILL_SUMMARY = (
    """
    INSERT INTO invoice_months (organization_id, month, currency, invoices, tax, total, amount_due)
    SELECT organization_id, period_start, currency, count(*), sum(tax), sum(total), sum(amount_due)
    FROM invoices GROUP BY 1, 2, 3 ORDER BY 2, 1
    """,
    """
    INSERT INTO platform_months (month, currency, slot, invoices, tax, total, amount_due)
    SELECT month, currency, organization_id % 8, sum(invoices), sum(tax), sum(total), sum(amount_due)
    FROM invoice_months GROUP BY 1, 2, 3
    """,
)
RAW = """
    SELECT period_start, currency, count(*), sum(tax)::bigint, sum(total)::bigint, 0, sum(amount_due)::bigint
    FROM invoices WHERE state = 'finalized' {whose}
    GROUP BY currency, period_start ORDER BY currency, period_start DESC
"""
RAW_OF_ONE = text(RAW.format(whose="AND organization_id = :organization_id"))
RAW_OF_PLATFORM = text(RAW.format(whose=""))


def main() -> None:
    """Prepare, compare, measure, print; ends with an error if sums differ or a summary's read looks at invoices."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--organizations", type=int, default=20_000, metavar="N", help="of 120 invoices each (20,000)")
    options = parser.parse_args()
    app = create_app(settings_from_env(os.environ))
    with app.app_context():
        g.actor = Actor("benchmark", "month_totals")
        organizations = _prepare(options.organizations)
        reads: dict[str, tuple[int, Callable[[int], Any]]] = {
            "bare SELECT": (READS, lambda _: db.session.execute(text("SELECT 1")).all()),
            "one organization, summary": (READS, months_of),
            "one organization, invoices": (READS, _raw_of_one),
            "platform, summary": (READS, lambda _: months_of_platform()),
            "platform, invoices": (SCANS, lambda _: _raw_of_platform()),
        }
        milliseconds = {name: _measure(organizations, name, *each) for name, each in reads.items()}
        plans = {name: _plan(organizations[0], name, read) for name, (_, read) in reads.items() if "summary" in name}
        act_as(SYSTEM)
        chosen = organizations[len(organizations) // 2]
        equal = months_of(chosen) == _raw_of_one(chosen) and months_of_platform() == _raw_of_platform()
    _print(options.organizations, milliseconds, plans)
    if not equal or any(re.search(r"on invoices\b", plan) for plan in plans.values()):
        raise SystemExit("The summary is not what the invoices come to, or its read looks at invoices.")


def _prepare(organizations: int) -> list[int]:
    values = {"organizations": organizations, "months": MONTHS, "first": FIRST.first_day}
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("SET ROLE portal_system")
        connection.execute(ADD_ORGANIZATIONS, values)
        connection.execute(ADD_INVOICES, values)
        for statement in FILL_SUMMARY:
            connection.execute(statement)
        rows = connection.execute("SELECT id FROM organizations ORDER BY id").fetchall()
        connection.execute("RESET ROLE")
        connection.execute("VACUUM ANALYZE")
    return [row[0] for row in rows]


def _raw_of_one(organization_id: int) -> list[MonthTotals]:
    return _read(db.session.execute(RAW_OF_ONE, {"organization_id": organization_id}))


def _raw_of_platform() -> list[MonthTotals]:
    return _read(db.session.execute(RAW_OF_PLATFORM))


def _read(rows: Any) -> list[MonthTotals]:
    return [MonthTotals(Month.of(month), currency, Totals(*counts)) for month, currency, *counts in rows]


def _act(name: str, organization_id: int) -> None:
    """As whom a page reads: an organization as its tenant, the platform as staff."""
    act_as(STAFF if name.startswith("platform") else tenant(organization_id))
    db.session.connection()


def _measure(organizations: list[int], name: str, times: int, read: Callable[[int], Any]) -> list[float]:
    """Milliseconds of each read, within the transaction that acts as who reads."""
    chance = random.Random(1)
    warming = min(WARMING, times)
    taken = []
    for number in range(times + warming):
        organization_id = chance.choice(organizations)
        _act(name, organization_id)
        started = time.perf_counter()
        read(organization_id)
        if number >= warming:  # statements are prepared and pages cached by then
            taken.append((time.perf_counter() - started) * 1000)
    return taken


def _plan(organization_id: int, name: str, read: Callable[[int], Any]) -> str:
    """What PostgreSQL says it does for the statement that a read sends."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        sent.append((statement, values))

    _act(name, organization_id)
    event.listen(Engine, "before_cursor_execute", note)
    read(organization_id)
    event.remove(Engine, "before_cursor_execute", note)
    ((statement, values),) = sent
    cursor = db.session.connection().connection.cursor()
    cursor.execute(f"EXPLAIN (COSTS OFF) {statement}", values)
    return "\n".join(row[0] for row in cursor.fetchall())


def _print(organizations: int, milliseconds: dict[str, list[float]], plans: dict[str, str]) -> None:
    table = Table("read", "p50 ms", "p99 ms")
    p50 = {name: statistics.median(taken) for name, taken in milliseconds.items()}
    p99 = {name: statistics.quantiles(taken, n=100)[98] for name, taken in milliseconds.items()}
    for name in milliseconds:
        table.add_row(name, f"{p50[name]:.2f}", f"{p99[name]:.2f}")
    Console().print(table)
    for name, plan in plans.items():
        print(f"{name}:\n{plan}")
    platform, one = "platform, summary", "one organization, summary"
    print(
        f"RESULT month_totals ratio={p50['bare SELECT'] / p50[platform]:.3f} rate={1000 / p50[platform]:.0f}"
        f" faster={p50['platform, invoices'] / p50[platform]:.0f} invoices={organizations * MONTHS}"
        f" organization_p50_ms={p50[one]:.2f} organization_p99_ms={p99[one]:.2f}"
        f" platform_p50_ms={p50[platform]:.2f} platform_p99_ms={p99[platform]:.2f}"
        f" raw_p50_ms={p50['platform, invoices']:.0f}"
    )


if __name__ == "__main__":
    main()
