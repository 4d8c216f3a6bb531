"""After a person was erased nothing names them but what the law wants kept; the books and the audit log are whole."""

import re
from uuid import uuid4

import pytest
from flask import Flask

from portal import doctor
from portal.erasing import KEPT, THEIRS
from portal.infra.audit_seals import seal_by_clock
from portal.infra.db import db, transaction
from portal.mailing.models import Mail, MailKind
from portal.organizations.invitations import invite
from portal.organizations.people import add_member, create_user, user_by_email
from portal.organizations.saved_filters import save_filter
from portal.organizations.sessions import SignInRefused, sign_in
from tests.factories import NOW, make_organization, sql

pytestmark = pytest.mark.usefixtures("books")
PASSWORD, EMAIL, NAME = "correct horse battery", "piaxyz@example.com", "Pia Piaxyz"
# Sealed, and kept by law (docs/security.md).
SEALED = {"audit_entries"}
WHERE = "docs/security.md says what that is."


@pytest.fixture
def pia(app: Flask) -> int:
    """Somebody who has left traces in every way, beside another owner."""
    acme, globex = make_organization("acme"), make_organization("globex")
    with transaction() as session:
        for email, name in ((EMAIL, NAME), ("ned@example.com", "Ned")):
            add_member(create_user(email=email, name=name, password=PASSWORD), acme, "owner")
        found = user_by_email(EMAIL)
        assert found is not None
        save_filter(found.id, "admin_invoices.index", "mine", "state=draft")
        for state in ("recipients", "delivered"):
            session.add(
                Mail(
                    organization_id=acme.id,
                    kind=MailKind.WEBHOOK,
                    dedupe_key=str(uuid4()),
                    subject="s",
                    body_text="t",
                    body_html="h",
                    **{state: [EMAIL, "ned@example.com"]},
                )
            )
        invite(globex.id, EMAIL, "viewer", by_id=found.id, now=NOW)
    with transaction():
        sign_in(EMAIL, PASSWORD, now=NOW, days=14, address="192.0.2.7", user_agent="browser of Piaxyz")
    seal_by_clock()
    return found.id


def erase(app: Flask, email: str = EMAIL) -> tuple[int, str]:
    done = app.test_cli_runner().invoke(args=["users", "erase", email, "--yes"])
    return done.exit_code, done.output


def tables_that_name(words: str) -> set[str]:
    """Every table with a row in which this stands."""
    tables = [name for (name,) in sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")]
    asked = (name for name in tables if re.fullmatch(r"\w+", name) and name != "alembic_version")
    return {
        name
        for name in asked
        if sql(f"SELECT 1 FROM {name} AS t WHERE to_jsonb(t)::text ILIKE :words LIMIT 1", words=f"%{words}%")
    }


def test_nothing_names_them_but_the_sealed_log(app: Flask, pia: int) -> None:
    assert {"users", "sessions", "mails"} <= tables_that_name("piaxyz@") | tables_that_name("of Piaxyz")
    code, said = erase(app)
    assert (code, " ".join(said.split())) == (
        0,
        f"Erased. What had to stay is of “Erased person {_mark(pia)}”; {WHERE}",
    )
    assert tables_that_name("piaxyz") == SEALED
    assert sql("SELECT email LIKE '%@erased.invalid' FROM invitations") == [(True,)]
    assert sql("SELECT recipients, delivered FROM mails ORDER BY id")[0].recipients[1] == "ned@example.com"
    assert sql("SELECT count(*) FROM memberships") == [(1,)]
    with transaction(), pytest.raises(SignInRefused):
        sign_in(EMAIL, PASSWORD, now=NOW, days=14, address=None, user_agent=None)
    seal_by_clock()
    with transaction():
        assert [each.rule for each in doctor.examine() if each.broken] == []


def _mark(user_id: int) -> str:
    [(public_id,)] = sql("SELECT public_id FROM users WHERE id = :id", id=user_id)
    return str(public_id)[-4:]


def test_the_last_owner_and_whoever_works_here_are_refused_in_words(app: Flask, pia: int) -> None:
    assert erase(app, "ned@example.com")[0] == 0
    assert erase(app) == (1, "Error: This is the last owner of Acme. Make somebody else an owner first.\n")
    with transaction():
        create_user(email="sam@example.com", name="Sam", password=PASSWORD, staff_role="support")
    assert erase(app, "sam@example.com") == (1, "Error: This person works here. Disable the account first.\n")
    assert erase(app, "nobody@example.com") == (1, "Error: There is no user nobody@example.com.\n")
    assert sql("SELECT count(*) FROM users WHERE email LIKE '%piaxyz%'") == [(1,)]


def test_every_table_that_points_at_people_is_dealt_with() -> None:
    """Whoever adds one decides whether its rows go with the person."""
    pointing = {
        table.name
        for table in db.metadata.sorted_tables
        if any(key.column.table.name == "users" for key in table.foreign_keys)
    }
    gone = {each.__tablename__ for each in THEIRS}
    assert pointing == gone | KEPT.keys()
    assert not gone & KEPT.keys()
