"""One's own account: a forgotten password, a new one, another address, and where one is signed in."""

import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from portal.infra import clock, outbox
from portal.infra.db import transaction
from portal.organizations.people import add_member, create_user
from tests.factories import acting, make_organization, sql
from tests.mailing.conftest import PostOffice
from tests.mailing.conftest import post as post_office
from tests.payments.conftest import work
from tests.web.conftest import PASSWORD, assert_flawless, post, sign_in

OWNER, NEW = "owner@acme.example", "seven unrelated words"
LINK = re.compile(r"http://127\.0\.0\.1:5080(/[a-z-]+\?token=\S+)")
__all__ = ["post_office"]


@pytest.fixture
def world(app: Flask, clean_database: None) -> None:
    """People are enough here: nobody looks at an invoice."""
    with acting(app):
        acme = make_organization("acme")
        with transaction():
            for role in ("owner", "developer"):
                add_member(create_user(email=f"{role}@acme.example", name=role, password=PASSWORD), acme, role)
            create_user(email="staff@example.com", name="Staff", password=PASSWORD, staff_role="support")


@pytest.fixture
def mail(world: None, post_office: PostOffice) -> PostOffice:
    """The mail server, in a portal whose people are there."""
    return post_office


def deliver(app: Flask) -> None:
    with acting(app):
        outbox.drain()


def link_in(office: PostOffice) -> str:
    """The link of the last mail that has one."""
    links = [LINK.search(mail.get_body(("plain",)).get_content()) for mail in office.mails]
    return [link[1] for link in links if link][-1]


def ask(app: Flask, browser: FlaskClient, email: str = OWNER):
    answer = post(browser, "/forgot-password", page="/forgot-password", email=email)
    deliver(app)
    return answer


def test_a_forgotten_password_is_replaced_by_a_link_that_works_once_and_ends_every_session(
    app: Flask, client: FlaskClient, owner: FlaskClient, mail: PostOffice
):
    answer = ask(app, client)
    assert_flawless(answer)
    assert mail.subjects == ["Example Cloud, Inc.: Set a new password"]
    link = link_in(mail)
    assert link.split("=")[1].encode() not in sql_one(app, "SELECT token_sha256 FROM account_letters")
    assert_flawless(client.get(link))
    assert client.get(link).status_code == 200
    done = post(client, "/reset-password", page=link, token=link.split("=")[1], password=NEW)
    assert (done.status_code, done.location) == (303, "/sign-in")
    assert owner.get("/").status_code == 303
    assert client.get(link).status_code == 410
    assert sign_in(client, OWNER).status_code == 422
    assert sign_in(client, OWNER, NEW).status_code == 303
    deliver(app)
    assert mail.subjects[1:] == ["Example Cloud, Inc.: Your password was changed"]


def sql_one(app: Flask, statement: str):
    with acting(app):
        return sql(statement)[0][0]


def test_an_unknown_address_gets_the_same_answer_leaves_the_same_rows_and_no_mail(
    app: Flask, client: FlaskClient, mail: PostOffice
):
    known, unknown = ask(app, client), ask(app, client, "nobody@acme.example")
    assert known.status_code == unknown.status_code == 200
    assert known.text.replace(OWNER, "") == unknown.text.replace("nobody@acme.example", "")
    assert len(mail.taken) == 1
    with acting(app):
        assert sql("SELECT user_id IS NULL, address FROM account_letters ORDER BY id") == [(False, OWNER), (True, None)]


