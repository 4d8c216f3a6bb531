"""An organization's own provider: set by its owners, for its members, into this organization and nothing else."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from portal.infra.db import transaction
from portal.organizations.people import add_member, create_user, user_by_email
from portal.organizations.queries import ids_by_slug, organization_by_id
from tests.factories import acting, sql
from tests.web.conftest import PASSWORD, assert_flawless, post, sign_in
from tests.web.oidc_provider import CLIENT_ID, CLIENT_SECRET, GOOD
from tests.web.provider_process import ProviderProcess, provider_process
from tests.web.test_provider import at_provider

SETTINGS, START = "/settings/sign-in", "/sign-in/organization"
OWNER, DEVELOPER = "owner@acme.example", "developer@acme.example"


@pytest.fixture(scope="module")
def running() -> Iterator[ProviderProcess]:
    with provider_process() as process:
        yield process


@pytest.fixture
def provider(running: ProviderProcess, app: Flask, world: object, monkeypatch: pytest.MonkeyPatch) -> ProviderProcess:
    """The provider in order; a portal without one of its own, that may call this machine."""
    running.says()
    settings = replace(app.config["SETTINGS"], webhook_private_addresses=True)
    monkeypatch.setitem(app.config, "SETTINGS", settings)
    return running


def keep(owner: FlaskClient, provider: ProviderProcess, **more: str) -> TestResponse:
    form = {"issuer": provider.issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET} | more
    return post(owner, SETTINGS, page=SETTINGS, **form)


def come_in(browser: FlaskClient, provider: ProviderProcess, email: str, subject: str) -> TestResponse:
    provider.says(person=GOOD | {"sub": subject, "email": email})
    return browser.get(at_provider(post(browser, START, page=START, slug="acme", next="/usage")))


def in_session(app: Flask) -> list[tuple[object, ...]]:
    with acting(app):
        return sql(
            "SELECT users.email, only_organization_id IS NOT NULL FROM sessions JOIN users ON users.id = user_id"
            " ORDER BY sessions.id DESC LIMIT 1"
        )


def test_a_member_comes_in_and_reaches_this_organization_only(
    app: Flask, owner: FlaskClient, provider: ProviderProcess
):
    with acting(app), transaction():
        developer, rival = user_by_email(DEVELOPER), organization_by_id(ids_by_slug({"rival"})["rival"])
        assert developer is not None
        add_member(developer, rival, "owner")
    assert_flawless(owner.get(SETTINGS))
    assert keep(owner, provider).status_code == 303
    page = owner.get(SETTINGS)
    assert_flawless(page)
    assert "Nobody has signed in there yet" in page.text
    assert CLIENT_SECRET not in page.text
    browser = app.test_client()
    assert_flawless(browser.get(f"{START}?name=acme"))
    answer = come_in(browser, provider, DEVELOPER, "dev-1")
    assert (answer.status_code, answer.location) == (303, "/usage")
    assert in_session(app) == [(DEVELOPER, True)]
    assert browser.get("/usage").status_code == 200
    assert "rival" not in browser.get("/").text.lower()
    post(browser, "/organization", page="/usage", slug="rival")
    assert "secret-app" not in browser.get("/usage").text
    # Nothing of the account, however the provider's owner would like to have it.
    for address in ("/settings/account", "/settings/account/password", "/settings/account/passkeys"):
        refused = browser.get(address)
        assert refused.status_code == 403
        assert "into this organization only" in refused.text
    assert post(browser, "/settings/account/email", page="/usage", email="mine@evil.example").status_code == 403
    assert post(browser, "/sign-out", page="/usage").status_code == 303


def test_the_subject_counts_from_the_first_time_on(app: Flask, owner: FlaskClient, provider: ProviderProcess):
    keep(owner, provider)
    assert come_in(app.test_client(), provider, DEVELOPER.upper(), "dev-1").status_code == 303
    assert come_in(app.test_client(), provider, "renamed@acme.example", "dev-1").status_code == 303
    assert in_session(app) == [(DEVELOPER, True)]
    # Another account that the provider gives this address to is not that person.
    refused = come_in(app.test_client(), provider, DEVELOPER, "dev-2")
    assert refused.status_code == 422
    assert "belongs to no member" in refused.text
    # Nor does the one who is known become another member.
    assert come_in(app.test_client(), provider, OWNER, "dev-1").status_code == 303
    assert in_session(app) == [(DEVELOPER, True)]


@pytest.mark.parametrize(
    "person",
    [
        {"email": "staff@example.com"},
        {"email": "stranger@acme.example"},
        {"email": "member@rival.example"},
        {"email": DEVELOPER, "email_verified": False},
    ],
)
def test_whoever_is_no_member_stays_outside(
    app: Flask, owner: FlaskClient, provider: ProviderProcess, person: dict[str, object]
):
    with acting(app), transaction():
        rival = organization_by_id(ids_by_slug({"rival"})["rival"])
        add_member(create_user(email="member@rival.example", name="Rita", password=PASSWORD), rival, "owner")
        staff = user_by_email("staff@example.com")
        assert staff is not None
        # A member and of the staff: a session of theirs would open the pages of the staff.
        add_member(staff, organization_by_id(ids_by_slug({"acme"})["acme"]), "viewer")
    keep(owner, provider)
    provider.says(person=GOOD | {"sub": "s-1"} | person)
    browser = app.test_client()
    refused = browser.get(at_provider(post(browser, START, page=START, slug="acme")))
    assert refused.status_code == 422
    assert_flawless(refused)
    assert browser.get_cookie("portal_session") is None


def test_staff_later_and_members_no_more_have_no_session(app: Flask, owner: FlaskClient, provider: ProviderProcess):
    keep(owner, provider)
    browser = app.test_client()
    come_in(browser, provider, DEVELOPER, "dev-1")
    with acting(app):
        sql("UPDATE users SET staff_role = 'admin' WHERE email = :email", email=DEVELOPER)
    assert browser.get("/admin").location == "/sign-in?next=/admin"
    with acting(app):
        sql("UPDATE users SET staff_role = NULL WHERE email = :email", email=DEVELOPER)
        sql("DELETE FROM memberships WHERE user_id = (SELECT id FROM users WHERE email = :email)", email=DEVELOPER)
    assert browser.get("/usage").status_code == 404
    assert come_in(app.test_client(), provider, DEVELOPER, "dev-1").status_code == 422


def test_it_has_to_prove_itself_before_members_must_use_it(app: Flask, owner: FlaskClient, provider: ProviderProcess):
    keep(owner, provider)
    refused = keep(owner, provider, client_secret="", is_required="y")
    assert refused.status_code == 422
    assert_flawless(refused)
    assert "First sign in there once yourself" in refused.text
    come_in(app.test_client(), provider, OWNER, "own-1")
    assert keep(owner, provider, client_secret="", is_required="y").status_code == 303
    refused = sign_in(app.test_client(), DEVELOPER)
    assert refused.status_code == 422
    assert "enter acme" in refused.text
    assert sign_in(app.test_client(), DEVELOPER, password="wrong, and long enough").text.count("enter acme") == 0
    assert sign_in(app.test_client(), OWNER).status_code == 303
    assert come_in(app.test_client(), provider, DEVELOPER, "dev-1").status_code == 303
    # Whoever has another organization too, which does not ask for it, may come in by password.
    with acting(app), transaction():
        developer, rival = user_by_email(DEVELOPER), organization_by_id(ids_by_slug({"rival"})["rival"])
        assert developer is not None
        add_member(developer, rival, "viewer")
    assert sign_in(app.test_client(), DEVELOPER).status_code == 303


def test_another_provider_never_gets_the_secret_of_the_one_before(
    app: Flask, owner: FlaskClient, provider: ProviderProcess
):
    keep(owner, provider)
    come_in(app.test_client(), provider, DEVELOPER, "dev-1")
    refused = keep(owner, provider, issuer=f"{provider.issuer}/other", client_secret="")
    assert refused.status_code == 422
    assert "Enter the client secret." in refused.text
    assert keep(owner, provider, issuer=f"{provider.issuer}/other").status_code == 303
    with acting(app):
        assert sql("SELECT count(*) FROM organization_provider_links") == [(0,)]
        assert sql("SELECT proven_at FROM organization_providers") == [(None,)]
        facts = str(sql("SELECT before, after FROM audit_entries WHERE action = 'changed the sign-in provider'"))
    assert CLIENT_SECRET not in facts
    assert post(owner, f"{SETTINGS}/remove", page=SETTINGS).status_code == 303
    gone = post(app.test_client(), START, page=START, slug="acme")
    assert gone.status_code == 422
    assert "No organization of this name" in gone.text


@pytest.mark.parametrize(
    ("issuer", "sentence"),
    [
        ("http://id.example.com", "https://"),
        ("https://127.0.0.1", "public internet"),
        ("https://metadata", "public internet"),
        ("https://id.example.com?x=1", "question mark"),
        ("https://me:secret@id.example.com", "user and password"),
        ("nonsense", "https://"),
    ],
)
def test_only_public_addresses_are_taken(app: Flask, owner: FlaskClient, issuer: str, sentence: str):
    refused = post(owner, SETTINGS, page=SETTINGS, issuer=issuer, client_id="x", client_secret="y")
    assert refused.status_code == 422
    assert sentence in refused.text
    with acting(app):
        assert sql("SELECT count(*) FROM organization_providers") == [(0,)]


@pytest.mark.usefixtures("provider")
def test_a_name_that_leads_inside_is_not_called(
    app: Flask, owner: FlaskClient, provider: ProviderProcess, monkeypatch: pytest.MonkeyPatch
):
    keep(owner, provider)
    monkeypatch.setitem(app.config, "SETTINGS", replace(app.config["SETTINGS"], webhook_private_addresses=False))
    refused = post(app.test_client(), START, page=START, slug="acme")
    assert refused.status_code == 422
    assert "does not answer just now" in refused.text
    with acting(app):
        [(after,)] = sql("SELECT after FROM audit_entries WHERE action = 'sign-in by provider failed'")
    assert "https://" in after["why"]


def test_only_owners_set_it_and_only_after_showing_that_it_is_them(
    app: Flask, owner: FlaskClient, as_person: Callable[[str], FlaskClient], provider: ProviderProcess
):
    assert as_person(DEVELOPER).get(SETTINGS).status_code == 404
    with acting(app):
        sql("UPDATE sessions SET confirmed_at = now() - interval '1 hour'")
    asked = keep(owner, provider)
    assert asked.status_code == 422
    assert "Confirm that it is you" in asked.text
    assert_flawless(asked)
    with acting(app):
        assert sql("SELECT count(*) FROM organization_providers") == [(0,)]
    assert keep(owner, provider, confirm=PASSWORD).status_code == 303
