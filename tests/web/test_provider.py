"""Signing in by a provider that is a process of its own: the way there and back, and everything that may be wrong."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from werkzeug.test import TestResponse

from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.sealing import seal
from portal.organizations import attempts
from portal.organizations.models import SecondFactor
from portal.organizations.people import add_member, create_user, user_by_email
from tests.factories import acting, make_organization, sql
from tests.web.conftest import PASSWORD, assert_flawless, post
from tests.web.oidc_provider import CLIENT_ID, CLIENT_SECRET, GOOD
from tests.web.provider_process import ProviderProcess, provider_process

OWNER, STAFF = "owner@acme.example", "staff@example.com"
BACK = "/sign-in/provider/back"


@pytest.fixture(scope="module")
def running() -> Iterator[ProviderProcess]:
    with provider_process() as process:
        yield process


@pytest.fixture
def provider(
    running: ProviderProcess, app: Flask, clean_database: None, monkeypatch: pytest.MonkeyPatch
) -> ProviderProcess:
    """The provider in order, a portal that knows it, and two people."""
    running.says()
    with acting(app), transaction():
        owner = create_user(email=OWNER, name="Otto Owner", password=PASSWORD)
        create_user(email=STAFF, name="Sam Staff", password=PASSWORD, staff_role="support")
    with acting(app):
        acme = make_organization()
        with transaction():
            add_member(owner, acme, "owner")
    configured = replace(
        app.config["SETTINGS"],
        oidc_issuer=running.issuer,
        oidc_client_id=CLIENT_ID,
        oidc_client_secret=CLIENT_SECRET,
        oidc_name="Example ID",
        oidc_mail_domains=("acme.example", "example.com"),
    )
    monkeypatch.setitem(app.config, "SETTINGS", configured)
    return running


def set_out(browser: FlaskClient, **more: str) -> TestResponse:
    return post(browser, "/sign-in/provider", page="/sign-in", **more)


def at_provider(page: TestResponse) -> str:
    """Press the provider's button; where it sends the browser back to, without our host."""
    address = page.headers["Refresh"].removeprefix("0; url=")
    answer = requests.post(address, allow_redirects=False, timeout=10)
    back = urlsplit(answer.headers["Location"])
    assert f"{back.scheme}://{back.netloc}{back.path}" == f"http://127.0.0.1:5080{BACK}"
    return f"{back.path}?{back.query}"


def go(browser: FlaskClient, **more: str) -> TestResponse:
    return browser.get(at_provider(set_out(browser, **more)))


def audited(app: Flask, action: str) -> list[object]:
    with acting(app):
        return [after for (after,) in sql("SELECT after FROM audit_entries WHERE action = :a ORDER BY id", a=action)]


def assert_not_signed_in(browser: FlaskClient, answer: TestResponse, sentence: str) -> None:
    assert answer.status_code == 422
    assert sentence in answer.text
    assert_flawless(answer)
    assert browser.get_cookie("portal_session") is None
    assert browser.get_cookie("portal_session_provider") is None


def test_the_first_sign_in_links_and_later_ones_go_by_the_subject_alone(
    app: Flask, client: FlaskClient, provider: ProviderProcess
):
    page = set_out(client, next="/usage")
    assert_flawless(page)
    assert_flawless(client.get("/sign-in"))
    assert "form-action 'self';" in page.headers["Content-Security-Policy"]
    asked = parse_qs(urlsplit(page.headers["Refresh"]).query)
    assert asked["scope"] == ["openid email"]
    answer = client.get(at_provider(page))
    assert (answer.status_code, answer.location) == (303, "/usage")
    assert "Otto Owner" in client.get("/settings/account").text
    assert audited(app, "linked provider") == [{"issuer": provider.issuer}]
    # The address there is another one now, and belongs to nobody here.
    provider.says(person=GOOD | {"email": "new@elsewhere.example", "email_verified": False})
    again = app.test_client()
    assert go(again, next="//evil.example").location == "/"
    assert "Otto Owner" in again.get("/settings/account").text
    with acting(app):
        assert sql("SELECT count(*) FROM provider_links") == [(1,)]
        assert sql("SELECT count(*) FROM provider_sign_ins") == [(0,)]


def test_staff_come_to_their_own_pages(client: FlaskClient, provider: ProviderProcess):
    provider.says(person={"sub": "subject-2", "email": STAFF.upper(), "email_verified": True})
    assert go(client).location == "/"
    assert client.get("/").location == "/admin"


BELIEVED = "not one that we can believe"
CLOCKS = "The clocks of the provider and this portal differ"
DOWN = "The provider does not answer just now."


@pytest.mark.parametrize(
    ("fault", "sentence", "why"),
    [
        ("nonce", BELIEVED, "wrong nonce"),
        ("audience", BELIEVED, "wrong aud"),
        ("audiences", BELIEVED, "wrong azp"),
        ("issuer", BELIEVED, "wrong iss"),
        ("expired", CLOCKS, "the token's time is over"),
        ("future", CLOCKS, "the token's iat is in the future"),
        ("key", BELIEVED, "BadSignatureError"),
        ("none", BELIEVED, "UnsupportedAlgorithmError"),
        ("client secret", BELIEVED, "UnsupportedAlgorithmError"),
        ("no token", BELIEVED, "its answer has no id token"),
        ("refused code", BELIEVED, "it did not take the code"),
        ("token down", DOWN, "status 502"),
        ("denied", "You did not sign in at the provider", "its error access_denied"),
    ],
)
def test_an_answer_that_is_not_as_it_must_be_opens_nothing(
    app: Flask, client: FlaskClient, provider: ProviderProcess, fault: str, sentence: str, why: str
):
    provider.says(fault=fault)
    assert_not_signed_in(client, go(client), sentence)
    assert audited(app, "sign-in by provider failed") == [{"issuer": provider.issuer, "why": why}]


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [("moved", BELIEVED), ("other document", BELIEVED), ("odd address", BELIEVED), ("broken", DOWN)],
)
def test_nobody_is_sent_to_a_provider_whose_document_does_not_fit(
    app: Flask, client: FlaskClient, provider: ProviderProcess, fault: str, sentence: str
):
    provider.says(fault=fault)
    assert_not_signed_in(client, set_out(client), sentence)
    with acting(app):
        assert sql("SELECT count(*) FROM provider_sign_ins") == [(0,)]