def test_mails_to_one_account_are_limited_with_the_time_to_wait(
    app: Flask, client: FlaskClient, mail: PostOffice, monkeypatch: pytest.MonkeyPatch
):
    stopped = clock.now()
    monkeypatch.setattr(clock, "now", lambda: stopped)
    answers = [ask(app, client) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 2
    assert "Try again in 20 minutes." in answers[-1].text
    assert len(mail.taken) == 3


def test_a_mail_that_the_server_takes_later_has_a_link_of_its_own_and_one_it_refuses_is_written_down(
    app: Flask, client: FlaskClient, mail: PostOffice
):
    mail.answers["DATA"] = "451 later"
    ask(app, client)
    first = sql_one(app, "SELECT token_sha256 FROM account_letters")
    mail.answers.clear()
    with acting(app):
        work()
    assert sql_one(app, "SELECT token_sha256 FROM account_letters") != first
    assert client.get(link_in(mail)).status_code == 200
    mail.answers["DATA"] = "550 never"
    ask(app, client)
    assert "550" in sql_one(app, "SELECT last_error FROM account_letters WHERE sent_at IS NULL")
    with acting(app):
        assert sql("SELECT 1 FROM outbox WHERE finished_at IS NULL") == []


@pytest.mark.parametrize(
    "spoil",
    ["UPDATE account_letters SET expires_at = now()", "UPDATE users SET disabled_at = now()", "SELECT 1"],
)
def test_a_link_that_is_too_old_of_somebody_disabled_or_guessed_does_nothing(
    app: Flask, client: FlaskClient, mail: PostOffice, spoil: str
):
    ask(app, client)
    token = "x" * 43 if spoil == "SELECT 1" else link_in(mail).split("=")[1]
    with acting(app):
        sql(spoil)
    assert client.get(f"/reset-password?token={token}").status_code == 410
    answer = post(client, "/reset-password", page="/sign-in", token=token, password=NEW)
    assert answer.status_code == 410
    assert "This link was used already, or is too old." in answer.text
    assert_flawless(answer)


def test_the_link_names_the_portals_own_address_whatever_the_request_says(
    app: Flask, client: FlaskClient, mail: PostOffice
):
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', client.get("/forgot-password").text)[1]
    client.post("/forgot-password", data={"csrf_token": token, "email": OWNER}, headers={"X-Forwarded-Host": "evil"})
    deliver(app)
    assert link_in(mail).startswith("/reset-password?token=")
    assert "evil" not in mail.mails[0].as_string()


def test_passwords_that_are_not_good_enough_are_refused_at_their_field_and_use_no_tries_up(owner: FlaskClient):
    page = "/settings/account/password"
    for password, says in (
        ("short", "at least 12 characters"),
        ("password1234", "easy to guess"),
        ("qwertyuiop12", "easy to guess"),
        (OWNER, "easy to guess"),
        ("x" * 257, "at most 256 characters"),
        (PASSWORD, "the password that you have now"),
    ):
        answer = post(owner, page, page=page, current=PASSWORD, password=password)
        assert answer.status_code == 422, password
        assert says in answer.text
        assert_flawless(answer)


def test_a_new_password_ends_the_other_sessions_and_keeps_this_one(
    app: Flask, as_person: Callable[[str], FlaskClient], mail: PostOffice
):
    here, there = as_person(OWNER), as_person(OWNER)
    page = "/settings/account/password"
    assert_flawless(here.get(page))
    assert post(here, page, page=page, current=PASSWORD, password=NEW).location == "/settings/account"
    assert here.get("/settings/account").status_code == 200
    assert there.get("/settings/account").status_code == 303
    deliver(app)
    assert mail.subjects == ["Example Cloud, Inc.: Your password was changed"]


def test_a_stolen_session_is_no_way_to_guess_the_password(owner: FlaskClient):
    page = "/settings/account/password"
    answers = [post(owner, page, page=page, current=f"guess {number}", password=NEW) for number in range(7)]
    assert [answer.status_code for answer in answers] == [422] * 5 + [429] * 2


def test_an_address_changes_when_the_new_one_is_confirmed_and_the_old_one_is_told(
    app: Flask, client: FlaskClient, owner: FlaskClient, mail: PostOffice
):
    page = "/settings/account/email"
    assert_flawless(owner.get(page))
    assert post(owner, page, page=page, current="wrong", email="pia@acme.example").status_code == 422
    assert post(owner, page, page=page, current=PASSWORD, email="pia@acme.example").status_code == 303
    deliver(app)
    assert [recipients for recipients, _ in mail.taken] == [["pia@acme.example"], [OWNER]]
    assert "pia@acme.example" in mail.mails[1].get_body(("plain",)).get_content()
    assert OWNER in owner.get("/settings/account").text
    link = link_in(mail)
    assert_flawless(client.get(link))
    assert post(client, "/confirm-email", page=link, token=link.split("=")[1]).status_code == 303
    assert sign_in(client, OWNER).status_code == 422
    assert sign_in(client, "pia@acme.example").status_code == 303
    assert app.test_client().get(link).status_code == 410
    deliver(app)
    assert (mail.taken[-1][0], mail.subjects[-1]) == ([OWNER], "Example Cloud, Inc.: Your e-mail address was changed")


def test_an_address_that_somebody_has_gets_the_same_answer_and_no_link(
    app: Flask, owner: FlaskClient, mail: PostOffice
):
    page = "/settings/account/email"
    answer = post(owner, page, page=page, current=PASSWORD, email="Developer@acme.example")
    assert (answer.status_code, answer.location) == (303, "/settings/account")
    deliver(app)
    assert [recipients for recipients, _ in mail.taken] == [[OWNER]]


def test_a_changed_password_ends_the_link_to_another_address(app: Flask, owner: FlaskClient, mail: PostOffice):
    email, password = "/settings/account/email", "/settings/account/password"
    post(owner, email, page=email, current=PASSWORD, email="thief@acme.example")
    deliver(app)
    post(owner, password, page=password, current=PASSWORD, password=NEW)
    assert owner.get(link_in(mail)).status_code == 410


def test_sessions_are_listed_and_ended_one_by_one_or_all_but_this(
    app: Flask, world: None, as_person: Callable[[str], FlaskClient]
):
    here, there, elsewhere = as_person(OWNER), as_person(OWNER), as_person(OWNER)
    page = here.get("/settings/account")
    assert_flawless(page)
    ends = re.findall(r"/settings/account/sessions/[0-9a-f-]{36}/end", page.text)
    assert len(ends) == 2
    assert here.get("/settings/account/sessions.csv").text.count("\n") == 4
    assert post(as_person("developer@acme.example"), ends[0], page="/settings/account").status_code == 404
    assert post(here, ends[0], page="/settings/account").status_code == 303
    assert [browser.get("/settings/account").status_code for browser in (there, elsewhere)].count(303) == 1
    assert post(here, ends[0], page="/settings/account").status_code == 404
    post(here, "/settings/account/sessions/end-others", page="/settings/account")
    assert [b.get("/settings/account").status_code for b in (here, there, elsewhere)] == [200, 303, 303]


def test_a_session_is_seen_to_the_minute_and_staff_have_the_page_too(
    app: Flask, as_person: Callable[[str], FlaskClient]
):
    staff = as_person("staff@example.com")
    with acting(app):
        sql("UPDATE sessions SET last_seen_at = last_seen_at - interval '1 hour'")
    assert staff.get("/settings/account").status_code == 200
    with acting(app):
        assert sql("SELECT now() - last_seen_at < interval '1 minute' FROM sessions") == [(True,)]


def test_everybody_downloads_their_own_data_and_nobody_elses(app: Flask, owner: FlaskClient):
    answer = post(owner, "/settings/account/data.json", page="/settings/account")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    assert [each["email"] for each in answer.get_json()["account"]] == [OWNER]
    assert "developer@acme.example" not in answer.text
    assert "password_hash" not in answer.text
    with acting(app):
        kept = sql("SELECT actor_id = subject_id::bigint FROM audit_entries WHERE action = 'exported personal data'")
    assert kept == [(True,)]
    assert owner.post("/settings/account/data.json").status_code == 400
