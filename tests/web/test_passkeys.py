"""Passkeys: adding one, signing in with it once for each challenge, and everything that is not taken."""

import html
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.sealing import seal
from portal.organizations.models import SecondFactor
from portal.organizations.people import create_user, user_by_email
from tests.factories import acting, sql
from tests.web.conftest import PASSWORD, assert_flawless, post, sign_in
from tests.web.soft_passkey import SoftPasskey

OTTO, PIA = "otto@example.com", "pia@example.com"
PAGE = "/settings/account/passkeys"
ORIGIN, HOST = "http://127.0.0.1:5080", "127.0.0.1"
OPTIONS = re.compile(r'data-options="([^"]+)"')


@pytest.fixture
def otto(app: Flask, client: FlaskClient, clean_database: None) -> FlaskClient:
    """A browser of Otto, who is signed in and set up two factors since."""
    with acting(app), transaction():
        for email in (OTTO, PIA):
            create_user(email=email, name=email.partition("@")[0].title(), password=PASSWORD)
    assert sign_in(client, OTTO).status_code == 303
    switch_on(app, OTTO)
    return client


def switch_on(app: Flask, email: str) -> None:
    now = clock.now()
    with acting(app), transaction() as session:
        user = user_by_email(email)
        assert user is not None
        sealed = seal("A" * 32, keys=app.config["SETTINGS"].secret_keys, purpose=b"second factors")
        session.add(SecondFactor(user_id=user.id, sealed_secret=sealed, created_at=now, confirmed_at=now))


def options_in(text: str) -> dict[str, Any]:
    found = OPTIONS.search(text)
    assert found is not None
    return json.loads(html.unescape(found[1]))


def add(browser: FlaskClient, device: SoftPasskey) -> Any:
    page = post(browser, PAGE, page=PAGE, name="Phone")
    assert_flawless(page)
    return post(browser, f"{PAGE}/new", page=PAGE, name="Phone", credential=device.create(options_in(page.text)))


def asked(browser: FlaskClient, email: str = OTTO) -> dict[str, Any]:
    """What the device is asked after the right password."""
    assert sign_in(browser, email).location == "/sign-in/code?next=/"
    page = post(browser, "/sign-in/passkey", page="/sign-in/code", next="/settings/account")
    assert_flawless(page)
    return options_in(page.text)


def answer(browser: FlaskClient, credential: str) -> Any:
    return post(
        browser, "/sign-in/passkey/check", page="/sign-in/code", credential=credential, next="/settings/account"
    )


def test_a_passkey_stands_in_for_the_code_and_each_answer_counts_once(app: Flask, otto: FlaskClient):
    device = SoftPasskey(ORIGIN, HOST)
    assert add(otto, device).location == PAGE
    listed = otto.get(PAGE)
    assert_flawless(listed)
    assert "Phone" in listed.text
    browser = app.test_client()
    credential = device.get(asked(browser))
    assert browser.get_cookie("portal_session") is None
    done = answer(browser, credential)
    assert (done.status_code, done.location) == (303, "/settings/account")
    assert browser.get("/settings/account").status_code == 200
    again = app.test_client()
    asked(again)
    replayed = answer(again, credential)
    assert replayed.status_code == 422
    assert "used already" in replayed.text
    assert_flawless(replayed)
    with acting(app):
        assert sql("SELECT sign_count, used_at IS NOT NULL FROM passkeys") == [(1, True)]
        actions = [
            action for (action,) in sql("SELECT action FROM audit_entries WHERE action LIKE '%passkey' ORDER BY id")
        ]
    assert actions == ["added a passkey", "used a passkey"]


def other_origin(device: SoftPasskey) -> None:
    device.origin = "https://evil.example"


def other_host(device: SoftPasskey) -> None:
    device.host = "evil.example"


def no_pin(device: SoftPasskey) -> None:
    device.verified = False


def counts_back(device: SoftPasskey) -> None:
    device.count = 3


def other_key(device: SoftPasskey) -> None:
    device.key = SoftPasskey(ORIGIN, HOST).key


def unknown_device(device: SoftPasskey) -> None:
    device.credential_id = b"another passkey!"