def test_a_provider_that_is_not_there_leaves_the_password(
    app: Flask, client: FlaskClient, provider: ProviderProcess, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(app.config, "SETTINGS", replace(app.config["SETTINGS"], oidc_issuer="http://127.0.0.1:9"))
    assert_not_signed_in(client, set_out(client), DOWN)


@pytest.mark.parametrize(
    ("person", "sentence"),
    [
        ({"email_verified": False}, "does not say that your e-mail address is confirmed"),
        ({"email_verified": "true"}, "does not say that your e-mail address is confirmed"),
        ({"email": "nobody@acme.example"}, "There is no account here"),
        ({"email": "otto@elsewhere.example"}, "There is no account here"),
    ],
)
def test_an_address_links_only_if_it_is_confirmed_ours_and_of_a_domain_that_was_named(
    app: Flask, client: FlaskClient, provider: ProviderProcess, person: dict[str, object], sentence: str
):
    with acting(app), transaction():
        create_user(email="otto@elsewhere.example", name="Otto", password=PASSWORD)
    provider.says(person=GOOD | person)
    assert_not_signed_in(client, go(client), sentence)
    with acting(app):
        assert sql("SELECT count(*) FROM provider_links") == [(0,)]


def test_an_address_that_was_given_to_somebody_else_does_not_give_them_the_account(
    app: Flask, client: FlaskClient, provider: ProviderProcess, runner: FlaskCliRunner
):
    go(client)
    provider.says(person=GOOD | {"sub": "subject-3"})
    other = app.test_client()
    assert_not_signed_in(other, go(other), "belongs to another one at the provider")
    done = runner.invoke(args=["users", "unlink-provider", OWNER, "--reason", "new account there"])
    assert done.exit_code == 0, done.output
    assert go(other).status_code == 303
    assert audited(app, "unlinked provider") == [None]


def test_a_disabled_account_stays_closed(app: Flask, client: FlaskClient, provider: ProviderProcess):
    with acting(app), transaction():
        user = user_by_email(OWNER)
        assert user is not None
        user.disabled_at = clock.now()
    assert_not_signed_in(client, go(client), "This account is switched off here.")


def test_the_provider_stands_in_for_the_password_and_not_for_the_second_factor(
    app: Flask, client: FlaskClient, provider: ProviderProcess
):
    secret, now = pyotp.random_base32(), clock.now()
    with acting(app), transaction() as session:
        user = user_by_email(OWNER)
        assert user is not None
        sealed = seal(secret, keys=app.config["SETTINGS"].secret_keys, purpose=b"second factors")
        session.add(SecondFactor(user_id=user.id, sealed_secret=sealed, created_at=now, confirmed_at=now))
    answer = go(client, next="/usage")
    assert (answer.status_code, answer.location) == (303, "/sign-in/code?next=/usage")
    assert client.get_cookie("portal_session") is None
    assert len(audited(app, "linked provider")) == 1
    code = pyotp.TOTP(secret).at(clock.now())
    assert post(client, "/sign-in/code", page="/sign-in/code", code=code, next="/usage").location == "/usage"


LOST = "not begun in this browser, took too long, or was used already"


def test_an_answer_counts_once_in_the_browser_that_asked_and_for_ten_minutes(
    app: Flask, client: FlaskClient, provider: ProviderProcess, monkeypatch: pytest.MonkeyPatch
):
    address = at_provider(set_out(client))
    stranger = app.test_client()
    assert_not_signed_in(stranger, stranger.get(address), LOST)
    cookie = client.get_cookie("portal_session_provider")
    assert cookie is not None
    assert client.get(address).status_code == 303
    stranger.set_cookie("portal_session_provider", cookie.value)
    assert_not_signed_in(stranger, stranger.get(address), LOST)
    late = at_provider(set_out(stranger))
    then = clock.now() + timedelta(minutes=10)
    monkeypatch.setattr(clock, "now", lambda: then)
    assert_not_signed_in(stranger, stranger.get(late), LOST)
    # Anybody can open that address, so none of this is in the audit log.
    assert audited(app, "sign-in by provider failed") == []


def test_beginning_again_and_again_is_held_up(
    app: Flask, client: FlaskClient, provider: ProviderProcess, monkeypatch: pytest.MonkeyPatch
):
    stopped = clock.now()
    monkeypatch.setattr(clock, "now", lambda: stopped)
    monkeypatch.setattr(attempts, "PROVIDER", attempts.Limit(2, timedelta(minutes=1)))
    assert [set_out(client).status_code for _ in range(3)] == [200, 200, 429]


def test_without_a_provider_there_is_no_button_and_no_page(client: FlaskClient, clean_database: None):
    assert "sign-in/provider" not in client.get("/sign-in").text
    assert set_out(client).status_code == 404
    assert client.get(BACK).status_code == 422


def test_the_form_needs_its_token(client: FlaskClient, provider: ProviderProcess):
    assert client.post("/sign-in/provider").status_code == 400
