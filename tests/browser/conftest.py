"""A whole portal in its own processes, and a real Chromium in front of it.

The network is closed, so the CDN's address is answered with the very file that it serves: the integrity hash of the
page decides whether the browser runs it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, Route

from devkit.environment import Addresses, portal_settings
from devkit.folder import throw_away_folder
from devkit.portal import start_background, start_sandbox, start_web
from devkit.ports import free_port
from devkit.testservers import TEMPLATE, TestRun, drop_database, make_database, redis_database

CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VENDOR = Path(__file__).parent / "vendor"
HTMX = VENDOR / "htmx-2.0.11.min.js"
PASSWORD = "correct horse battery"
ADMIN, CUSTOMER = "admin@example.com", "owner@acme.example"


@dataclass(frozen=True)
class LivePortal:
    """A running portal with one organization whose last month is in review."""

    url: str
    sandbox_url: str
    api_key: str
    invoice: str
    last_month: date
    logs: Path
    secrets: tuple[str, ...]


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Debian's Chromium. Where there is none the test skips, but never where a browser is required (CI)."""
    if not CHROMIUM.exists():
        if os.environ.get("PORTAL_REQUIRE_BROWSER"):
            pytest.fail(f"{CHROMIUM} is missing, and PORTAL_REQUIRE_BROWSER says that browser tests must run")
        pytest.skip(f"NO BROWSER TEST WAS RUN: there is no {CHROMIUM}; on Debian: apt-get install chromium")
    chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
    yield chromium
    chromium.close()


@pytest.fixture
def new_context(browser: Browser) -> Iterator[Any]:
    """Make browser contexts that can reach loopback and the CDN's stand-in; all are closed at the end."""
    made: list[BrowserContext] = []

    def make(**options: Any) -> BrowserContext:
        context = browser.new_context(**options)
        context.route("https://cdn.jsdelivr.net/**", _serve_htmx)
        made.append(context)
        return context

    yield make
    for context in made:
        context.close()


def _serve_htmx(route: Route) -> None:
    version = route.request.url.partition("htmx.org@")[2].partition("/")[0]
    route.fulfill(
        body=(VENDOR / f"htmx-{version}.min.js").read_bytes(),
        headers={"access-control-allow-origin": "*", "content-type": "application/javascript"},
    )


def sign_in(page: Page, portal: LivePortal, email: str) -> None:
    """Sign in through the form."""
    page.goto(f"{portal.url}/sign-in")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


@pytest.fixture(scope="module")
def live_portal(test_run: TestRun, worker_number: int) -> Iterator[LivePortal]:
    """Web, worker, clock and sandbox as processes, on a database of their own."""
    with running_portal(test_run, f"browser_{worker_number}", redis=40 + worker_number) as portal:
        yield portal


@contextmanager
def running_portal(test_run: TestRun, name: str, *, redis: int, **more: str) -> Iterator[LivePortal]:
    """The same until the end of the block, with more settings; the name and the Redis database are nobody else's."""
    name = f"portal_{name}_test"
    database_url = make_database(test_run.servers.database_url, name, template=TEMPLATE)
    servers = replace(test_run.servers, database_url=database_url, redis_url=redis_database(test_run, redis))
    addresses = Addresses(free_port(), free_port())
    with throw_away_folder("browser") as folder:
        # All that could ever be logged: a test looks for secrets in it.
        settings = portal_settings(folder, servers, addresses, hold_seconds=0) | {"LOG_LEVEL": "DEBUG"} | more
        api_key, invoice, month = _small_world(settings)
        start_sandbox(folder, settings, addresses)
        start_web(folder.processes, settings, addresses)
        start_background(folder.processes, settings)
        secrets = tuple(settings[name] for name in ("SECRET_KEY", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"))
        yield LivePortal(
            addresses.portal_url, addresses.sandbox_url, api_key, invoice, month, folder.path / "logs", secrets
        )
    drop_database(test_run.servers.dropping_url, name)


def _small_world(settings: dict[str, str]) -> tuple[str, str, date]:
    """One customer with a little usage last month, one member of staff, one API key."""
    from portal import create_app
    from portal.catalog.publishing import ensure_meter, publish_price
    from portal.catalog.queries import meters_by_code
    from portal.config import settings_from_env
    from portal.core.periods import Month
    from portal.infra.db import SYSTEM, act_as, db, transaction
    from portal.invoicing.queries import open_draft
    from portal.organizations.api_keys import create_key
    from portal.organizations.people import add_member, create_user
    from portal.organizations.registering import ensure_organization
    from portal.usage.events import Reader
    from portal.usage.ingesting import ingest

    now = datetime.now(UTC)
    month = Month.of(now).previous
    app = create_app(settings_from_env(settings))
    with app.app_context():
        act_as(SYSTEM)
        with transaction():
            create_user(email=ADMIN, name="Ada Admin", password=PASSWORD, staff_role="admin")
            acme = ensure_organization("acme", name="Acme Rockets", currency="USD")
            add_member(create_user(email=CUSTOMER, name="Otto Owner", password=PASSWORD), acme, "owner")
            meter = ensure_meter("egress_gb", name="Egress", product="Network", unit="GB")
            terms = {"model": "per_unit", "unit_amount": "0.02"}
            publish_price(
                name="Egress", currency="USD", terms=terms, valid_from=date(2020, 1, 1), open_from=None, meter=meter
            )
            reader = Reader(meters_by_code(), now=now, organization_id=acme.id, organizations={})
            event = {
                "id": str(uuid4()),
                "meter": "egress_gb",
                "quantity": Decimal(500),
                "time": (month.start + timedelta(days=3)).isoformat(),
            }
            ingest([reader.read(event)], now=now)
            invoice = open_draft(acme, month)
            open_draft(acme, Month.of(now))
            key = create_key(name="browser test", organization_id=acme.id, scopes=("ingest",), live=False)
        db.engine.dispose()
        return key, str(invoice.public_id), month.first_day
