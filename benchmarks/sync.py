"""Sending invoices to a sandbox that turns away what Stripe would: 25 calls a second per endpoint, 100 in all.

Four worker processes share the buckets in Redis. `ratio` is invoices a second over what the settings allow (each takes
one call of each of four endpoints, so as many as one endpoint's calls); `calls` is calls per invoice of a known
customer, `turned_away` how often the sandbox said 429.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime
from typing import Any

from flask import Flask, current_app, g
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from portal import billing_cycle, create_app
from portal.config import settings_from_env
from portal.core.periods import Month
from portal.infra import outbox
from portal.infra.audit import Actor
from portal.infra.db import SYSTEM, act_as, db, transaction
from portal.invoicing.queries import open_draft
from portal.organizations.models import Organization
from portal.payments import gateway

INVOICES, LINES, WORKERS = 400, 20, 4
PER_ENDPOINT, TOTAL = 25, 100
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MONTH = Month(2026, 10)
ADD_ITEMS = text("""
    INSERT INTO one_off_items (public_id, organization_id, invoice_id, kind, description, quantity, unit_amount, amount,
                               form_token)
    SELECT gen_random_uuid(), :organization, :invoice, 'charge', 'Machine ' || n, 1, n, n * 100, gen_random_uuid()
    FROM generate_series(1, :lines) AS n
""")


def main() -> None:
    """Start a sandbox, make the invoices, send them, count what came."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--invoices", type=int, default=INVOICES)
    count = parser.parse_args().invoices
    command = [sys.executable, "-m", "portal.sandbox", "--port", "0", "--webhook-secret", "whsec_benchmark"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sandbox:
        try:
            assert sandbox.stdout is not None
            os.environ["STRIPE_API_BASE"] = sandbox.stdout.readline().split()[-1]
            _measure(count)
        finally:
            sandbox.terminate()


def _measure(count: int) -> None:
    app = create_app(settings_from_env(os.environ))
    with app.app_context():
        _act()
        jobs = _make_invoices(count)
        allowed = current_app.config["SETTINGS"].stripe_endpoint_calls_per_second
    before = len(_sandbox("ledger")["calls"])
    _sandbox("rate_limit", {"per_endpoint": PER_ENDPOINT, "total": TOTAL})
    with multiprocessing.get_context("spawn").Pool(WORKERS, initializer=_begin) as pool:
        pool.map(_warm, range(WORKERS), chunksize=1)
        started = time.perf_counter()
        pool.map(_send, jobs, chunksize=1)
        seconds = time.perf_counter() - started
    ledger = _sandbox("ledger")
    calls = ledger["calls"][before:]
    turned_away = sum(call["status"] == 429 for call in calls)
    sent = sum(each["status"] == "open" for each in ledger["invoices"])
    if sent != count:
        raise SystemExit(f"{sent} of {count} invoices are open at the sandbox.")
    rate = sent / seconds
    table = Table("invoices", "lines each", "seconds", "invoices a second", "calls an invoice", "turned away")
    table.add_row(
        *map(str, (sent, LINES)), f"{seconds:.1f}", f"{rate:.1f}", f"{len(calls) / sent:.2f}", str(turned_away)
    )
    Console().print(table)
    print(
        f"RESULT sync ratio={rate / allowed:.3f} rate={rate:.1f} calls={len(calls) / sent:.2f}"
        f" turned_away={turned_away} minutes_for_50000={50_000 / rate / 60:.0f}"
    )


def _act() -> None:
    act_as(SYSTEM)
    g.actor = Actor("benchmark", "sync")


def _make_invoices(count: int) -> list[int]:
    """Final invoices of customers that Stripe knows; returns their jobs."""
    settings = current_app.config["SETTINGS"]
    customers = [{"id": f"cus_bench{number:06d}", "name": f"Organization {number}"} for number in range(count)]
    _sandbox("load", {"customers": customers})
    for customer in customers:
        with transaction() as session:
            organization = Organization(
                slug=customer["id"].replace("_", "-"),
                name=customer["name"],
                currency="USD",
                stripe_customer_id=customer["id"],
            )
            session.add(organization)
            session.flush()
            invoice = open_draft(organization, MONTH)
            session.execute(ADD_ITEMS, {"organization": organization.id, "invoice": invoice.id, "lines": LINES})
        billing_cycle.finalize_as_it_stands(invoice.id, by="the benchmark", now=NOW, settings=settings)
    with transaction() as session:
        return list(session.scalars(text("SELECT id FROM outbox WHERE kind = 'sync_invoice' ORDER BY id")))


_app: Flask


def _begin() -> None:
    global _app
    _app = create_app(settings_from_env(os.environ))
    gateway.preload()


def _warm(_: int) -> None:
    """Open this worker's connections before the clock starts."""
    with _app.app_context():
        _act()
        db.session.execute(text("SELECT 1"))
    time.sleep(1)


def _send(job: int) -> None:
    with _app.app_context():
        _act()
        outbox.run(job)


def _sandbox(path: str, document: dict[str, Any] | None = None) -> Any:
    body = None if document is None else json.dumps(document).encode()
    address = f"{os.environ['STRIPE_API_BASE']}/_ctl/{path}"
    request = urllib.request.Request(address, data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main()
