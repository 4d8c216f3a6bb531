"""Members and invitations: roles, the last owner, and links that are for one address and work once."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from portal.infra import clock
from portal.infra.db import transaction
from portal.organizations.people import add_member, create_user
from tests.factories import acting, make_organization, sql
from tests.mailing.conftest import PostOffice
from tests.web.conftest import PASSWORD, assert_flawless, post, sign_in
from tests.web.test_account_pages import NEW, deliver, link_in, mail, post_office, world

OWNER, DEVELOPER, GUEST = "owner@acme.example", "developer@acme.example", "Guest@other.example"
PAGE = "/settings/members"
STAMPS = re.compile(r'value="[^"]{60,}"|token(=|%3D)[\w-]+|value="[\w-]{43}"')
__all__ = ["mail", "post_office", "world"]


def members(app: Flask) -> list[tuple[str, str]]:
    with acting(app):
        return sql(
            "SELECT u.email, m.role FROM memberships m JOIN users u ON u.id = m.user_id"
            " JOIN organizations o ON o.id = m.organization_id WHERE o.slug = 'acme' ORDER BY 1"
        )


def of(app: Flask, email: str) -> str:
    """The path under which a member is changed."""
    with acting(app):
        [(public_id,)] = sql(f"SELECT public_id FROM users WHERE email = '{email}'")
    return f"{PAGE}/{public_id}"


def invite(app: Flask, owner: FlaskClient, email: str = GUEST, role: str = "billing"):
    answer = post(owner, f"{PAGE}/invitations", page=PAGE, email=email, role=role)
    deliver(app)
    return answer


def accept(browser: FlaskClient, link: str, **values: str):
    typed = {"name": "Guest", "password": NEW, **values}
    return post(browser, "/invitation", page=link, token=link.split("=")[1], **typed)


def join(browser: FlaskClient, link: str):
    return post(browser, "/invitation/join", page="/settings/account", token=link.split("=")[1])


def test_only_owners_see_the_members_and_each_change_is_audited(
    app: Flask, owner: FlaskClient, as_person: Callable[[str], FlaskClient]
):
    developer = as_person(DEVELOPER)
    assert developer.get(PAGE).status_code == developer.get(f"{PAGE}.csv").status_code == 404
    assert as_person("staff@example.com").get(PAGE).status_code == 404
    page = owner.get(PAGE)
    assert_flawless(page)
    assert owner.get(f"{PAGE}.csv").text.count("\n") == 3
    assert post(owner, f"{of(app, DEVELOPER)}/role", page=PAGE, role="owner").location == PAGE
    assert developer.get(PAGE).status_code == 200
    assert post(developer, f"{of(app, DEVELOPER)}/role", page=PAGE, role="viewer").location == "/"
    assert developer.get(PAGE).status_code == 404
    assert post(owner, f"{of(app, DEVELOPER)}/remove", page=PAGE).location == PAGE
    assert developer.get("/usage").status_code == 404
    assert members(app) == [(OWNER, "owner")]
    with acting(app):
        found = sql(
            "SELECT action, before, after, organization_id IS NOT NULL FROM audit_entries WHERE action LIKE '%member%'"
            " AND action <> 'added member' ORDER BY id"
        )
    assert found == [
        ("changed a member's role", {"role": "developer"}, {"role": "owner"}, True),
        ("changed a member's role", {"role": "owner"}, {"role": "viewer"}, True),
        ("removed a member", {"role": "viewer"}, None, True),
    ]


def test_the_last_owner_cannot_leave_or_be_lowered(app: Flask, owner: FlaskClient):
    for step, values in (("role", {"role": "viewer"}), ("remove", {})):
        answer = post(owner, f"{of(app, OWNER)}/{step}", page=PAGE, **values)
        assert answer.status_code == 422
        assert "This is the last owner." in answer.text
        assert_flawless(answer)
    assert post(owner, f"{of(app, DEVELOPER)}/role", page=PAGE, role="god").status_code == 422
    assert members(app) == [(DEVELOPER, "developer"), (OWNER, "owner")]


def test_people_and_invitations_of_others_are_not_there(app: Flask, owner: FlaskClient, mail: PostOffice):
    invite(app, owner)
    with acting(app):
        rival = make_organization("rival")
        with transaction():
            add_member(create_user(email="boss@rival.example", name="Boss", password=PASSWORD), rival, "owner")
        [(public_id,)] = sql("SELECT public_id FROM invitations")
    boss = app.test_client()
    sign_in(boss, "boss@rival.example")
    for path in (f"{of(app, DEVELOPER)}/remove", f"{PAGE}/invitations/{public_id}/take-back"):
        assert post(boss, path, page=PAGE).status_code == 404
    assert GUEST not in boss.get(PAGE).text
    assert post(owner, f"{of(app, 'boss@rival.example')}/remove", page=PAGE).status_code == 404


def test_a_new_person_joins_by_the_link_once(app: Flask, client: FlaskClient, owner: FlaskClient, mail: PostOffice):
    assert invite(app, owner).location == PAGE
    assert mail.taken[-1][0] == [GUEST]
    page = owner.get(PAGE)
    assert GUEST in page.text
    assert_flawless(page)
    link = link_in(mail)
    shown = client.get(link)
    assert_flawless(shown)
    assert GUEST in shown.text
    assert accept(client, link, password="short").status_code == 422
    assert accept(client, link).location == "/sign-in"
    assert sign_in(client, GUEST, NEW).status_code == 303
    assert (GUEST, "billing") in members(app)
    assert app.test_client().get(link).status_code == 410


def test_neither_owner_nor_holder_of_a_link_learn_whether_there_is_an_account(
    app: Flask, owner: FlaskClient, mail: PostOffice
):
    with acting(app), transaction():
        create_user(email="known@other.example", name="Known", password=PASSWORD)
    answers = []
    for email in ("known@other.example", "never@other.example"):
        sent = invite(app, owner, email)
        listed = owner.get(PAGE)
        link = link_in(mail)
        browser = app.test_client()
        seen, done = browser.get(link), accept(browser, link)
        said = browser.get("/sign-in")
        texts = [STAMPS.sub("", page.text).replace(email, "") for page in (seen, done, said)]
        answers.append([sent.status_code, sent.location, listed.status_code, done.status_code, *texts])
    assert answers[0] == answers[1]
    assert ("known@other.example", "billing") not in members(app)
    assert sign_in(app.test_client(), "known@other.example", NEW).status_code == 422


def test_somebody_with_an_account_joins_signed_in_with_that_address_only(
    app: Flask, client: FlaskClient, owner: FlaskClient, mail: PostOffice
):
    with acting(app), transaction():
        create_user(email=GUEST.lower(), name="Guest", password=PASSWORD)
        create_user(email="thief@other.example", name="Thief", password=PASSWORD)
    invite(app, owner)
    link, thief = link_in(mail), app.test_client()
    sign_in(thief, "thief@other.example")
    assert join(thief, link).status_code == 410
    assert accept(client, link).location == "/sign-in"
    sign_in(client, GUEST)
    assert_flawless(client.get(link))
    assert join(client, link).location == "/"
    assert members(app)[1:] == [(GUEST.lower(), "billing"), (OWNER, "owner")]
    assert join(client, link).status_code == 410


@pytest.mark.parametrize("ends", ["sent again", "taken back", "too old"])
def test_a_link_ends(
    app: Flask, client: FlaskClient, owner: FlaskClient, mail: PostOffice, monkeypatch: pytest.MonkeyPatch, ends: str
):
    invite(app, owner)
    link = link_in(mail)
    [path] = set(re.findall(rf"{PAGE}/invitations/[0-9a-f-]{{36}}", owner.get(PAGE).text))
    if ends == "sent again":
        assert post(owner, f"{path}/send", page=PAGE).location == PAGE
        deliver(app)
        assert client.get(link_in(mail)).status_code == 200
    elif ends == "taken back":
        assert post(owner, f"{path}/take-back", page=PAGE).location == PAGE
        assert GUEST not in owner.get(PAGE).text
        assert post(owner, f"{path}/send", page=PAGE).status_code == 404
    else:
        later = clock.now() + timedelta(days=7)
        monkeypatch.setattr(clock, "now", lambda: later)
    assert client.get(link).status_code == 410


def test_an_invitation_that_cannot_be_is_refused_at_its_field(app: Flask, owner: FlaskClient, mail: PostOffice):
    invite(app, owner)
    for email, role, says in (
        ("nonsense", "viewer", "That is not an e-mail address."),
        (GUEST.upper(), "viewer", "This address is invited already"),
        (DEVELOPER, "viewer", "This person is a member already."),
        ("new@other.example", "god", "Not a valid choice."),
    ):
        answer = invite(app, owner, email, role)
        assert answer.status_code == 422
        assert says in answer.text
    assert len(mail.taken) == 1
