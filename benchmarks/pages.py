"""Server time and queries of every page of the seeded demo, beside the cheapest request that touches the database.

Each page is requested in turn, round after round, so that all of them see the same state of the machine.
`ratio` is that cheapest request's median over the slowest page's median.
"""

import os
import re
import statistics
import time
from datetime import UTC, datetime

from flask import Flask
from flask.testing import FlaskClient
from rich.console import Console
from rich.table import Table
from sqlalchemy import event
from sqlalchemy.engine import Engine

from portal import create_app
from portal.config import settings_from_env
from portal.infra.db import SYSTEM, act_as, transaction
from portal.invoicing.queries import invoices_of
from portal.organizations.queries import ids_by_slug, organization_by_id
from portal.seeding import Wishes, seed
from portal.seeding.cast import CUSTOMERS, PASSWORD, STAFF
from portal.seeding.people import login_of

ROUNDS = 40
CHEAPEST = "/readyz"


def main() -> None:
    """Seed, measure, print."""
    settings = settings_from_env(os.environ)
    app = create_app(settings)
    app.config["WTF_CSRF_ENABLED"] = False
    with app.app_context():
        act_as(SYSTEM)
        seed(Wishes(), settings, now=datetime.now(UTC))
        pages = _pages()
    clients = {"customer": _signed_in(app, login_of(CUSTOMERS[0])), "staff": _signed_in(app, STAFF[0][0])}
    milliseconds: dict[str, list[float]] = {path: [] for _, path in pages}
    queries: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for _ in range(ROUNDS):
        for who, path in pages:
            with _Counter() as counter:
                started = time.perf_counter()
                answer = clients[who].get(path)
                milliseconds[path].append((time.perf_counter() - started) * 1000)
            assert answer.status_code == 200, (path, answer.status)
            queries[path], sizes[path] = counter.queries, len(answer.data)
    _print(milliseconds, queries, sizes)


def _pages() -> list[tuple[str, str]]:
    with transaction():
        organization_id = ids_by_slug({CUSTOMERS[0].slug})[CUSTOMERS[0].slug]
        organization = organization_by_id(organization_id).public_id
        draft, final = (invoice.public_id for invoice in invoices_of(organization_id, limit=2))
    return [
        ("customer", CHEAPEST),
        ("customer", "/"),
        ("customer", "/usage"),
        ("customer", "/invoices"),
        ("customer", "/invoices/draft"),
        ("customer", f"/invoices/{final}"),
        ("staff", "/admin"),
        ("staff", "/admin/organizations"),
        ("staff", f"/admin/organizations/{organization}"),
        ("staff", "/admin/invoices"),
        ("staff", f"/admin/invoices/{draft}"),
        ("staff", f"/admin/invoices/{final}"),
        ("staff", "/admin/sync"),
    ]


def _signed_in(app: Flask, email: str) -> FlaskClient:
    client = app.test_client()
    answer = client.post("/sign-in", data={"email": email, "password": PASSWORD})
    assert answer.status_code == 303, answer.status
    return client


class _Counter:
    """Counts the statements that reach the database."""

    def __enter__(self) -> "_Counter":
        self.queries = 0
        event.listen(Engine, "before_cursor_execute", self._count)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(Engine, "before_cursor_execute", self._count)

    def _count(self, *_: object) -> None:
        self.queries += 1


def _print(milliseconds: dict[str, list[float]], queries: dict[str, int], sizes: dict[str, int]) -> None:
    table = Table("page", "p50 ms", "p95 ms", "queries", "bytes")
    medians = {path: statistics.median(times) for path, times in milliseconds.items()}
    for path, times in milliseconds.items():
        p95 = statistics.quantiles(times, n=20)[-1]
        name = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", path)
        table.add_row(name, f"{medians[path]:.1f}", f"{p95:.1f}", str(queries[path]), f"{sizes[path]:,}")
    Console().print(table)
    slowest = max(medians.values())
    print(f"RESULT pages ratio={medians[CHEAPEST] / slowest:.3f} rate={1000 / slowest:.0f} slowest_ms={slowest:.1f}")


if __name__ == "__main__":
    main()
