"""Differences and events for staff: the lists, the decisions, and who may make them."""

import csv
import io
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask

from portal.infra.clock import now
from portal.infra.db import transaction
from portal.payments.comparing import Difference
from portal.payments.drift import note
from portal.payments.drift_models import Field
from tests.factories import acting, make_final, make_organization, sql

DRIFT, EVENTS = "/admin/sync/drift", "/admin/sync/events"


@pytest.fixture
def differ(app: Flask, world: Any) -> Any:
    """Notes a difference; returns the address of its page."""

    def make(field: Field = Field.TOTAL, **more: Any) -> str:
        values = {
            "organization_id": None,
            "invoice_id": None,
            "stripe_id": "in_1",
            "stripe_created_at": None,
            "ours": "12.00 USD",
            "theirs": "13.00 USD",
            "amount": 100,
            "currency": "USD",
            **more,
        }
        with acting(app):
            with transaction():
                note([Difference(field=field, **values)], now=now())
            [(public_id,)] = sql("SELECT public_id FROM drift ORDER BY id DESC LIMIT 1")
        return f"{DRIFT}/{public_id}"

    return make


@pytest.fixture
def stopped(app: Flask, world: Any) -> Any:
    """A final invoice of 12.00 whose sync has stopped."""
    with acting(app):
        invoice = make_final(make_organization("umbrella"), "12.00")
        sql("UPDATE invoices SET sync_state = 'dead' WHERE id = :id", id=invoice.id)
        sql("UPDATE outbox SET dead_at = clock_timestamp() WHERE kind = 'sync_invoice'")
    return invoice


def rows(app: Flask, query: str) -> list[tuple[Any, ...]]:
    with acting(app):
        return [tuple(row) for row in sql(query)]


def test_without_differences_the_page_says_so(admin: Any) -> None:
    page = admin.open(DRIFT)
    assert page.status == 200
    for words in ("0 differences", "Nothing has been compared yet", "The first comparison runs with the clock"):
        assert words in page.text
    assert "No difference is in this state" in admin.open(f"{DRIFT}?state=gone").text
    assert admin.client.get(f"{DRIFT}?state=odd").status_code == 422


def test_the_list_shows_both_sides_and_is_filtered_by_state(app: Flask, admin: Any, differ: Any, stopped: Any) -> None:
    address = differ(invoice_id=stopped.id, organization_id=stopped.organization_id)
    page = admin.open(DRIFT)
    for words in ("Total", "Umbrella", stopped.number, "in_1", "12.00 USD", "13.00 USD", "1.00 USD", "Open (1)"):
        assert words in page.text
    assert page.link(start=address)
    assert page.link(start=f"/admin/invoices/{stopped.public_id}")
    assert admin.open(f"{DRIFT}?state=open").link(start=address)
    assert not admin.open(f"{DRIFT}?state=ignored").link(start=address)
    read = csv.DictReader(io.StringIO(admin.client.get(f"{DRIFT}.csv?state=open").text.removeprefix("\ufeff")))
    [row] = list(read)
    assert (row["organization"], row["invoice"], row["field"]) == ("Umbrella", stopped.number, "total")
    assert (row["ours"], row["theirs"], row["amount"], row["currency"]) == ("12.00 USD", "13.00 USD", "1.00", "USD")


def test_the_list_is_read_by_pages_and_no_row_is_lost(admin: Any, differ: Any) -> None:
    addresses = {differ(stripe_id=f"in_{number}") for number in range(53)}
    seen: list[str] = []
    address = DRIFT
    while address:
        page = admin.open(address)
        seen += [link.href for link in page.links if link.href.startswith(f"{DRIFT}/")]
        older = [link.href for link in page.links if "Next page" in link.label]
        address = older[0] if older else ""
    assert len(seen) == 53
    assert set(seen) == addresses
    assert "Back to the first page" in admin.open(f"{DRIFT}?after=3").text


@pytest.mark.parametrize(("button", "state"), [("Accept", "accepted"), ("Ignore", "ignored")])
def test_a_decision_needs_a_reason_and_is_audited(app: Flask, admin: Any, differ: Any, button: str, state: str) -> None:
    address = differ()
    page = admin.open(address)
    page = admin.submit(page.form(action="/decision"), {"reason": " "}, button=button)
    assert page.status == 422
    assert "Say why" in page.text
    assert rows(app, "SELECT state FROM drift") == [("open",)]
    page = admin.submit(page.form(action="/decision"), {"reason": "agreed by phone"}, button=button)
    assert f"The difference is {state}." in page.text
    assert rows(app, "SELECT state, reason, decided_by FROM drift") == [(state, "agreed by phone", "admin")]
    [entry] = rows(
        app,
        "SELECT actor_kind, actor_name, reason FROM audit_entries WHERE subject_kind = 'drift' AND actor_kind = 'user'",
    )
    assert entry == ("user", "admin", "agreed by phone")
    assert "agreed by phone" in admin.open(address).text


def test_a_decision_that_is_none_is_refused(app: Flask, admin: Any, differ: Any) -> None:
    form = admin.open(differ()).form(action="/decision")
    for state in ("open", "gone", "nonsense"):
        answer = admin.client.post(form.action, data={**form.fields, "state": state, "reason": "x"})
        assert answer.status_code == 422
    assert rows(app, "SELECT state FROM drift") == [("open",)]


def test_what_is_gone_cannot_be_decided_or_pushed_any_more(app: Flask, admin: Any, differ: Any) -> None:
    address = differ(Field.DUPLICATE)
    page = admin.open(address)
    with acting(app):
        sql("UPDATE drift SET state = 'gone'")
    page = admin.submit(page.form(action="/decision"), {"reason": "late"}, button="Accept")
    assert page.status == 409
    assert "gone by itself" in page.text
    assert not any(form.action.endswith(("/decision", "/push")) for form in admin.open(address).forms)


