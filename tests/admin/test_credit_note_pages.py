"""Credit notes, writing off and issuing anew in a browser without JavaScript."""

import csv
import io
import re
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pypdf
import pytest

from devkit.formbrowser import Page
from tests.factories import acting, add, finalize_now, make_organization, sql

NEW = "/credit-notes/new"


@pytest.fixture
def final(world: Any) -> str:
    """The address of a final invoice: $20.00 of usage (1,000 GB) and $30.00 of work."""
    with acting(world.app):
        invoice = world.invoice()
        add(invoice, "30.00", "Work")
        finalize_now(invoice, now=datetime.now(UTC))
    return str(world.draft)


def review(browser: Any, final: str, **values: str) -> Page:
    """Fill the form in and ask for the figures."""
    form = browser.open(final + NEW).form(action=NEW)
    page: Page = browser.submit(form, {"reason": "Outage"} | values, button="Review the credit note")
    return page


def rows(browser: Any, address: str) -> list[dict[str, str]]:
    answer = browser.client.get(address)
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))


def test_the_review_shows_the_figures_and_makes_nothing(admin: Any, final: str, world: Any) -> None:
    page = review(admin, final, scope="amount", amount="12.50")
    assert page.status == 200
    assert "from $50.00 to $37.50" in page.text
    assert "Credit $12.50" in page.text
    with acting(world.app):
        assert sql("SELECT count(*) FROM credit_notes") == [(0,)]


def test_a_confirmed_note_has_a_page_and_stands_on_the_invoice(admin: Any, final: str) -> None:
    page = admin.submit(review(admin, final, scope="amount", amount="12.50").form(action=NEW), button="Credit $12.50")
    assert "CN-" in page.text
    assert "credits $12.50 of INV-" in page.text
    assert "Outage" in page.text
    invoice = admin.open(final)
    assert "Partly credited" in invoice.text
    assert "$37.50 is still due" in invoice.text
    assert invoice.link(start="/admin/credit-notes/") is not None
    assert invoice.link(start=f"{final}/void") is None


def test_the_same_form_sent_twice_makes_one_note(admin: Any, final: str, world: Any) -> None:
    for scope in ({"scope": "amount", "amount": "12.50"}, {"scope": "lines", "amount_1": "5"}, {"scope": "full"}):
        confirm = review(admin, final, **scope).form(action=NEW)
        admin.submit(confirm)
        assert "was already made; nothing was credited twice" in admin.submit(confirm).text
    with acting(world.app):
        assert sql("SELECT count(*), sum(total) FROM credit_notes") == [(3, 5_000)]
    assert "Credited" in admin.open(final).text


def test_chosen_lines_are_credited_by_quantity_and_amount(admin: Any, final: str) -> None:
    page = review(admin, final, scope="lines", quantity_1="250", amount_2="10")
    # A quarter of $20.00, and $10.00 of the work.
    assert "Credit $15.00" in page.text
    page = admin.submit(page.form(action=NEW), button="Credit $15.00")
    lines = rows(admin, page.link(start="/admin/credit-notes/").href)
    assert [(line["quantity"], line["total"]) for line in lines] == [("250", "5.00"), ("", "10.00")]


def test_going_back_to_the_form_keeps_what_was_typed(admin: Any, final: str) -> None:
    page = admin.submit(review(admin, final, scope="lines", quantity_1="250").form(action=NEW), button="Change it")
    assert page.status == 200
    fields = page.form(action=NEW).fields
    assert (fields["quantity_1"], fields["scope"], fields["reason"].strip()) == ("250", "lines", "Outage")


@pytest.mark.parametrize(
    ("values", "field", "sentence"),
    [
        ({"scope": "amount", "amount": "50.01"}, "amount", "at most what is left of the invoice"),
        ({"scope": "amount", "amount": "12.505"}, "amount", "USD has 2 decimals"),
        ({"scope": "amount", "amount": "-1"}, "amount", "more than nothing"),
        ({"scope": "amount", "amount": "twelve"}, "amount", "is not a number"),
        ({"scope": "amount"}, "amount", "Enter an amount"),
        ({"scope": "lines"}, "scope", "at one line at least"),
        ({"scope": "full", "amount_2": "5"}, "scope", "choose them here"),
        ({"scope": "lines", "amount_2": "30.01"}, "amount_2", "at most what is left of the line"),
        ({"scope": "lines", "quantity_1": "1000.5"}, "quantity_1", "at most 1000"),
        ({"scope": "lines", "quantity_1": "1", "amount_1": "1"}, "quantity_1", "not both"),
        ({"scope": "full", "reason": " "}, "reason", "Say why"),
    ],
)
def test_what_does_not_fit_is_named_and_the_form_keeps_it(
    admin: Any, final: str, values: dict[str, str], field: str, sentence: str
) -> None:
    page = review(admin, final, **values)
    assert page.status == 422
    assert sentence in page.text
    assert page.link(start=f"#{field}") is not None
    kept = page.form(action=NEW).fields
    assert all(kept[name].strip() == value.strip() for name, value in values.items())


def test_figures_that_changed_meanwhile_are_refused(admin: Any, final: str) -> None:
    whole = review(admin, final, scope="full").form(action=NEW)
    admin.submit(review(admin, final, scope="amount", amount="1").form(action=NEW))
    page = admin.submit(whole)
    assert page.status == 409
    assert "Nothing was done; look again" in page.text


