"""What a customer sees of drafts and invoices, as pages and as files."""

import csv
import io
import json

import pytest
from flask import Flask
from flask.testing import FlaskClient

from portal.core.keys import content_hash
from portal.core.lifecycle import PaymentState, SyncState
from portal.infra.db import transaction
from portal.invoicing.queries import invoice_of
from tests.factories import acting, make_meter, use
from tests.web.conftest import MONTH, World, assert_flawless

PAGES = (
    "/",
    "/usage",
    f"/usage?month={MONTH}&meter=machine_seconds",
    "/usage?month=2020-01",
    "/invoices",
    "/invoices/draft",
    f"/invoices/draft?month={MONTH}&explain=1",
    "/invoices/{draft}",
    "/invoices/{final}",
    "/invoices/{final}?explain=2",
    "/invoices/{final}?explain=99",
)


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


@pytest.mark.parametrize("address", PAGES)
def test_a_page_is_flawless(owner: FlaskClient, world: World, address: str):
    answer = owner.get(address.format(draft=world.draft, final=world.final))
    assert answer.status_code == 200
    assert_flawless(answer)


@pytest.mark.parametrize("part", ["", "/status", ".csv", ".json"])
def test_another_organizations_invoice_is_not_found(owner: FlaskClient, world: World, part: str):
    answer = owner.get(f"/invoices/{world.foreign}{part}")
    assert answer.status_code == 404
    assert "rival" not in answer.text.lower()


def test_a_draft_shows_its_lines_and_its_total(owner: FlaskClient, world: World):
    for page in (f"/invoices/{world.draft}", f"/invoices/draft?month={MONTH}"):
        text = owner.get(page).text
        assert "Price of machine_seconds" in text
        assert 'data-total-minor="250"' in text
        assert 'data-invoice-state="draft"' in text


def test_a_line_is_explained_without_javascript(owner: FlaskClient, world: World):
    text = owner.get(f"/invoices/draft?month={MONTH}&explain=1").text
    assert "$0.01 per second." in text
    assert "Rounded once, half away from zero" in text
    assert 'aria-expanded="true"' in text


def test_the_total_served_alone_is_the_one_in_the_page(owner: FlaskClient, world: World):
    part = owner.get(f"/invoices/draft/total?month={MONTH}").text
    assert part.startswith('<section id="draft-total"')
    assert part.splitlines()[0] in owner.get(f"/invoices/draft?month={MONTH}").text


def test_the_panel_of_a_month_that_became_final_says_so_and_asks_no_more(owner: FlaskClient, world: World):
    part = owner.get("/invoices/draft/total?month=2026-09").text
    assert "This month is final now" in part
    assert "hx-trigger" not in part
    assert owner.get("/invoices/draft?month=2026-09").location == f"/invoices/{world.final}"


def test_a_final_invoice_shows_what_was_frozen_and_no_inner_reason(owner: FlaskClient, world: World):
    text = owner.get(f"/invoices/{world.final}").text
    assert "Migration assistance" in text
    assert "Goodwill credit" in text
    assert 'data-total-minor="2000"' in text
    assert "goodwill" not in text


def test_the_status_asks_again_only_while_something_moves(owner: FlaskClient, world: World, app: Flask):
    page, part = f"/invoices/{world.final}", f"/invoices/{world.final}/status"
    assert 'hx-trigger="every 2s"' in owner.get(part).text
    assert 'http-equiv="refresh"' in owner.get(page).text
    move(app, world, SyncState.SYNCED, PaymentState.OPEN)
    assert 'hx-trigger="every 5s"' in owner.get(part).text
    assert 'http-equiv="refresh"' not in owner.get(page).text
    move(app, world, SyncState.SYNCED, PaymentState.PAID)
    paid = owner.get(part).text
    assert "hx-trigger" not in paid
    assert 'data-invoice-state="paid"' in paid


def test_pay_leads_to_the_hosted_page_while_something_is_open(owner: FlaskClient, world: World, app: Flask):
    assert "the Pay link appears here in a moment" in owner.get(f"/invoices/{world.final}").text
    move(app, world, SyncState.MISMATCH, PaymentState.OPEN)
    assert "https://pay.example" not in owner.get(f"/invoices/{world.final}").text
    move(app, world, SyncState.SYNCED, PaymentState.OPEN)
    text = owner.get(f"/invoices/{world.final}").text
    assert 'href="https://pay.example/in_123' in text
    assert ">Pay $20.00</a>" in text
    move(app, world, SyncState.SYNCED, PaymentState.PAID)
    assert "https://pay.example" not in owner.get(f"/invoices/{world.final}").text


def test_the_file_of_an_invoice_adds_up_to_its_total_and_holds_no_formula(owner: FlaskClient, world: World):
    rows = read_csv(owner.get(f"/invoices/{world.final}.csv").text)
    assert [(row["Item"], row["Amount"]) for row in rows] == [
        ("Migration assistance", "25.00"),
        ("'=Goodwill credit", "-5.00"),
    ]
    assert [row["Amount"] for row in read_csv(owner.get(f"/invoices/{world.draft}.csv").text)] == ["2.50"]


def test_the_document_can_be_checked_against_its_hash(owner: FlaskClient, world: World):
    body = json.loads(owner.get(f"/invoices/{world.final}.json").text)
    assert content_hash(body["document"]) == body["content_sha256"]
    assert owner.get(f"/invoices/{world.draft}.json").status_code == 404


def test_the_list_goes_on_where_the_page_before_ended(owner: FlaskClient, world: World):
    assert f"/invoices/{world.final}" in owner.get("/invoices").text
    older = owner.get("/invoices?before=2026-10-01.1").text
    assert f"/invoices/{world.final}" in older
    assert f"/invoices/{world.draft}" not in older
    assert [row["State"] for row in read_csv(owner.get("/invoices.csv").text)] == ["draft", "open"]


@pytest.mark.parametrize("before", ["x", "2026-10-01", "2026-10-01.x"])
def test_a_page_of_the_list_that_is_not_there_is_refused(owner: FlaskClient, before: str):
    assert owner.get(f"/invoices?before={before}").status_code == 422


def move(app: Flask, world: World, sync: SyncState, payment: PaymentState) -> None:
    with acting(app), transaction():
        invoice = invoice_of(world.final)
        invoice.sync_state, invoice.payment_state = sync, payment
        invoice.hosted_invoice_url = "https://pay.example/in_123"


def test_a_draft_above_the_largest_invoice_is_shown_with_a_word_about_it(owner: FlaskClient, world: World, app: Flask):
    with acting(app), transaction():
        organization = invoice_of(world.draft).organization
    with acting(app):
        use(organization, make_meter(), 200_000_000)
    for address in ("/", f"/invoices/{world.draft}", f"/invoices/{world.draft}.csv"):
        assert owner.get(address).status_code == 200
    assert "larger than one invoice may bill" in owner.get(f"/invoices/{world.draft}").text


@pytest.mark.parametrize("address", ["/usage?month=%00", "/invoices?before=%00"])
def test_a_nul_character_is_refused_in_words(owner: FlaskClient, address: str):
    answer = owner.get(address)
    assert answer.status_code == 400
    assert "NUL character" in answer.text