def test_the_content_of_a_final_invoice_is_not_pushed_and_the_page_says_why(admin: Any, differ: Any) -> None:
    for field in (Field.TOTAL, Field.CURRENCY, Field.LINES):
        page = admin.open(differ(field))
        assert "what a final invoice says cannot be changed" in page.text
        assert not any(form.action.endswith("/push") for form in page.forms)
    assert "the portal never touches it" in admin.open(differ(Field.UNMANAGED)).text


def test_a_push_that_is_not_legal_changes_nothing(app: Flask, admin: Any, differ: Any) -> None:
    legal = admin.open(differ(Field.DUPLICATE)).form(action="/push")
    address = differ(Field.TOTAL)
    answer = admin.client.post(f"{address}/push", data=legal.fields)
    assert answer.status_code == 409
    assert "cannot be changed" in answer.text
    assert rows(app, "SELECT DISTINCT state FROM drift") == [("open",)]


def test_a_stopped_sync_is_sent_again_by_pushing(app: Flask, admin: Any, differ: Any, stopped: Any) -> None:
    address = differ(
        Field.EXISTENCE, invoice_id=stopped.id, organization_id=stopped.organization_id, stripe_id=None, theirs=None
    )
    page = admin.submit(admin.open(address).form(action="/push"), button="Push")
    assert "sent to Stripe again" in page.text
    assert rows(app, "SELECT state, decided_by FROM drift") == [("pushed", "admin")]
    state = "SELECT sync_state FROM invoices WHERE number IS NOT NULL"
    assert rows(app, state) == [("pending",)]
    assert rows(app, "SELECT count(*) FROM outbox WHERE kind = 'sync_invoice' AND dead_at IS NULL") == [(1,)]
    # Pressed twice: the same.
    admin.submit(admin.open(address).form(action="/push"), button="Push")
    assert rows(app, "SELECT count(*) FROM outbox WHERE kind = 'sync_invoice' AND dead_at IS NULL") == [(1,)]


def test_a_payment_is_read_again_by_pushing(app: Flask, admin: Any, differ: Any, stopped: Any) -> None:
    with acting(app):
        sql("UPDATE invoices SET sync_state = 'synced', stripe_id = 'in_1' WHERE id = :id", id=stopped.id)
    address = differ(Field.PAYMENT, invoice_id=stopped.id, organization_id=stopped.organization_id)
    page = admin.submit(admin.open(address).form(action="/push"), button="Push")
    assert "read at Stripe again" in page.text
    assert rows(app, "SELECT count(*) FROM outbox WHERE kind = 'look_at_difference'") == [(1,)]


def test_what_holds_an_organization_back_is_said_before_it_is_decided(admin: Any, differ: Any, stopped: Any) -> None:
    address = differ(Field.UNADOPTED, organization_id=stopped.organization_id)
    page = admin.open(address)
    assert "no new invoice of Umbrella is sent to Stripe" in page.text
    page = admin.submit(page.form(action="/decision"), {"reason": "void there"}, button="Accept")
    assert "goes on within a minute" in page.text
    assert "no new invoice of" not in admin.open(address).text


def test_who_may_look_and_who_may_decide(app: Flask, as_staff: Any, customer: Any, differ: Any) -> None:
    address = differ(Field.DUPLICATE)
    with acting(app):
        sql("INSERT INTO stripe_events (event_id, type, livemode, payload) VALUES ('evt_1', 'x', false, '{}')")
    support, operations = as_staff("support"), as_staff("billing_operations")
    changing = ("/decision", "/push", "/replay")
    for path in (address, EVENTS):
        assert not any(form.action.endswith(changing) for form in support.open(path).forms)
        assert any(form.action.endswith(changing) for form in operations.open(path).forms)
    token = operations.open(address).form(action="/push").fields
    for path in (f"{address}/push", f"{address}/decision", f"{EVENTS}/evt_1/replay"):
        assert support.client.post(path, data=token).status_code in (400, 403, 404)
        assert operations.client.post(path).status_code == 400, "without a form token"
    paths = (DRIFT, f"{DRIFT}.csv", address, EVENTS, f"{EVENTS}.csv")
    assert {customer.get(path).status_code for path in paths} == {404}
    assert operations.client.get(f"{DRIFT}/{uuid4()}").status_code == 404
    assert rows(app, "SELECT state FROM drift") == [("open",)]


def test_an_event_is_applied_again_by_its_button(app: Flask, admin: Any) -> None:
    assert "No event has come in yet" in admin.open(EVENTS).text
    with acting(app):
        sql(
            "INSERT INTO stripe_events (event_id, type, livemode, payload, state, object_id)"
            " SELECT 'evt_' || n, 'invoice.paid', false, '{}', 'applied', 'in_' || n FROM generate_series(1, 60) AS n"
        )
    page = admin.open(EVENTS)
    assert sum(form.action.endswith("/replay") for form in page.forms) == 50
    assert "Next page" in page.text
    page = admin.submit(page.form(action="/evt_60/replay"), button="Apply again evt_60")
    assert "applied again" in page.text
    assert rows(app, "SELECT event_id FROM stripe_events WHERE state = 'stored'") == [("evt_60",)]
    assert rows(app, "SELECT dedupe_key FROM outbox WHERE kind = 'apply_stripe_event'") == [("evt_60",)]
    assert len(admin.client.get(f"{EVENTS}.csv").text.splitlines()) == 61
    token = page.form(action="/evt_59/replay").fields
    assert admin.client.post(f"{EVENTS}/evt_nobody/replay", data=token).status_code == 404