@pytest.mark.parametrize("spoil", [other_origin, other_host, no_pin, counts_back, other_key, unknown_device])
def test_what_is_signed_elsewhere_or_otherwise_opens_nothing(
    app: Flask, otto: FlaskClient, spoil: Callable[[SoftPasskey], None]
):
    device = SoftPasskey(ORIGIN, HOST, count=7)
    add(otto, device)
    browser = app.test_client()
    options = asked(browser)
    spoil(device)
    refused = answer(browser, device.get(options))
    assert refused.status_code == 422
    assert "This passkey was not taken." in refused.text
    assert browser.get_cookie("portal_session") is None
    with acting(app):
        assert sql("SELECT sign_count, used_at FROM passkeys") == [(7, None)]


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", '{"id": "é", "response": {"clientDataJSON": "e30"}}'])
def test_nonsense_is_refused_in_a_sentence(app: Flask, otto: FlaskClient, text: str):
    add(otto, SoftPasskey(ORIGIN, HOST))
    browser = app.test_client()
    asked(browser)
    assert answer(browser, text).status_code == 422


@pytest.mark.parametrize("spoil", [other_origin, other_host, no_pin])
def test_a_new_passkey_for_elsewhere_is_not_kept(app: Flask, otto: FlaskClient, spoil: Callable[[SoftPasskey], None]):
    device = SoftPasskey(ORIGIN, HOST)
    spoil(device)
    refused = add(otto, device)
    assert refused.status_code == 422
    assert "This passkey was not taken." in refused.text
    with acting(app):
        assert sql("SELECT count(*) FROM passkeys") == [(0,)]


@pytest.mark.parametrize("garbage", ["AAAA", "é", "oA", 7, None])
def test_an_answer_of_other_bytes_is_not_kept(app: Flask, otto: FlaskClient, garbage: object):
    options = options_in(post(otto, PAGE, page=PAGE, name="Phone").text)
    credential = json.loads(SoftPasskey(ORIGIN, HOST).create(options))
    credential["response"]["attestationObject"] = garbage
    refused = post(otto, f"{PAGE}/new", page=PAGE, name="Phone", credential=json.dumps(credential))
    assert refused.status_code == 422
    with acting(app):
        assert sql("SELECT count(*) FROM passkeys") == [(0,)]


def test_a_challenge_is_for_one_person_one_purpose_and_five_minutes(
    app: Flask, otto: FlaskClient, monkeypatch: pytest.MonkeyPatch
):
    device = SoftPasskey(ORIGIN, HOST)
    add(otto, device)
    registering = options_in(post(otto, PAGE, page=PAGE, name="Second").text)
    browser = app.test_client()
    options = asked(browser)
    assert "Begin again" in answer(browser, device.get(registering)).text
    pia = app.test_client()
    assert sign_in(pia, PIA).status_code == 303
    switch_on(app, PIA)
    assert add(pia, SoftPasskey(ORIGIN, HOST, credential_id=b"passkey of pia 1")).status_code == 303
    half = app.test_client()
    asked(half, PIA)
    assert answer(half, device.get(options)).status_code == 422
    then = clock.now() + timedelta(minutes=5)
    monkeypatch.setattr(clock, "now", lambda: then)
    assert "This took too long" in answer(browser, device.get(options)).text


def test_one_needs_two_factors_and_a_confirmation_to_add_one(
    app: Flask, otto: FlaskClient, monkeypatch: pytest.MonkeyPatch
):
    pia = app.test_client()
    sign_in(pia, PIA)
    assert "Set up two factors" in pia.get(PAGE).text
    assert post(pia, PAGE, page=PAGE, name="Phone").status_code == 422
    then = clock.now() + timedelta(minutes=11)
    monkeypatch.setattr(clock, "now", lambda: then)
    held = post(otto, PAGE, page=PAGE, name="Phone")
    assert held.status_code == 422
    assert "Confirm that it is you" in held.text
    assert_flawless(held)
    with acting(app):
        assert sql("SELECT count(*) FROM passkey_challenges") == [(0,)]


def test_a_passkey_answers_whether_it_is_you_once(app: Flask, otto: FlaskClient, monkeypatch: pytest.MonkeyPatch):
    device = SoftPasskey(ORIGIN, HOST)
    add(otto, device)
    then = clock.now() + timedelta(minutes=11)
    monkeypatch.setattr(clock, "now", lambda: then)
    held = post(otto, PAGE, page=PAGE, name="Tablet")
    assert held.status_code == 422
    assert "Use a passkey instead" in held.text
    assert_flawless(held)
    signed = device.get(options_in(held.text))
    assert "Ask the device" in post(otto, PAGE, page=PAGE, name="Tablet", passkey=signed, confirm="").text
    later = then + timedelta(minutes=11)
    monkeypatch.setattr(clock, "now", lambda: later)
    replayed = post(otto, PAGE, page=PAGE, name="Tablet", passkey=signed, confirm="")
    assert replayed.status_code == 422
    assert "used already" in replayed.text
    with acting(app):
        told = sql("SELECT count(*) FROM audit_entries WHERE action = 'confirmed that it is them'")
    assert told == [(1,)]


