"""Getting in and out, and what a person chooses for themselves."""

import re
import sys
from collections.abc import Callable

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from portal.infra import clock
from portal.organizations import sessions
from tests.factories import acting, sql
from tests.web.conftest import World, assert_flawless, post, sign_in

SESSION = "portal_session="
# What differs between any two answers: form tokens.
STAMPS = re.compile(r'value="[^"]{60,}"')


def test_a_customer_lands_on_the_overview_with_a_guarded_cookie(client: FlaskClient, world: World):
    answer = sign_in(client, "owner@acme.example")
    cookie = next(each for each in answer.headers.getlist("Set-Cookie") if each.startswith(SESSION))
    assert (answer.status_code, answer.location) == (303, "/")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/" in cookie
    assert client.get("/").status_code == 200


def test_staff_land_on_their_own_start_page(client: FlaskClient, world: World):
    sign_in(client, "staff@example.com")
    answer = client.get("/")
    assert (answer.status_code, answer.location) == (303, "/admin")


@pytest.mark.parametrize(("email", "password"), [("owner@acme.example", "wrong"), ("nobody@acme.example", "wrong")])
def test_a_wrong_password_and_an_unknown_address_get_the_same_sentence(
    client: FlaskClient, world: World, email: str, password: str
):
    answer = sign_in(client, email, password)
    assert answer.status_code == 422
    assert "This e-mail address and password do not belong together." in answer.text
    assert f'value="{email}"' in answer.text
    assert password not in answer.text
    assert answer.text.count("<title>Error: ") == 1
    assert_flawless(answer)


def test_guessing_ends_with_the_time_to_wait_whether_or_not_there_is_such_an_account(
    app: Flask, world: World, monkeypatch: pytest.MonkeyPatch
):
    """Known and unknown addresses side by side: the same statuses, headers and pages, and the right password too."""
    stop_the_clock(monkeypatch)
    answers = {}
    for email in ("owner@acme.example", "nobody@acme.example"):
        browser = app.test_client()
        tries = [sign_in(browser, email, f"guess number {number}") for number in range(7)]
        tries.append(sign_in(browser, email))
        answers[email] = tries
        assert browser.get_cookie("portal_session") is None
    known, unknown = answers.values()
    statuses = [answer.status_code for answer in known]
    sys.stdout.write(f"\nenumeration: {len(known)} tries each at a known and an unknown account: {statuses}\n")
    assert statuses == [422] * 5 + [429] * 3
    assert statuses == [answer.status_code for answer in unknown]
    assert "Try again in 5 minutes." in known[-1].text
    assert known[-1].headers["Retry-After"] == unknown[-1].headers["Retry-After"] == "300"
    bodies = [[STAMPS.sub("", answer.text).replace(email, "") for answer in tries] for email, tries in answers.items()]
    assert bodies[0] == bodies[1]
    assert_flawless(known[-1])


def stop_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """No try is regained because this machine is slow."""
    stopped = clock.now()
    monkeypatch.setattr(clock, "now", lambda: stopped)


def test_one_hash_is_computed_whoever_tries_and_none_once_blocked(
    app: Flask, client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch
):
    stop_the_clock(monkeypatch)
    computed = []
    real = sessions.password_matches
    monkeypatch.setattr(sessions, "password_matches", lambda *given: computed.append(given) or real(*given))
    for email in ("owner@acme.example", "nobody@acme.example"):
        computed.clear()
        for _ in range(8):
            sign_in(client, email, "wrong")
        assert len(computed) == 5


def test_nobody_signs_in_while_tries_cannot_be_counted(
    client: FlaskClient, world: World, owner_connection: psycopg.Connection
):
    owner_connection.execute("ALTER TABLE attempt_counters RENAME TO attempt_counters_away")
    try:
        assert sign_in(client, "owner@acme.example").status_code == 503
        assert client.get_cookie("portal_session") is None
    finally:
        owner_connection.execute("ALTER TABLE attempt_counters_away RENAME TO attempt_counters")
    assert sign_in(client, "owner@acme.example").status_code == 303


