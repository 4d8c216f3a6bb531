"""Sending invoices to a sandbox that turns away what Stripe would, beside pushing the usage itself.

Real RQ workers share the buckets in Redis, a page is asked for all the while, and lost work is rung for as the clock
does. By default the sandbox takes 25 calls a second of each endpoint and 100 in all, as Stripe does, and the settings
are the defaults; `--total 25` is an account in Stripe's test mode, and the portal is told to keep to it.

`ratio` is invoices a second over what the settings allow: as many as one endpoint's calls, or a quarter of all calls;
`of_limit` the same over what the sandbox takes. `calls` is calls per invoice of a known customer, `busiest` the most
calls that reached the sandbox in any second, `turned_away` how often it said 429, `page_p95_ms` of the page that
shows the sync. The second RESULT says what it would have cost to tell Stripe of every event of a month.
"""

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask import current_app, g
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from benchmarks._pushing import push_calls_a_second
from devkit.formbrowser import FormBrowser, call_json
from portal import billing_cycle, create_app
from portal.config import settings_from_env
from portal.core.periods import Month
from portal.infra import outbox
from portal.infra.audit import Actor
from portal.infra.db import SYSTEM, act_as, transaction
from portal.invoicing.queries import open_draft
from portal.organizations.models import Organization
from portal.organizations.people import create_user

ROOT = Path(__file__).parents[1]
INVOICES, LINES, WORKERS = 400, 20, 4
PER_ENDPOINT, TOTAL, CALLS_AN_INVOICE = 25, 100, 4
EVENTS, ORGANIZATIONS, PUSHED = 1_000_000, 1_000, 1_500
LONGEST_SECONDS = 1_200
LOGIN, PASSWORD = "staff@benchmark.example", "a password for the benchmark"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MONTH = Month(2026, 10)
ADD_ITEMS = text("""
    INSERT INTO one_off_items (public_id, organization_id, invoice_id, kind, description, quantity, unit_amount, amount,
                               form_token)
    SELECT gen_random_uuid(), :organization, :invoice, 'charge', 'Machine ' || n, 1, n, n * 100, gen_random_uuid()
    FROM generate_series(1, :lines) AS n
""")


