"""Usage that waits for a meter: seen by all of the staff, discarded with a reason, and taken back."""

import csv
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from devkit.formbrowser import NotOnPage
from portal.core.periods import Month
from portal.infra import clock
from portal.organizations.queries import organization_of
from portal.usage.batches import store_documents
from portal.usage.known import known_meters
from portal.usage.waiting_queries import MOST_SHOWN
from tests.factories import acting, make_meter, make_organization, sql
from tests.statements import statements

PAGE = "/admin/usage/waiting"


def send(world: Any, *events: tuple[str, str, str], organization: Any = None) -> None:
    """Events (id, meter, quantity) of last month."""
    now = clock.now()
    moment = Month.of(now).previous.start.isoformat()
    with acting(world.app):
        assert "egress" in known_meters()
        sender = organization or organization_of(world.organization).id
        documents = [{"id": each[0], "meter": each[1], "quantity": each[2], "time": moment} for each in events]
        stored = store_documents(documents, organization_id=sender, now=now, and_then=lambda _: None)
    assert stored.counts["waiting"] == len(events)


def test_without_any_the_page_says_so_and_today_says_nothing(admin: Any, world: Any) -> None:
    assert "Nothing waits" in admin.open(PAGE).text
    assert "wait for a meter" not in admin.open("/admin").text


def test_what_waits_is_listed_and_leads_from_today_and_to_the_catalog(admin: Any, world: Any) -> None:
    send(world, ("a", "egres", "1.5"), ("b", "egres", "2"), ("c", "<i>x</i>", "1"))
    today = admin.open("/admin")
    assert "Events that wait for a meter: 3" in today.text
    page = admin.open(today.link(start=PAGE).href)
    for words in ("3 events wait", "Acme", "egres", "3.5", "There is no such meter.", "<i>x</i>"):
        assert words in page.text
    assert page.link(start="/admin/catalog") is not None
    draft = admin.open(world.draft)
    assert "Usage of meters that do not exist waits: “egres” (2 events), “<i>x</i>” (1 event)." in draft.text
    with pytest.raises(NotOnPage):
        draft.form(action="/finalize")


def test_discarding_asks_why_and_can_be_taken_back(admin: Any, world: Any) -> None:
    send(world, ("a", "egres & co", "1.5"), ("b", "egres & co", "2"))
    form = admin.open(admin.open(PAGE).link(start=f"{PAGE}/discard").href).form(action="/discard")
    refused = admin.submit(form, {"reason": "  "}, button="Discard 2 events")
    assert refused.status == 422
    assert "Say why it will never be billed" in refused.text
    page = admin.submit(refused.form(action="/discard"), {"reason": "A typo <b>"}, button="Discard 2 events")
    for words in ("2 events of Acme for “egres & co” will not be billed.", "Nothing waits", "A typo <b>"):
        assert words in page.text
    assert admin.open(world.draft).form(action="/finalize")
    with acting(world.app):
        [entry] = sql("SELECT actor_kind, reason, after FROM audit_entries WHERE action = 'discarded waiting usage'")
    assert tuple(entry) == ("user", "A typo <b>", {"meter": "egres & co", "events": 2})
    assert "Discarded waiting usage" in admin.open(f"/admin/organizations/{world.organization}").text
    # Somebody who had the form open comes too late.
    assert admin.submit(form, {"reason": "me too"}, button="Discard 2 events").status == 409
    page = admin.submit(page.form(action="/take-back"))
    assert "2 events of Acme for “egres & co” wait again." in page.text
    with pytest.raises(NotOnPage):
        page.form(action="/take-back")
    assert "2 events wait" in page.text


def test_the_file_has_both_tables(admin: Any, world: Any) -> None:
    send(world, ("a", "egres", "1.5"), ("b", "=1+1", "2"))
    address = f"{PAGE}/discard?organization={world.organization}&meter=%3D1%2B1"
    admin.submit(admin.open(address).form(action="/discard"), {"reason": "a test"}, button="Discard 1 event")
    lines = list(csv.DictReader(admin.client.get(f"{PAGE}.csv").text.removeprefix("\ufeff").splitlines()))
    assert {(line["organization"], line["state"], line["events"]) for line in lines} == {
        ("acme", "waiting", "1"),
        ("acme", "discarded", "1"),
    }
    assert {line["meter"] for line in lines} == {"egres", "'=1+1"}
    assert [line["reason"] for line in lines if line["state"] == "discarded"] == ["a test"]


def test_a_long_list_is_cut_and_asks_as_often(admin: Any, world: Any) -> None:
    send(world, ("a", "egres", "1"))
    with statements(world.app) as one:
        admin.open(PAGE)
    send(world, *[(f"n{number}", f"meter-{number}", "1") for number in range(MOST_SHOWN + 5)])
    with statements(world.app) as many:
        page = admin.open(PAGE)
    assert len(many) == len(one)
    assert f"At most {MOST_SHOWN} lines are shown" in page.text
    assert len(admin.client.get(f"{PAGE}.csv").text.splitlines()) == MOST_SHOWN + 7


@pytest.mark.parametrize("role", ["support", "billing_operations"])
def test_who_may_not_finalize_sees_and_changes_nothing(as_staff: Callable[[str], Any], world: Any, role: str) -> None:
    send(world, ("a", "egres", "1"))
    staff = as_staff(role)
    page = staff.open(PAGE)
    assert "egres" in page.text
    assert page.link(start=f"{PAGE}/discard") is None
    assert staff.open(f"{PAGE}/discard?organization={world.organization}&meter=egres").status == 404


def test_a_customer_finds_none_of_it(customer: FlaskClient, world: Any) -> None:
    for address in (PAGE, f"{PAGE}.csv", f"{PAGE}/discard?organization={world.organization}&meter=egres"):
        assert customer.get(address).status_code == 404


def test_what_does_not_exist_is_not_found(admin: Any, world: Any) -> None:
    with acting(world.app):
        other = make_organization("umbrella")
        make_meter("tape")
    send(world, ("a", "egres", "1"))
    for query in ("", "?organization=x&meter=egres", f"?organization={other.public_id}&meter=egres",
                  f"?organization={world.organization}&meter=egress"):  # fmt: skip
        assert admin.open(f"{PAGE}/discard{query}").status == 404
    assert admin.client.post(f"{PAGE}/discard").status_code == 400  # no form token


def test_a_customer_sees_its_own_beside_its_usage(customer: FlaskClient, world: Any) -> None:
    assert "Waiting for a meter" not in customer.get("/usage").text
    with acting(world.app):
        other = make_organization("umbrella").id
    send(world, ("x", "secret", "1"), organization=other)
    send(world, ("a", "egres", "1"), ("b", "egres", "1"))
    page = customer.get("/usage").text
    assert "Waiting for a meter" in page
    assert "egres</code>: 2 events" in page
    assert "secret" not in page
