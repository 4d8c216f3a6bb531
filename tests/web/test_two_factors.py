"""Two factors: setting them up, signing in with a code, recovery codes, and switching them off."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pyotp
import pytest
from flask import Flask
from flask.testing import FlaskClient

from portal.infra import clock
from tests.factories import acting, sql
from tests.mailing.conftest import PostOffice
from tests.web.conftest import PASSWORD, assert_flawless, post, sign_in
from tests.web.test_account_pages import NEW, deliver, link_in, mail, post_office, world

OWNER, STAFF = "owner@acme.example", "staff@example.com"
PAGE = "/settings/account/two-factors"
CODE = re.compile(r"<li><code>([a-z2-7-]{19})</code>")
KEY = re.compile(r"Key: <code>([A-Z2-7 ]+)</code>")
__all__ = ["mail", "post_office", "world"]


class Wrist:
    """A watch that this test sets, so that no code is of another step because the machine is slow."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def later(self, **by: int) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Wrist:
    found = Wrist(clock.now())
    monkeypatch.setattr(clock, "now", lambda: found.now)
    return found


def set_up(browser: FlaskClient, watch: Wrist) -> tuple[pyotp.TOTP, list[str]]:
    """The app that makes codes, and the recovery codes."""
    assert post(browser, PAGE, page=PAGE, current=PASSWORD).location == f"{PAGE}/scan"
    scan = browser.get(f"{PAGE}/scan")
    assert_flawless(scan)
    key = KEY.search(scan.text)
    assert key is not None
    app = pyotp.TOTP(key[1].replace(" ", ""))
    done = post(browser, f"{PAGE}/scan", page=f"{PAGE}/scan", code=app.at(watch.now))
    assert done.status_code == 200
    assert_flawless(done)
    watch.later(seconds=30)
    return app, CODE.findall(done.text)


def give(browser: FlaskClient, code: str, **more: str):
    return post(browser, "/sign-in/code", page="/sign-in/code", code=code, **more)


def test_setting_up_draws_the_key_says_it_by_mail_and_shows_ten_codes_once(
    app: Flask, owner: FlaskClient, mail: PostOffice, watch: Wrist
):
    assert_flawless(owner.get(PAGE))
    totp, codes = set_up(owner, watch)
    assert len(set(codes)) == 10
    page = owner.get(PAGE)
    assert_flawless(page)
    assert "10 recovery codes are left" in page.text
    assert not CODE.search(page.text)
    assert owner.get(f"{PAGE}/scan").location == PAGE
    with acting(app):
        stored = sql("SELECT sealed_secret FROM second_factors") + sql("SELECT code_sha256 FROM recovery_codes")
    assert len(stored) == 11
    assert all(totp.secret.encode() not in value for (value,) in stored)
    deliver(app)
    assert mail.subjects == ["Example Cloud, Inc.: Signing in needs a code now"]


def test_a_wrong_password_or_first_code_changes_nothing(owner: FlaskClient, watch: Wrist):
    assert post(owner, PAGE, page=PAGE, current="wrong").status_code == 422
    assert owner.get(f"{PAGE}/scan").status_code == 303
    post(owner, PAGE, page=PAGE, current=PASSWORD)
    wrong = post(owner, f"{PAGE}/scan", page=f"{PAGE}/scan", code="000 000")
    assert wrong.status_code == 422
    assert_flawless(wrong)
    assert "Two factors: off" in owner.get("/settings/account").text


def test_the_codes_are_downloaded_as_text_and_nobody_elses_are(
    as_person: Callable[[str], FlaskClient], owner: FlaskClient, watch: Wrist
):
    _, codes = set_up(owner, watch)
    _, foreign = set_up(as_person(STAFF), watch)
    file = post(owner, f"{PAGE}/recovery-codes.txt", page=PAGE, code=[codes[0], "=cmd", foreign[0]])
    assert file.headers["Content-Type"].startswith("text/plain")
    assert "recovery-codes.txt" in file.headers["Content-Disposition"]
    assert file.text.split("\n\n")[1] == codes[0] + "\n"


def test_the_password_alone_is_no_session(app: Flask, client: FlaskClient, owner: FlaskClient, watch: Wrist):
    totp, _ = set_up(owner, watch)
    answer = sign_in(client, OWNER, next="/usage")
    assert (answer.status_code, answer.location) == (303, "/sign-in/code?next=/usage")
    assert client.get_cookie("portal_session") is None
    half = client.get_cookie("portal_session_half")
    assert half is not None
    assert half.http_only
    assert client.get("/settings/account").status_code == 303
    client.set_cookie("portal_session", half.value)
    assert client.get("/settings/account").status_code == 303
    assert_flawless(client.get("/sign-in/code"))
    done = give(client, totp.at(watch.now), next="//evil.example")
    assert (done.status_code, done.location) == (303, "/")
    assert client.get("/settings/account").status_code == 200
    with acting(app):
        assert sql("SELECT count(*) FROM half_sign_ins") == [(0,)]


