"""What the portal holds about one person: all of it, nothing of others, and no secrets."""

import json

import pytest
from flask import Flask

from portal.infra.db import transaction
from portal.mailing.models import Mail, MailKind
from portal.organizations.people import add_member, create_user
from portal.organizations.sessions import sign_in
from tests.factories import NOW, make_organization, sql

pytestmark = pytest.mark.usefixtures("books")
PASSWORD = "correct horse battery"


def person(email: str, name: str) -> None:
    organization = make_organization(name.lower())
    with transaction():
        add_member(create_user(email=email, name=name, password=PASSWORD), organization, "owner")
    with transaction():
        sign_in(email, PASSWORD, now=NOW, days=14, address="192.0.2.7", user_agent=f"browser of {name}")


def test_a_person_gets_their_own_data_and_no_secret(app: Flask):
    person("pia@example.com", "Pia")
    person("ned@example.com", "Ned")
    of = sql("SELECT id FROM organizations LIMIT 1")[0][0]
    with transaction() as session:
        for to in ("pia@example.com", "ned@example.com"):
            session.add(
                Mail(
                    organization_id=of,
                    kind=MailKind.WEBHOOK,
                    dedupe_key=to,
                    subject=f"For {to}",
                    body_text="text",
                    body_html="html",
                    recipients=[to],
                )
            )
    done = app.test_cli_runner().invoke(args=["users", "export", "PIA@example.com"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert [each["email"] for each in found["account"]] == ["pia@example.com"]
    assert [(each["slug"], each["role"]) for each in found["memberships"]] == [("pia", "owner")]
    assert [(each["address"], each["user_agent"]) for each in found["sessions"]] == [("192.0.2.7", "browser of Pia")]
    assert [each["subject"] for each in found["mails"]] == ["For pia@example.com"]
    assert found["about_the_account"]
    assert "ned@example.com" not in done.output
    assert "browser of Ned" not in done.output
    assert not [word for word in ("password_hash", "token_sha256", "public_key", "$argon2") if word in done.output]
    assert sql("SELECT count(*) FROM audit_entries WHERE action = 'exported personal data'")[0][0] == 1


def test_somebody_unknown_is_refused_in_a_sentence(app: Flask):
    refused = app.test_cli_runner().invoke(args=["users", "export", "no@example.com"])
    assert (refused.exit_code, refused.output) == (1, "Error: There is no user no@example.com.\n")