def test_refusals_are_audited_with_the_account_and_the_address(client: FlaskClient, world: World, app: Flask):
    for _ in range(7):
        sign_in(client, "owner@acme.example", "wrong")
    with acting(app):
        found = sql(
            "SELECT a.action, u.email, a.address, count(*) FROM audit_entries a JOIN users u ON u.id = a.subject_id"
            " WHERE a.action LIKE 'sign-in %' GROUP BY 1, 2, 3 ORDER BY 1"
        )
    assert found == [
        ("sign-in blocked", "owner@acme.example", "127.0.0.1", 1),
        ("sign-in failed", "owner@acme.example", "127.0.0.1", 5),
    ]


def test_empty_fields_are_named_and_linked(client: FlaskClient, world: World):
    answer = sign_in(client, "", "")
    assert answer.status_code == 422
    assert '<a href="#email">Enter your e-mail address.</a>' in answer.text
    assert 'aria-describedby="password-error"' in answer.text
    assert_flawless(answer)


@pytest.mark.parametrize(
    ("target", "goes_to"),
    [
        ("/usage?month=2026-10", "/usage?month=2026-10"),
        ("", "/"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("/\t/evil.example", "/"),
    ],
)
def test_signing_in_never_leads_to_another_site(client: FlaskClient, world: World, target: str, goes_to: str):
    assert sign_in(client, "owner@acme.example", next=target).location == goes_to


def test_a_page_that_needs_signing_in_comes_back_afterwards(client: FlaskClient, world: World):
    answer = client.get("/usage?month=2026-10")
    assert (answer.status_code, answer.location) == (303, "/sign-in?next=/usage?month%3D2026-10")


def test_a_copy_of_the_cookie_is_worth_nothing_after_signing_out(owner: FlaskClient):
    copy = owner.get_cookie("portal_session")
    assert copy is not None
    assert post(owner, "/sign-out", page="/").location == "/sign-in"
    owner.set_cookie("portal_session", copy.value)
    assert owner.get("/").status_code == 303


def test_the_theme_is_remembered_and_an_unknown_one_is_not(owner: FlaskClient):
    assert post(owner, "/theme", page="/", theme="dark", next="/usage").location == "/usage"
    assert post(owner, "/theme", page="/", theme="pink").location == "/"
    assert 'data-bs-theme="dark"' in owner.get("/").text


def test_nobody_looks_at_an_organization_that_they_do_not_belong_to(owner: FlaskClient):
    assert post(owner, "/organization", page="/", slug="rival").status_code == 404
    assert post(owner, "/organization", page="/", slug="acme").location == "/"


def test_a_form_without_its_token_is_refused(client: FlaskClient, world: World):
    answer = client.post("/sign-in", data={"email": "owner@acme.example", "password": "x"})
    assert answer.status_code == 400
    assert_flawless(answer)


def test_a_developer_sees_usage_and_no_invoices(as_person: Callable[[str], FlaskClient], world: World):
    developer = as_person("developer@acme.example")
    overview = developer.get("/")
    assert overview.status_code == developer.get("/usage").status_code == 200
    assert "/invoices" not in overview.text
    assert developer.get("/invoices").status_code == developer.get(f"/invoices/{world.final}").status_code == 404


def test_whoever_was_away_for_long_reads_why_and_goes_on_where_they_were(app, owner, world):
    assert owner.get("/invoices").status_code == 200
    with acting(app):
        sql("UPDATE sessions SET last_seen_at = last_seen_at - interval '169 hours'")
    away = owner.get("/invoices?before=2026-01-01.1")
    assert away.status_code == 303
    page = owner.get(away.location)
    assert "Your session has ended." in page.text
    assert "/invoices?before=2026-01-01.1" in page.text
    assert "Your session has ended." not in app.test_client().get("/sign-in").text
