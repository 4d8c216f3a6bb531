"""An organization with a month to bill, and people of the staff who look at it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import html5lib
import pytest
from flask import Flask, g
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from devkit.formbrowser import Form, Page
from portal.catalog.publishing import ensure_meter, publish_price
from portal.catalog.queries import meters_by_code
from portal.core.periods import Month
from portal.infra.audit import Actor
from portal.infra.db import SYSTEM, act_as, db, transaction
from portal.invoicing.queries import invoice_of, open_draft
from portal.organizations.models import Organization
from portal.organizations.people import add_member, create_user
from portal.organizations.queries import ids_by_slug, organization_of
from portal.organizations.sessions import sign_in
from portal.signed_in import cookie_name
from portal.usage.events import Reader
from portal.usage.ingesting import ingest

PASSWORD = "only for tests, long"


class Browser:
    """A person's browser without JavaScript; every page that it opens must be flawless HTML."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def open(self, address: str) -> Page:
        return self._read(address, self.client.get(address))

    def submit(self, form: Form, values: Mapping[str, str] | None = None, *, button: str = "") -> Page:
        """Send a form as a browser would, and follow where it leads."""
        pressed = form.button(button)
        assert pressed is not None, f"no button {button!r}"
        clicked = {pressed.name: pressed.value} if pressed.name else {}
        data = form.fields | dict(values or {}) | clicked
        if form.method == "get":
            return self._read(form.action, self.client.get(form.action, query_string=data))
        response = self.client.post(form.action, data=data)
        if response.status_code == 303:
            return self.open(response.location)
        return self._read(form.action, response)

    def _read(self, address: str, response: TestResponse) -> Page:
        if response.status_code == 303:
            return self.open(response.location)
        html5lib.HTMLParser(strict=True).parse(response.text)
        return Page(address, response.status_code, response.text)


@dataclass(frozen=True)
class World:
    """One organization whose last month came to $20.00, with its drafts of last month and of this one."""

    app: Flask
    organization: UUID
    last_month: UUID
    this_month: UUID

    @property
    def draft(self) -> str:
        """The address of the draft that can be finalized."""
        return f"/admin/invoices/{self.last_month}"

    def use(self, quantity: int, *, meter: str = "egress") -> None:
        """Report usage of last month."""
        with _system(self.app), transaction():
            _use(self.organization, quantity, meter=meter)

    def invoice(self, public_id: UUID | None = None) -> Any:
        """The invoice as the database has it now."""
        with _system(self.app):
            return invoice_of(public_id or self.last_month)


class _system:
    """An application context that acts as the system."""

    def __init__(self, app: Flask) -> None:
        self._context = app.app_context()

    def __enter__(self) -> None:
        self._context.push()
        act_as(SYSTEM)
        g.actor = Actor("command", "tests")

    def __exit__(self, *_: Any) -> None:
        self._context.pop()


@pytest.fixture
def world(app: Flask, clean_database: None) -> World:
    """Acme, with 1,000 GB of egress at $0.02 in last month."""
    month = Month.of(datetime.now(UTC))
    with _system(app), transaction():
        acme = Organization(name="Acme", slug="acme", currency="USD")
        db.session.add(acme)
        db.session.flush()
        meter = ensure_meter("egress", name="Egress", product="Network", unit="GB")
        ensure_meter("gpu", name="GPU hours", product="Compute", unit="h")
        terms = {"model": "per_unit", "unit_amount": "0.02"}
        publish_price(
            name="Egress",
            currency="USD",
            terms=terms,
            valid_from=month.plus(-12).first_day,
            open_from=None,
            meter=meter,
        )
        _use(acme.public_id, 1000, meter="egress")
        drafts = [open_draft(acme, each).public_id for each in (month.previous, month)]
        return World(app, acme.public_id, drafts[0], drafts[1])


def _use(organization: UUID, quantity: int, *, meter: str) -> None:
    now = datetime.now(UTC)
    reader = Reader(meters_by_code(), now=now, organization_id=None, organizations=ids_by_slug({str(organization)}))
    moment = Month.of(now).start - timedelta(days=2)
    event = {
        "id": f"{meter}-{quantity}",
        "organization": str(organization),
        "meter": meter,
        "quantity": str(quantity),
        "time": moment.isoformat(),
    }
    ingest([reader.read(event)], now=now)


@pytest.fixture
def as_staff(app: Flask, world: World) -> Callable[[str], Browser]:
    """Sign somebody of the staff in, by their role."""

    def sign_staff_in(role: str) -> Browser:
        return Browser(_signed_in(app, f"{role}@example.com", role=role))

    return sign_staff_in


@pytest.fixture
def admin(as_staff: Callable[[str], Browser]) -> Browser:
    """Somebody who may do everything."""
    return as_staff("admin")


@pytest.fixture
def customer(app: Flask, world: World) -> FlaskClient:
    """An owner of the organization; no staff."""
    return _signed_in(app, "owner@example.com", role=None, organization=world.organization)


def _signed_in(app: Flask, email: str, *, role: str | None, organization: UUID | None = None) -> FlaskClient:
    with _system(app), transaction():
        user = create_user(email=email, name=email.partition("@")[0], password=PASSWORD, staff_role=role)
        if organization is not None:
            add_member(user, organization_of(organization), "owner")
        token = sign_in(email, PASSWORD, now=datetime.now(UTC), days=1, address=None, user_agent=None)
    client = app.test_client()
    with app.app_context():
        client.set_cookie(cookie_name(), token)
    return client