def main() -> None:
    """Start a sandbox, make the invoices, send them, count what came; then push events for comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--invoices", type=int, default=INVOICES)
    parser.add_argument("--total", type=int, default=TOTAL, help="calls a second that the sandbox takes in all")
    parser.add_argument("--workers", type=int, default=WORKERS)
    options = parser.parse_args()
    if options.total < TOTAL:
        os.environ["STRIPE_CALLS_PER_SECOND"] = str(options.total)
    with _program("-m", "portal.sandbox", "--port", "0", stdout=subprocess.PIPE) as sandbox:
        assert sandbox.stdout is not None
        os.environ["STRIPE_API_BASE"] = sandbox.stdout.readline().decode().split()[-1]
        rate = _measure(options.invoices, options.total, options.workers)
        _compare_with_pushing(rate)


def _measure(count: int, total: int, workers: int) -> float:
    """Send so many invoices; print what came of it, and return how many a second went out."""
    app = create_app(settings_from_env(os.environ))
    settings = app.config["SETTINGS"]
    with app.app_context():
        act_as(SYSTEM)
        g.actor = Actor("benchmark", "sync")
        _make_invoices(count)
        _sandbox("rate_limit", {"per_endpoint": PER_ENDPOINT, "total": total})
        pages: list[float] = []
        with ExitStack() as running:
            running.enter_context(_web(settings.portal_url))
            running.enter_context(_asked_all_the_while(settings.portal_url, pages))
            for _ in range(workers):
                running.enter_context(_program("-m", "flask", "worker"))
            seconds = _time_until_sent(count)
    seen = _sandbox("counts")
    calls = sum(number for name, number in seen["counts"].items() if name.partition(" ")[0] in ("GET", "POST"))
    rate, per_invoice = count / seconds, calls / count
    allowed = min(settings.stripe_endpoint_calls_per_second, settings.stripe_calls_per_second / CALLS_AN_INVOICE)
    limit = min(PER_ENDPOINT, total / CALLS_AN_INVOICE)
    p95 = statistics.quantiles(pages, n=20)[-1] * 1000
    table = Table("invoices", "lines each", "workers", "seconds", "invoices a second", "pages asked for", "p50 ms")
    table.add_row(
        *map(str, (count, LINES, workers)),
        f"{seconds:.1f}",
        f"{rate:.1f}",
        str(len(pages)),
        f"{statistics.median(pages) * 1000:.0f}",
    )
    Console().print(table)
    print(
        f"RESULT sync ratio={rate / allowed:.3f} of_limit={rate / limit:.3f} rate={rate:.1f} calls={per_invoice:.2f}"
        f" busiest={seen['rate']['busiest_second']} turned_away={seen['rate']['turned_away']}"
        f" page_p95_ms={p95:.0f} minutes_for_50000={50_000 / rate / 60:.0f}"
    )
    return rate


def _time_until_sent(count: int) -> float:
    """Seconds from the first call to the last invoice; rings for work that nobody does, as the clock would."""
    begun = 0.0
    give_up = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < give_up:
        if not begun and _sandbox("counts")["counts"]:
            begun = time.perf_counter()
        elif begun:
            outbox.sweep()
            if _sent() == count:
                return time.perf_counter() - begun
        time.sleep(0.5 if begun else 0.05)
    raise SystemExit(f"{_sent()} of {count} invoices are open at the sandbox after {LONGEST_SECONDS} s.")


def _sent() -> int:
    found: int = _sandbox("counts")["totals"].get("usd", {}).get("open", {}).get("invoices", 0)
    return found


def _make_invoices(count: int) -> None:
    """Final invoices of customers that Stripe knows, queued for the sync; and somebody who may look at it."""
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
    with transaction():
        create_user(email=LOGIN, name="The benchmark", password=PASSWORD, staff_role="admin")


def _compare_with_pushing(rate: float) -> None:
    """What a month of a million events of a thousand organizations costs, as invoices and as events."""
    _sandbox("rate_limit", {"per_endpoint": None, "total": None})
    measured = push_calls_a_second(os.environ["STRIPE_API_BASE"], PUSHED)
    ours = ORGANIZATIONS * CALLS_AN_INVOICE
    print(
        f"RESULT pushing ratio={ours / EVENTS:.4f} calls_as_invoices={ours} calls_as_events={EVENTS}"
        f" minutes_as_invoices={ORGANIZATIONS / rate / 60:.1f} pushed_a_second={measured:.0f} (of {PUSHED} events, one"
        f" process) minutes_as_events={EVENTS / measured / 60:.0f} (extrapolated)"
        f" minutes_as_events_at_{TOTAL}_a_second={EVENTS / TOTAL / 60:.0f} (reckoned)"
    )


@contextmanager
def _program(*words: str, **more: Any) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, *words], cwd=ROOT, **more) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def _web(url: str) -> Iterator[None]:
    bind = urlsplit(url).netloc
    options = ["--worker-class", "gthread", "--workers", "2", "--threads", "4", "--no-control-socket"]
    with _program("-m", "gunicorn", "wsgi:app", "-b", bind, "--log-level", "error", *options):
        yield


@contextmanager
def _asked_all_the_while(url: str, seconds: list[float]) -> Iterator[None]:
    """Sign in, and ask for the page of the sync four times a second; notes how long each took."""
    browser = FormBrowser(url)
    _wait_for(browser)
    page = browser.open("/sign-in")
    browser.submit(page, page.form(action="/sign-in"), {"email": LOGIN, "password": PASSWORD})
    done = threading.Event()

    def ask() -> None:
        while not done.wait(0.25):
            started = time.perf_counter()
            answer = browser.open("/admin/sync")
            seconds.append(time.perf_counter() - started)
            assert answer.url.endswith("/admin/sync"), answer.url
            assert answer.status == 200, answer.status

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _wait_for(browser: FormBrowser) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            browser.open("/healthz")
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("The pages did not start.")


def _sandbox(path: str, document: dict[str, Any] | None = None) -> Any:
    status, answer = call_json(f"{os.environ['STRIPE_API_BASE']}/_ctl/{path}", body=document)
    assert status == 200, (status, answer)
    return answer


if __name__ == "__main__":
    main()
