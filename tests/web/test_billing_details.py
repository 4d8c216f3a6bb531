"""What invoices say of their buyer: changed by the customer and by staff, shown on drafts, frozen on final invoices."""

import csv
import io
import json
import re
from collections.abc import Callable

import pypdf
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from portal.infra.db import transaction
from portal.invoicing.draft_notes import set_memo
from portal.invoicing.queries import invoice_of
from portal.invoicing.verifying import verify
from portal.organizations.people import create_user
from portal.organizations.roles import CUSTOMER_ROLES, STAFF_ROLES, Permission
from tests.factories import acting, finalize_now, sql
from tests.web.conftest import PASSWORD, TOKEN, World, assert_flawless, post

SETTINGS = "/settings/billing"
BILLED = {
    "legal_name": "Acme GmbH",
    "address": "Straße 1\r\n\r\n 12345 Köln ",
    "country": "DE",
    "tax_id": "de 123 456 789",
    "purchase_order": "PO-1",
}


def send(browser: FlaskClient, to: str, **values: str) -> TestResponse:
    token = TOKEN.search(browser.get(to).text)
    assert token is not None
    return browser.post(to, data={"csrf_token": token[1], **values})


def text_of(body: bytes) -> str:
    return re.sub(r"\s+", " ", " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(body)).pages))


def test_the_draft_shows_a_change_and_the_final_invoice_keeps_what_it_was(app: Flask, owner: FlaskClient, world: World):
    old = owner.get(f"/invoices/{world.final}.json").data
    assert send(owner, SETTINGS, **BILLED).status_code == 303
    order = f"/invoices/{world.draft}/purchase-order"
    assert send(owner, order, purchase_order="PO-October").status_code == 303
    with acting(app), transaction():
        invoice = invoice_of(world.draft)
        set_memo(invoice.id, "Thank you\nfor building with us")
    said = ("Acme GmbH", "12345 Köln", "Germany", "DE123456789", "PO-October", "for building with us")
    page = owner.get("/invoices/draft?month=2026-10")
    assert_flawless(page)
    paper = text_of(owner.get("/invoices/draft.pdf?month=2026-10").data)
    for words in said:
        assert words in page.text, words
        assert words in paper, words
    with acting(app):
        finalize_now(invoice)
    changed = BILLED | {"legal_name": "Other", "country": "", "tax_id": "", "purchase_order": ""}
    assert send(owner, SETTINGS, **changed).status_code == 303
    page = owner.get(f"/invoices/{world.draft}")
    assert_flawless(page)
    paper = text_of(owner.get(f"/invoices/{world.draft}.pdf").data)
    for words in said:
        assert words in page.text, words
        assert words in paper, words
    frozen = owner.get(f"/invoices/{world.draft}.json").data
    document = json.loads(frozen)["document"]
    assert document["buyer"] == {
        "name": "Acme GmbH",
        "address": "Straße 1\n12345 Köln",
        "country": "DE",
        "tax_id": "DE123456789",
        "purchase_order": "PO-October",
    }
    assert document["memo"] == "Thank you\nfor building with us"
    assert verify(frozen).findings == ()
    [row] = csv.DictReader(io.StringIO(owner.get(f"/invoices/{world.draft}.csv").data.decode("utf-8-sig")))
    assert (row["Customer tax id"], row["Purchase order"]) == ("DE123456789", "PO-October")
    assert owner.get(f"/invoices/{world.final}.json").data == old
    assert post(owner, order, page="/invoices", purchase_order="PO-late").status_code == 409


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tax_id": "DE12"}, "is not a VAT number of this country"),
        ({"country": "EU"}, "Not a valid choice"),
        ({"address": "\n".join("abcdefg")}, "at most 6 lines"),
        ({"purchase_order": "9" * 61}, "at most 60 characters"),
        ({"legal_name": "x" * 201}, "at most 200 characters"),
    ],
)
def test_what_cannot_stand_on_an_invoice_is_refused_at_its_field(app: Flask, owner: FlaskClient, changed, words):
    answer = send(owner, SETTINGS, **(BILLED | changed))
    assert answer.status_code == 422
    assert_flawless(answer)
    assert words in answer.text
    assert f'id="{next(iter(changed))}-error"' in answer.text
    with acting(app):
        assert sql("SELECT 1 FROM organizations WHERE legal_name IS NOT NULL") == []


def test_only_owners_billing_and_staff_of_billing_may_change_it(
    as_person: Callable[[str], FlaskClient], owner: FlaskClient, world: World
):
    may = {role for role, held in (CUSTOMER_ROLES | STAFF_ROLES).items() if Permission.EDIT_BILLING_DETAILS in held}
    assert may == {"owner", "billing", "billing_operations", "finance_lead", "admin"}
    developer = as_person("developer@acme.example")
    assert developer.get(SETTINGS).status_code == 404
    assert developer.get(f"/invoices/{world.draft}/purchase-order").status_code == 404
    assert owner.get(f"/invoices/{world.foreign}/purchase-order").status_code == 404
    assert post(owner, f"/invoices/{world.foreign}/purchase-order", page=SETTINGS).status_code == 404


def test_staff_change_it_too_with_the_memo_and_the_audit_log_says_so(
    app: Flask, as_person: Callable[[str], FlaskClient], world: World
):
    with acting(app), transaction():
        create_user(email="ops@example.com", name="Ops", password=PASSWORD, staff_role="billing_operations")
        acme = invoice_of(world.draft).organization
    staff = as_person("ops@example.com")
    address, notes = f"/admin/organizations/{acme.public_id}/billing-details", f"/admin/invoices/{world.draft}/notes"
    assert_flawless(staff.get(address))
    assert_flawless(staff.get(notes))
    assert send(staff, address, **BILLED).status_code == 303
    assert send(staff, notes, purchase_order="PO-9", memo="x" * 1001).status_code == 422
    assert send(staff, notes, purchase_order="PO-9", memo="Thanks").status_code == 303
    page = staff.get(f"/admin/invoices/{world.draft}")
    assert_flawless(page)
    assert "PO-9" in page.text
    assert "Memo: Thanks" in page.text
    with acting(app):
        actions = [row[0] for row in sql("SELECT action FROM audit_entries WHERE actor_name = 'Ops' ORDER BY id")]
    assert actions == ["changed billing details", "changed purchase order", "changed memo"]


def test_a_reverse_charge_keeps_its_tax_id(app: Flask, owner: FlaskClient):
    with acting(app):
        sql("UPDATE organizations SET tax_treatment = 'reverse_charge', tax_id = 'DE123456789' WHERE slug = 'acme'")
    answer = send(owner, SETTINGS, **(BILLED | {"tax_id": ""}))
    assert answer.status_code == 422
    assert "reverse charge" in answer.text