def test_a_code_is_taken_once_and_one_step_of_drift_is_forgiven(app: Flask, owner: FlaskClient, watch: Wrist):
    totp, _ = set_up(owner, watch)
    statuses = []
    for seconds in (0, 0, -30, 30, 30, 0, 60):
        browser = app.test_client()
        sign_in(browser, OWNER)
        statuses.append(give(browser, totp.at(watch.now + timedelta(seconds=seconds))).status_code)
    assert statuses == [303, 422, 422, 303, 422, 422, 422]


def test_a_recovery_code_signs_in_once(app: Flask, owner: FlaskClient, watch: Wrist):
    _, codes = set_up(owner, watch)
    answers = []
    for typed in (codes[3].upper().replace("-", " "), codes[3], "aaaa-bbbb-cccc-dddd"):
        browser = app.test_client()
        sign_in(browser, OWNER)
        answers.append(give(browser, typed).status_code)
    assert answers == [303, 422, 422]
    assert "9 recovery codes are left" in owner.get(PAGE).text


def test_guessing_codes_ends_and_a_right_password_gives_no_tries_back(app: Flask, owner: FlaskClient, watch: Wrist):
    totp, _ = set_up(owner, watch)
    statuses = []
    for _ in range(7):
        browser = app.test_client()
        sign_in(browser, OWNER)
        statuses.append(give(browser, "000000").status_code)
    assert statuses == [422] * 5 + [429] * 2
    assert give(browser, totp.at(watch.now)).status_code == 429
    with acting(app):
        assert sql("SELECT count(*) FROM audit_entries WHERE action = 'code blocked'") == [(1,)]
    watch.later(minutes=5)
    assert give(browser, totp.at(watch.now)).status_code == 303


@pytest.mark.parametrize("ends", ["time", "password", "disabled"])
def test_the_second_step_ends(
    app: Flask, client: FlaskClient, owner: FlaskClient, mail: PostOffice, watch: Wrist, ends: str
):
    totp, _ = set_up(owner, watch)
    sign_in(client, OWNER)
    page = client.get("/sign-in/code").text
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert token is not None
    if ends == "time":
        watch.later(minutes=10)
    elif ends == "password":
        account = "/settings/account/password"
        post(owner, account, page=account, current=PASSWORD, password=NEW)
    else:
        with acting(app):
            sql("UPDATE users SET disabled_at = now() WHERE email = 'owner@acme.example'")
    answer = client.post("/sign-in/code", data={"csrf_token": token[1], "code": totp.at(watch.now)})
    assert answer.location.startswith("/sign-in?next=")
    assert client.get_cookie("portal_session") is None


def test_new_recovery_codes_need_a_code_and_end_the_old_ones(
    app: Flask, owner: FlaskClient, mail: PostOffice, watch: Wrist
):
    totp, old = set_up(owner, watch)
    page = f"{PAGE}/recovery-codes"
    assert_flawless(owner.get(page))
    assert post(owner, page, page=page, code="000000").status_code == 422
    new = CODE.findall(post(owner, page, page=page, code=totp.at(watch.now)).text)
    assert len(new) == 10
    assert not set(new) & set(old)
    browser = app.test_client()
    sign_in(browser, OWNER)
    assert [give(browser, code).status_code for code in (old[0], new[0])] == [422, 303]
    deliver(app)
    assert mail.subjects[-1] == "Example Cloud, Inc.: You have new recovery codes"


def test_switching_off_needs_the_password_and_a_code(
    app: Flask, client: FlaskClient, owner: FlaskClient, mail: PostOffice, watch: Wrist
):
    totp, _ = set_up(owner, watch)
    page = f"{PAGE}/off"
    assert_flawless(owner.get(page))
    code = totp.at(watch.now)
    for given in ({"current": "wrong", "code": code}, {"current": PASSWORD, "code": "000000"}, {"current": PASSWORD}):
        refused = post(owner, page, page=page, **given)
        assert refused.status_code == 422
        assert_flawless(refused)
    assert post(owner, page, page=page, current=PASSWORD, code=code).location == "/settings/account"
    assert sign_in(client, OWNER).location == "/"
    with acting(app):
        assert sql("SELECT (SELECT count(*) FROM second_factors), (SELECT count(*) FROM recovery_codes)") == [(0, 0)]
    deliver(app)
    assert mail.subjects[-1] == "Example Cloud, Inc.: Signing in needs no code any more"


