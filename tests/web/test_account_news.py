"""Mails that something of an account or an organization's keys was added or removed: to the right people, once."""

from typing import Any

from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner

from portal.infra.db import transaction
from portal.organizations.people import create_user
from tests.factories import acting, sql
from tests.mailing.conftest import PostOffice
from tests.web.conftest import PASSWORD, post
from tests.web.soft_passkey import SoftPasskey
from tests.web.test_account_pages import deliver, mail, post_office, world
from tests.web.test_passkeys import HOST, ORIGIN, PAGE, add, switch_on

__all__ = ["mail", "post_office", "world"]
OWNER, DEVELOPER = "owner@acme.example", "developer@acme.example"
KEYS = "/settings/api-keys"


def told(office: PostOffice) -> list[tuple[str, str]]:
    """Of each mail that arrived: to whom, and about what."""
    return [(mail["To"], mail["Subject"].partition(": ")[2]) for mail in office.mails]


def words(mail: Any) -> str:
    return " ".join(mail.get_body(("plain",)).get_content().split())


def test_a_passkey_that_comes_or_goes_is_said_to_its_person_once(
    app: Flask,
    owner: FlaskClient,
    mail: PostOffice,  # noqa: F811
):
    switch_on(app, OWNER)
    assert add(owner, SoftPasskey(ORIGIN, HOST)).status_code == 303
    deliver(app)
    deliver(app)
    assert told(mail) == [(OWNER, "A passkey was added to your account")]
    assert "The passkey “Phone” was added" in words(mail.mails[0])
    with acting(app):
        [(public_id,)] = sql("SELECT public_id FROM passkeys")
    post(owner, f"{PAGE}/{public_id}/remove", page=PAGE)
    deliver(app)
    assert told(mail)[1:] == [(OWNER, "A passkey was removed from your account")]


def test_a_passkey_that_is_not_taken_is_not_said(app: Flask, owner: FlaskClient, mail: PostOffice):  # noqa: F811
    switch_on(app, OWNER)
    device = SoftPasskey(ORIGIN, HOST)
    device.origin = "https://evil.example"
    assert add(owner, device).status_code == 422
    deliver(app)
    assert told(mail) == []


def test_everybody_is_told_in_their_own_language(app: Flask, as_person: Any, mail: PostOffice):  # noqa: F811
    developer = as_person(DEVELOPER)
    post(developer, "/language", page="/settings/account", language="de")
    post(developer, KEYS, page=KEYS, name="collector", scopes="ingest", days="30")
    deliver(app)
    assert sorted(told(mail)) == [(DEVELOPER, "Ein API-Schlüssel wurde erstellt"), (OWNER, "An API key was made")]
    [german] = [each for each in mail.mails if each["To"] == DEVELOPER]
    assert "Wenn niemand von Ihnen ihn erstellt hat" in words(german)
    assert '<html lang="de">' in german.get_body(("html",)).get_content()


def test_keys_are_said_to_the_owners_and_to_who_made_them_and_their_text_is_in_no_mail(
    app: Flask,
    as_person: Any,
    mail: PostOffice,  # noqa: F811
):
    developer = as_person(DEVELOPER)
    made = post(developer, KEYS, page=KEYS, name="collector", scopes="ingest", days="30")
    deliver(app)
    assert sorted(told(mail)) == [(DEVELOPER, "An API key was made"), (OWNER, "An API key was made")]
    assert all("The API key “collector” of Acme was made" in words(each) for each in mail.mails)
    text = made.text.partition('id="key">')[2].partition("<")[0]
    assert text.startswith("blk_")
    assert all(text not in words(each) for each in mail.mails)
    with acting(app):
        [(public_id,)] = sql("SELECT public_id FROM api_keys")
        sql("UPDATE users SET disabled_at = now() WHERE email = :email", email=OWNER)
    for _ in range(2):
        post(developer, f"{KEYS}/{public_id}/revoke", page=KEYS)
    deliver(app)
    assert told(mail)[2:] == [(DEVELOPER, "An API key was revoked")]


def test_a_key_of_the_platform_is_said_to_admins(app: Flask, runner: FlaskCliRunner, mail: PostOffice):  # noqa: F811
    with acting(app), transaction():
        create_user(email="admin@example.com", name="Admin", password=PASSWORD, staff_role="admin")
    assert runner.invoke(args=["keys", "create", "provisioning"]).exit_code == 0
    deliver(app)
    assert told(mail) == [("admin@example.com", "An API key was made")]
    assert "“provisioning” of the platform" in words(mail.mails[0])
