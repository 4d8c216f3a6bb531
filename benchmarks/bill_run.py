"""A whole bill run by two worker processes, against plain COPY of the very rows that it has written.

Organizations with eight meters and 40 rollups each are made by SQL; then their month is computed, approved and made
final with gapless numbers. `ratio` is the run's rate over that of two processes' COPY of the same finished rows into
the same tables with all their keys (without the triggers that freeze them); `orm` is the rate over that of one commit
an invoice, as an admin's click does it.
"""

import argparse
import io
import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import psycopg
from flask import Flask
from psycopg import sql
from rich.console import Console
from rich.table import Table

from benchmarks._big_month import WORKERS, act, prepare, rows, run_month
from portal import billing_cycle, create_app
from portal.config import settings_from_env
from portal.core.periods import Month
from portal.infra.db import db

MONTH = Month(2026, 10)
NOW = datetime(2026, 11, 5, 12, 0, tzinfo=UTC)
SINGLES = 60
EMPTY = "TRUNCATE organizations, bill_runs, audit_entries, outbox, number_series, platform_months CASCADE"
# What a run writes, in the order in which keys allow it to be written again.
WRITTEN = (
    *("invoices", "invoice_items", "billed_usage", "bill_run_items", "invoice_months"),
    *("audit_entries", "outbox"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """Invoices a second, of one size: the run, COPY of the same rows, and a commit for each invoice."""

    invoices: int
    rate: float
    copy: float
    single: float


def main() -> None:
    """Run each size on empty books, take its rows out, put them back by COPY, print both; the result is the last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--organizations", type=int, nargs="+", default=[1_000, 10_000], metavar="N")
    counts = parser.parse_args().organizations
    app = create_app(replace(settings_from_env(os.environ), bill_run_hold_seconds=0))
    with app.app_context():
        act()
        measured = []
        for count in counts:
            _empty()
            measured.append(_measure(app, count))
    last = measured[-1]
    megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    cost = ",".join(f"{each.invoices}:{1000 / each.rate:.2f}" for each in measured)
    print(
        f"RESULT bill_run ratio={last.rate / last.copy:.3f} rate={last.rate:.0f} copy={last.copy:.0f}"
        f" orm={last.rate / last.single:.1f} ms_an_invoice={cost} peak_mb={megabytes} invoices={last.invoices}"
    )


def _measure(app: Flask, count: int) -> Measured:
    prepare(count, MONTH)
    single = _one_by_one(app)
    taken = run_month(app, MONTH, now=NOW)
    [(numbers, last)] = rows("SELECT count(number), max(right(number, 6)::bigint) FROM invoices")
    if not numbers == last == count:
        raise SystemExit(f"{count} organizations, {numbers} numbers, the last is {last}.")
    whole = sum(taken.values())
    written, copied = _copy_again()
    measured = Measured(count, (count - SINGLES) / whole, count / copied, single)
    table = Table("what", "seconds", "invoices a second", title=f"{count:,} organizations")
    for name, seconds in taken.items():
        table.add_row(name, f"{seconds:.2f}", f"{(count - SINGLES) / seconds:.0f}")
    table.add_row("the run", f"{whole:.2f}", f"{measured.rate:.0f}")
    table.add_row(f"COPY of its {written:,} rows", f"{copied:.2f}", f"{measured.copy:.0f}")
    table.add_row("one click each", "", f"{single:.0f}")
    Console().print(table)
    return measured


def _empty() -> None:
    """Books without anything in them, guarded as they were before rows were copied."""
    db.session.remove()
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(EMPTY)
        for table in WRITTEN:
            for change in ("FORCE ROW LEVEL SECURITY", "ENABLE TRIGGER USER"):
                connection.execute(sql.SQL("ALTER TABLE {} " + change).format(sql.Identifier(table)))


def _one_by_one(app: Flask) -> float:
    """Invoices a second where each is opened, computed and made final in a transaction of its own."""
    billing_cycle.open_drafts(MONTH)
    ids = [row[0] for row in rows("SELECT id FROM invoices ORDER BY id")[:SINGLES]]
    settings = replace(app.config["SETTINGS"], finalize_hold_seconds=0)
    started = time.perf_counter()
    for invoice_id in ids:
        billing_cycle.finalize_as_it_stands(invoice_id, by="the benchmark", now=NOW, settings=settings)
    return SINGLES / (time.perf_counter() - started)


def _copy_again() -> tuple[int, float]:
    """Take what was written out, empty the tables, and let two processes COPY it back in; rows and seconds."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        for table in WRITTEN:
            for change in ("NO FORCE ROW LEVEL SECURITY", "DISABLE TRIGGER USER"):
                connection.execute(sql.SQL("ALTER TABLE {} " + change).format(sql.Identifier(table)))
        rows = sum(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in WRITTEN)
        halves = [[(table, _copy_out(connection, table, half)) for table in WRITTEN] for half in range(WORKERS)]
        names = sql.SQL(", ").join(map(sql.Identifier, WRITTEN))
        connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(names))
    with ThreadPoolExecutor(WORKERS) as pool:
        started = time.perf_counter()
        list(pool.map(_copy_in, halves))
        return rows, time.perf_counter() - started


def _copy_out(connection: psycopg.Connection, table: str, half: int) -> bytes:
    out = io.BytesIO()
    where = f"coalesce(organization_id, 0) % {WORKERS} = {half}"
    with connection.cursor().copy(f"COPY (SELECT * FROM {table} WHERE {where}) TO STDOUT (FORMAT BINARY)") as copy:
        for data in copy:
            out.write(data)
    return out.getvalue()


def _copy_in(tables: list[tuple[str, bytes]]) -> None:
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        for table, data in tables:
            with connection.cursor().copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy:
                copy.write(data)


if __name__ == "__main__":
    main()
