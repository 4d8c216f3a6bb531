"""Owners and developers manage their webhooks on one page; nobody else sees that there are any."""

import csv
import io
import re
from uuid import uuid4

from portal.infra.db import transaction
from portal.organizations.models import Organization
from portal.organizations.people import add_member, create_user
from portal.webhooks.endpoints import add_endpoint
from portal.webhooks.models import EventType
from tests.factories import NOW, acting, sql
from tests.web.conftest import PASSWORD, assert_flawless, post
from tests.webhooks.conftest import receiver, receiver_process, send

__all__ = ["receiver", "receiver_process"]
PAGE = "/webhooks"
SECRET = re.compile(r'id="secret">(whsec_[^<]+)<')
STEP = re.compile(r"/webhooks/([0-9a-f-]{36})/(test|enable)")
AGAIN = re.compile(r"/webhooks/deliveries/[0-9a-f-]{36}/replay")


def add(browser, url: str, *events: str):
    return post(browser, PAGE, page=PAGE, url=url, events=list(events) or [EventType.PAID.value])


def test_an_endpoint_is_added_tested_replayed_rotated_disabled_enabled_and_removed(app, as_person, receiver):
    developer = as_person("developer@acme.example")
    assert_flawless(developer.get(PAGE))
    made = add(developer, f"{receiver.url}/ok")
    assert_flawless(made)
    secret = SECRET.search(made.text)[1]
    page = developer.get(PAGE)
    assert secret not in page.text
    endpoint = STEP.search(page.text)[1]
    assert post(developer, f"{PAGE}/{endpoint}/test", page=PAGE).status_code == 303
    with acting(app):
        send()
    page = developer.get(PAGE)
    assert_flawless(page)
    assert all(words in page.text for words in ("endpoint.test", "Delivered", "200 after", "thanks"))
    assert post(developer, AGAIN.search(page.text)[0], page=PAGE).status_code == 303
    with acting(app):
        send()
    assert len({each["headers"]["webhook-id"] for each in receiver.heard}) == 1
    assert len(receiver.heard) == 2
    [row] = csv.DictReader(io.StringIO(developer.get("/webhooks.csv").text.removeprefix("\ufeff")))
    assert (row["State"], row["Status"], row["Attempts"], row["Answer"]) == ("delivered", "200", "2", "thanks")
    rotated = post(developer, f"{PAGE}/{endpoint}/rotate", page=PAGE)
    assert SECRET.search(rotated.text)[1] != secret
    assert "signed with the old secret as well" in rotated.text
    post(developer, f"{PAGE}/{endpoint}/disable", page=PAGE)
    page = developer.get(PAGE)
    assert "Disabled by developer." in page.text
    assert_flawless(page)
    refused = post(developer, AGAIN.search(page.text)[0], page=PAGE)
    assert refused.status_code == 303
    assert "The endpoint is disabled; enable it first." in developer.get(PAGE).text
    assert post(developer, f"{PAGE}/{endpoint}/test", page=PAGE).status_code == 409
    post(developer, f"{PAGE}/{endpoint}/enable", page=PAGE)
    assert "Works" in developer.get(PAGE).text
    post(developer, f"{PAGE}/{endpoint}/remove", page=PAGE)
    assert "There is no endpoint yet." in developer.get(PAGE).text
    with acting(app):
        actions = {row[0] for row in sql("SELECT action FROM audit_entries WHERE subject_kind = 'webhook endpoint'")}
    assert len(actions) == 7


def test_what_is_no_endpoint_is_refused_beside_its_field(app, owner):
    for url, sentence in (
        ("", "Enter the address of your program."),
        ("http://example.com/", "An address begins with https://."),
        ("https://169.254.169.254/", "Name a host of the public internet"),
        ("https://me:secret@example.com/", "Leave user and password out"),
    ):
        answer = add(owner, url)
        assert (answer.status_code, sentence in answer.text) == (422, True), url
        assert_flawless(answer)
    assert post(owner, PAGE, page=PAGE, url="https://example.com/").status_code == 422
    assert add(owner, "https://example.com/", "everything").status_code == 422
    assert add(owner, "https://example.com/").status_code == 200
    assert "registered already" in add(owner, "https://example.com/").text


def test_webhooks_are_for_owners_and_developers_and_of_their_organization(app, owner, as_person, world):
    with acting(app), transaction() as session:
        rival, acme = (session.query(Organization).filter_by(slug=slug).one() for slug in ("rival", "acme"))
        keys = app.config["SETTINGS"].secret_keys
        foreign, _ = add_endpoint(
            rival.id, "https://rival.example/", [EventType.PAID], keys=keys, private_too=False, now=NOW
        )
        for role in ("viewer", "billing"):
            add_member(create_user(email=f"{role}@acme.example", name=role, password=PASSWORD), acme, role)
    for role in ("viewer", "billing"):
        assert as_person(f"{role}@acme.example").get(PAGE).status_code == 404
    assert "rival.example" not in owner.get(PAGE).text
    for step in ("test", "disable", "enable", "remove", "rotate"):
        for public_id in (foreign.public_id, uuid4()):
            assert post(owner, f"{PAGE}/{public_id}/{step}", page=PAGE).status_code == 404
    assert post(owner, f"{PAGE}/deliveries/{uuid4()}/replay", page=PAGE).status_code == 404
    assert owner.get(f"{PAGE}?before=x").status_code == 422
    with acting(app):
        assert sql("SELECT disabled_at, removed_at FROM webhook_endpoints") == [(None, None)]