def test_a_paid_invoice_asks_where_the_money_goes(admin: Any, final: str, world: Any) -> None:
    assert "refund" not in admin.open(final + NEW).form(action=NEW).fields
    with acting(world.app):
        sql("UPDATE invoices SET payment_state = 'paid', amount_paid = amount_due, paid_at = now() WHERE number <> ''")
    page = review(admin, final, scope="full", refund="stripe")
    assert "Refunded through Stripe" in page.text
    page = admin.submit(page.form(action=NEW))
    assert "Refund on its way" in page.text


def test_a_draft_is_not_credited(admin: Any, world: Any) -> None:
    page = admin.open(world.draft + NEW)
    assert page.status == 409
    assert "only a final invoice is credited" in page.text


def test_an_invoice_is_written_off_with_a_reason(admin: Any, final: str, world: Any) -> None:
    form = admin.open(f"{final}/write-off").form(action="/write-off")
    assert admin.submit(form).status == 422
    page = admin.submit(form, {"reason": "insolvent"})
    assert "is written off" in page.text
    assert "Written off" in page.text
    assert page.link(start=f"{final}/write-off") is None
    assert admin.open(f"{final}/write-off").status == 409


def test_issuing_anew_takes_the_items_along_and_both_pages_say_so(admin: Any, final: str) -> None:
    form = admin.open(f"{final}/void").form(action="/void")
    page = admin.submit(form, {"reason": "wrong address"}, button="Void and issue anew, with its one-off items")
    assert "Replaces" in page.text
    assert "Work" in page.text
    assert page.data["data-total-minor"] == "5000"
    old = admin.open(final)
    assert "Replaced by" in old.text
    assert page.link(start=final) is not None
    assert old.link(start=page.url) is not None


def test_voiding_alone_leaves_the_items_where_they_are(admin: Any, final: str) -> None:
    page = admin.submit(admin.open(f"{final}/void").form(action="/void"), {"reason": "wrong"})
    assert "is void" in page.text
    others = {link.href for link in page.links if re.fullmatch("/admin/invoices/[0-9a-f-]{36}", link.href)} - {final}
    replacement = admin.open(*others)
    assert replacement.data["data-total-minor"] == "2000"


@pytest.mark.parametrize("role", ["support", "billing_operations"])
def test_who_may_not_void_may_not_credit_or_write_off(as_staff: Callable[[str], Any], final: str, role: str) -> None:
    browser = as_staff(role)
    for address in (final + NEW, f"{final}/write-off"):
        assert browser.open(address).status == 404
    page = browser.open(final)
    assert page.link(start=final + NEW) is None


def test_the_files_hold_every_note(admin: Any, final: str, world: Any) -> None:
    admin.submit(review(admin, final, scope="amount", amount="12.50").form(action=NEW))
    for address in ("/admin/credit-notes.csv", f"/admin/credit-notes.csv?invoice={world.last_month}"):
        [row] = rows(admin, address)
        assert (row["total"], row["off_due"], row["reason"], row["issued_by"]) == ("12.50", "12.50", "Outage", "admin")
    assert rows(admin, f"/admin/credit-notes.csv?invoice={world.this_month}") == []


def test_the_customer_sees_the_note_what_is_still_due_and_the_files(
    admin: Any, customer: Any, final: str, world: Any
) -> None:
    admin.submit(review(admin, final, scope="amount", amount="12.50").form(action=NEW))
    browser = type(admin)(customer)
    page = browser.open(f"/invoices/{world.last_month}")
    assert "Partly credited" in page.text
    assert "$37.50 due" in page.text
    note = browser.open(page.link(start="/credit-notes/").href)
    assert note.status == 200
    assert "Taken off what was due" in note.text
    assert "Outage" in note.text
    [row] = rows(browser, "/credit-notes.csv")
    assert (row["Total"], row["Off what was due"]) == ("12.50", "12.50")
    assert [line["Total"] for line in rows(browser, f"{note.url}.csv")] == ["5.00", "7.50"]
    document = customer.get(f"{note.url}.json").get_json()
    assert document["document"]["total"] == 1_250
    for browser_of, address in ((customer, note.url), (admin.client, f"/admin{note.url}")):
        answer = browser_of.get(f"{address}.pdf")
        assert answer.mimetype == "application/pdf"
        paper = " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(answer.data)).pages)
        for words in (document["document"]["number"], "Credited $12.50", "Reason: Outage", "Taken off what was due"):
            assert words in " ".join(paper.split()), words
        assert browser_of.get(f"{address}.pdf", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    issued = document["document"]["issued_on"][:4]
    with zipfile.ZipFile(io.BytesIO(customer.get(f"/invoices/year-{issued}.zip").data)) as archive:
        number = document["document"]["number"]
        assert {f"credit-note-{number}.pdf", f"credit-note-{number}.json"} <= set(archive.namelist())
        assert f"{number}," in archive.read("index.csv").decode()
        assert "-12.50" in archive.read("index.csv").decode()
    # Staff pages are none for customers, and what is not theirs is not there.
    assert customer.get(f"/admin{note.url}").status_code == 404
    assert customer.get(f"/credit-notes/{uuid4()}").status_code == 404


def test_another_organizations_note_is_not_there(admin: Any, customer: Any, final: str, world: Any) -> None:
    page = admin.submit(review(admin, final, scope="full").form(action=NEW))
    address = page.url.removeprefix("/admin")
    assert customer.get(address).status_code == 200
    with acting(world.app):
        sql("UPDATE memberships SET organization_id = :id", id=make_organization("rival").id)
    for ending in ("", ".csv", ".json", ".pdf"):
        assert customer.get(address + ending).status_code == 404
    assert customer.get(f"/credit-notes.csv?invoice={world.last_month}").status_code == 404