def test_it_is_not_set_up_over_one_that_is_on(owner: FlaskClient, watch: Wrist):
    set_up(owner, watch)
    answer = post(owner, PAGE, page=f"{PAGE}/off", current=PASSWORD)
    assert answer.status_code == 422
    assert "There is a second factor already." in answer.text


def test_a_new_password_by_mail_does_not_do_away_with_the_code(
    app: Flask, client: FlaskClient, owner: FlaskClient, mail: PostOffice, watch: Wrist
):
    set_up(owner, watch)
    post(client, "/forgot-password", page="/forgot-password", email=OWNER)
    deliver(app)
    link = link_in(mail)
    assert post(client, "/reset-password", page=link, token=link.split("=")[1], password=NEW).status_code == 303
    assert sign_in(client, OWNER, NEW).location == "/sign-in/code?next=/"


def test_an_operator_resets_it_with_a_reason(app: Flask, client: FlaskClient, owner: FlaskClient, watch: Wrist):
    runner = app.test_cli_runner()
    refused = runner.invoke(args=["users", "reset-two-factors", OWNER, "--reason", "lost"])
    assert (refused.exit_code, refused.output) == (1, "Error: This person has no second factor.\n")
    set_up(owner, watch)
    assert runner.invoke(args=["users", "reset-two-factors", OWNER, "--reason", " "]).exit_code == 1
    assert runner.invoke(args=["users", "reset-two-factors", "no@acme.example", "--reason", "x"]).exit_code == 1
    assert runner.invoke(args=["users", "reset-two-factors", OWNER, "--reason", "lost both"]).exit_code == 0
    assert sign_in(client, OWNER).location == "/"
    with acting(app):
        found = sql("SELECT reason FROM audit_entries WHERE action = 'reset two factors'")
    assert found == [("lost both",)]


def test_where_the_setting_says_so_staff_see_nothing_before_they_have_it(
    app: Flask, as_person: Callable[[str], FlaskClient], owner: FlaskClient, watch: Wrist, monkeypatch
):
    settings = replace(app.config["SETTINGS"], staff_need_two_factors=True)
    monkeypatch.setitem(app.config, "SETTINGS", settings)
    staff = as_person(STAFF)
    assert [staff.get(page).location for page in ("/admin", "/admin/invoices")] == [PAGE, PAGE]
    assert "Staff need a second factor here." in staff.get(PAGE).text
    assert owner.get("/settings/account").status_code == 200
    set_up(staff, watch)
    assert staff.get("/admin").status_code == 200


def test_with_another_secret_key_the_app_is_wrong_a_fallback_mends_it_and_recovery_codes_stay(
    app: Flask, client: FlaskClient, owner: FlaskClient, watch: Wrist, monkeypatch
):
    totp, codes = set_up(owner, watch)
    before = app.config["SETTINGS"]
    sign_in(client, OWNER)
    monkeypatch.setitem(app.config, "SETTINGS", replace(before, secret_key="another key"))
    assert give(client, totp.at(watch.now)).status_code == 422
    monkeypatch.setitem(
        app.config, "SETTINGS", replace(before, secret_key="another key", secret_key_fallbacks=(before.secret_key,))
    )
    assert give(client, totp.at(watch.now)).status_code == 303
    monkeypatch.setitem(app.config, "SETTINGS", replace(before, secret_key="another key"))
    browser = app.test_client()
    sign_in(browser, OWNER)
    assert give(browser, codes[0]).status_code == 303


def test_another_address_needs_a_code_of_the_last_ten_minutes_and_keeps_what_was_typed(
    app: Flask, owner: FlaskClient, mail: PostOffice, watch: Wrist
):
    totp, _ = set_up(owner, watch)
    page, typed = "/settings/account/email", {"current": PASSWORD, "email": "pia@acme.example"}
    watch.later(minutes=10)
    asked = post(owner, page, page=page, **typed)
    assert asked.status_code == 422
    assert 'value="pia@acme.example"' in asked.text
    assert 'name="confirm"' in asked.text
    assert_flawless(asked)
    for wrong in (PASSWORD, "000000"):
        assert post(owner, page, page=page, **typed, confirm=wrong).status_code == 422
    with acting(app):
        assert sql("SELECT count(*) FROM account_letters WHERE kind = 'confirm_email'") == [(0,)]
    assert post(owner, page, page=page, **typed, confirm=totp.at(watch.now)).status_code == 303
    assert 'name="confirm"' not in owner.get(page).text
