"""Signing in by a provider in a real browser: no security policy stands in the way there and back."""

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import expect

from portal.infra.db import transaction
from portal.organizations.people import create_user
from tests.browser.conftest import PASSWORD
from tests.browser.serving import serving
from tests.browser.test_main_job import watch_console
from tests.factories import acting
from tests.web.oidc_provider import CLIENT_ID, CLIENT_SECRET, GOOD
from tests.web.provider_process import provider_process

pytestmark = pytest.mark.browser


@pytest.fixture
def portal_url(app: Flask, clean_database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A portal on a port of this machine, with one person, that knows a running provider."""
    with acting(app), transaction():
        create_user(email=GOOD["email"], name="Otto Owner", password=PASSWORD)
    with (
        provider_process() as provider,
        serving(
            app,
            monkeypatch,
            host="127.0.0.1",
            oidc_issuer=provider.issuer,
            oidc_client_id=CLIENT_ID,
            oidc_client_secret=CLIENT_SECRET,
            oidc_name="Example ID",
            oidc_mail_domains=("acme.example",),
        ) as url,
    ):
        yield url


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_the_button_leads_to_the_provider_and_back_to_the_page_that_was_asked_for(
    portal_url: str, new_context: Any, scripts: bool
) -> None:
    page = new_context(java_script_enabled=scripts).new_page()
    problems = watch_console(page)
    page.goto(f"{portal_url}/settings/account")
    page.get_by_role("button", name="Go on with Example ID").click()
    page.get_by_role("button", name="Yes, it is me").click()
    expect(page).to_have_url(f"{portal_url}/settings/account")
    expect(page.locator("main")).to_contain_text("Otto Owner")
    # The browser misses an icon on the provider's page, which is not ours.
    assert [each for each in problems if "404" not in each] == []
