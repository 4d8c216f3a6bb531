"""Two organizations with a month of usage each, and browsers of the people who look at them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import html5lib
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from portal.infra.db import transaction
from portal.organizations.people import add_member, create_user
from tests.factories import acting, add, finalize_now, make_draft, make_meter, make_organization, make_price, use

PASSWORD = "only for tests, long"
TOKEN = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')
MONTH = "2026-10"


@dataclass(frozen=True)
class World:
    """Public ids of Acme's draft and final invoice, and of a rival's draft; people by role."""

    draft: UUID
    final: UUID
    foreign: UUID


@pytest.fixture
def world(app: Flask, clean_database: None) -> World:
    """Acme used 250 machine seconds at $0.01 in October, and its September, of $20.00, is final."""
    with acting(app):
        acme, rival = make_organization("acme"), make_organization("rival")
        meter = make_meter(dimensions=("app",))
        make_price(meter)
        use(acme, meter, 250, app="launchpad")
        use(rival, meter, 7, app="secret-app")
        draft, foreign = make_draft(acme), make_draft(rival)
        september = make_draft(acme, draft.month.previous)
        add(september, "25", "Migration assistance")
        add(september, "-5", "=Goodwill credit")
        finalize_now(september)
        with transaction():
            for role in ("owner", "developer"):
                add_member(create_user(email=f"{role}@acme.example", name=role, password=PASSWORD), acme, role)
            create_user(email="staff@example.com", name="Staff", password=PASSWORD, staff_role="support")
        return World(draft.public_id, september.public_id, foreign.public_id)


@pytest.fixture
def as_person(app: Flask, world: World) -> Callable[[str], FlaskClient]:
    """A browser in which somebody has signed in: "owner@acme.example"."""

    def sign_in_as(email: str) -> FlaskClient:
        browser = app.test_client()
        assert sign_in(browser, email).status_code == 303
        return browser

    return sign_in_as


@pytest.fixture
def owner(as_person: Callable[[str], FlaskClient]) -> FlaskClient:
    """The browser of Acme's owner."""
    return as_person("owner@acme.example")


def sign_in(browser: FlaskClient, email: str, password: str = PASSWORD, **more: str) -> TestResponse:
    """Send the sign-in form as a browser would."""
    return post(browser, "/sign-in", page="/sign-in", email=email, password=password, **more)


def post(browser: FlaskClient, address: str, *, page: str, **values: str) -> TestResponse:
    """Send a form with the token that a page of the portal holds."""
    token = TOKEN.search(browser.get(page).text)
    assert token is not None
    return browser.post(address, data={"csrf_token": token[1], **values})


def assert_flawless(response: TestResponse) -> None:
    """Strict HTML with a title and unique ids, and nothing that the security policy blocks."""
    document = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(response.text)
    assert document.findtext("head/title", "").strip()
    elements = [element for element in document.iter() if isinstance(element.tag, str)]
    ids = [element.get("id") for element in elements if element.get("id")]
    assert sorted(ids) == sorted(set(ids))
    blocked = [name for element in elements for name in element.attrib if name == "style" or str(name).startswith("on")]
    assert blocked == []