def test_the_passkey_of_somebody_else_answers_nothing(app: Flask, otto: FlaskClient, monkeypatch: pytest.MonkeyPatch):
    add(otto, SoftPasskey(ORIGIN, HOST))
    pia = app.test_client()
    sign_in(pia, PIA)
    switch_on(app, PIA)
    device = SoftPasskey(ORIGIN, HOST, credential_id=b"passkey of pia 1")
    add(pia, device)
    then = clock.now() + timedelta(minutes=11)
    monkeypatch.setattr(clock, "now", lambda: then)
    held = post(otto, PAGE, page=PAGE, name="Tablet")
    refused = post(otto, PAGE, page=PAGE, name="Tablet", passkey=device.get(options_in(held.text)))
    assert refused.status_code == 422
    assert "This passkey was not taken." in refused.text


def test_only_ones_own_passkey_is_removed_and_then_codes_are_left(app: Flask, otto: FlaskClient):
    add(otto, SoftPasskey(ORIGIN, HOST))
    with acting(app):
        [(public_id,)] = sql("SELECT public_id FROM passkeys")
    pia = app.test_client()
    sign_in(pia, PIA)
    assert post(pia, f"{PAGE}/{public_id}/remove", page=PAGE).status_code == 404
    assert post(otto, f"{PAGE}/{public_id}/remove", page=PAGE).status_code == 303
    browser = app.test_client()
    sign_in(browser, OTTO)
    page = post(browser, "/sign-in/passkey", page="/sign-in/code")
    assert page.status_code == 422
    assert "There is no passkey for this account. Use a code." in page.text


def test_without_the_password_no_device_is_asked(client: FlaskClient, otto: FlaskClient, app: Flask):
    stranger = app.test_client()
    for address in ("/sign-in/passkey", "/sign-in/passkey/check"):
        assert post(stranger, address, page="/sign-in").location == "/sign-in?next=/"


def alone(browser: FlaskClient) -> dict[str, Any]:
    """What a device is asked instead of a password."""
    page = post(browser, "/sign-in/passkey-alone", page="/sign-in", next="/settings/account")
    assert_flawless(page)
    return options_in(page.text)


def answer_alone(browser: FlaskClient, credential: str, page: str = "/sign-in") -> Any:
    form = {"credential": credential, "next": "/settings/account"}
    return post(browser, "/sign-in/passkey-alone/check", page=page, **form)


def test_a_passkey_alone_signs_in_once_in_the_browser_that_asked(app: Flask, otto: FlaskClient):
    device = SoftPasskey(ORIGIN, HOST)
    add(otto, device)
    browser, other = app.test_client(), app.test_client()
    options = alone(browser)
    assert "allowCredentials" not in options or options["allowCredentials"] == []
    assert options["userVerification"] == "required"
    alone(other)
    credential = device.get(options)
    stolen = answer_alone(other, credential)
    assert stolen.status_code == 422
    assert other.get_cookie("portal_session") is None
    done = answer_alone(browser, credential)
    assert (done.status_code, done.location) == (303, "/settings/account")
    assert "otto@example.com" in browser.get("/settings/account").text
    replayed = answer_alone(browser, credential, page="/settings/account")
    assert replayed.status_code == 422


@pytest.mark.parametrize("how", ["unknown", "unverified", "elsewhere", "nothing", "disabled"])
def test_what_is_not_taken_instead_of_a_password(app: Flask, otto: FlaskClient, how: str):
    device = SoftPasskey(ORIGIN, HOST)
    add(otto, device)
    if how == "unknown":
        device.credential_id = b"nobody's passkey"
    elif how == "unverified":
        device.verified = False
    elif how == "elsewhere":
        device.origin = "https://evil.example"
    elif how == "disabled":
        with acting(app):
            sql("UPDATE users SET disabled_at = now() WHERE email = :email", email=OTTO)
    browser = app.test_client()
    options = alone(browser)
    refused = answer_alone(browser, "{}" if how == "nothing" else device.get(options))
    assert refused.status_code == 422
    assert_flawless(refused)
    assert browser.get_cookie("portal_session") is None
