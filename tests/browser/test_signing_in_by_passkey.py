"""Passkeys in a real browser with a virtual authenticator: added, used at signing in, and refused without scripts."""

from collections.abc import Iterator
from typing import Any

import pyotp
import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.sealing import seal
from portal.organizations.models import SecondFactor
from portal.organizations.people import create_user
from tests.browser.conftest import PASSWORD
from tests.browser.serving import serving
from tests.browser.test_main_job import watch_console
from tests.factories import acting, sql

pytestmark = pytest.mark.browser
EMAIL, SECRET = "otto@example.com", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


@pytest.fixture
def portal_url(app: Flask, clean_database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A portal with one person, who has two factors on. Browsers take no passkey for an address without a name."""
    now = clock.now()
    with acting(app), transaction() as session:
        user = create_user(email=EMAIL, name="Otto Owner", password=PASSWORD)
        sealed = seal(SECRET, keys=app.config["SETTINGS"].secret_keys, purpose=b"second factors")
        session.add(SecondFactor(user_id=user.id, sealed_secret=sealed, created_at=now, confirmed_at=now))
    with serving(app, monkeypatch, host="localhost") as url:
        yield url


def give_password(page: Page, url: str) -> None:
    page.goto(f"{url}/sign-in?next=/settings/account")
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def test_a_passkey_is_added_and_signs_in_under_the_strict_policy(app: Flask, portal_url: str, new_context: Any) -> None:
    context = new_context()
    page = context.new_page()
    problems = watch_console(page)
    devtools = context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    device = {"protocol": "ctap2", "transport": "internal", "hasUserVerification": True, "isUserVerified": True}
    device |= {"hasResidentKey": True}
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": device | {"automaticPresenceSimulation": True}})
    give_password(page, portal_url)
    page.get_by_label("Code").fill(pyotp.TOTP(SECRET).at(clock.now()))
    page.get_by_role("button", name="Go on").click()
    page.goto(f"{portal_url}/settings/account/passkeys")
    page.get_by_label("Name").fill("This laptop")
    page.get_by_role("button", name="Add a passkey").click()
    page.get_by_role("button", name="Ask the device").click()
    expect(page.get_by_role("button", name="Remove This laptop")).to_be_visible()

    context.clear_cookies()
    give_password(page, portal_url)
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("button", name="Ask the device").click()
    expect(page).to_have_url(f"{portal_url}/settings/account")

    context.clear_cookies()
    page.goto(f"{portal_url}/sign-in?next=/settings/account")
    page.get_by_role("button", name="Go on with a passkey").click()
    page.get_by_role("button", name="Ask the device").click()
    expect(page).to_have_url(f"{portal_url}/settings/account")

    with acting(app):
        sql("UPDATE sessions SET confirmed_at = now() - interval '10 minutes'")
    page.goto(f"{portal_url}/settings/account/email")
    page.get_by_label("New e-mail address").fill("otto@example.org")
    page.get_by_label("password", exact=False).first.fill(PASSWORD)
    page.get_by_role("button", name="Use a passkey instead").click()
    expect(page.get_by_text("Follow the link in the mail to your new address.")).to_be_visible()
    assert problems == []
    with acting(app):
        assert sql("SELECT sign_count > 0, used_at IS NOT NULL FROM passkeys") == [(True, True)]

    context.clear_cookies()
    plain = new_context(java_script_enabled=False).new_page()
    give_password(plain, portal_url)
    plain.get_by_role("button", name="Use a passkey").click()
    expect(plain.get_by_role("alert")).to_contain_text("This needs scripts")
    expect(plain.get_by_role("button", name="Ask the device")).to_be_hidden()
    expect(plain.get_by_role("link", name="Use a code instead")).to_be_visible()
