"""One-off items from a file, and templates that fill their form in."""

import csv
import io
from typing import Any

import pytest

from portal.core.periods import Month
from tests.factories import acting, sql

HEAD = (
    "reference,organization,month,type,description,quantity,unit_price,currency,service_from,service_to,product,reason"
    ",tax_code"
)


def file_of(*rows: str) -> bytes:
    return "\r\n".join((HEAD, *rows)).encode()


def send(admin: Any, body: bytes, **values: str) -> Any:
    token = admin.open("/admin/item-uploads").form(action="/item-uploads").fields["csrf_token"]
    data = {"csrf_token": token, "file": (io.BytesIO(body), "items.csv"), **values}
    return admin._read("/admin/item-uploads", admin.client.post("/admin/item-uploads", data=data))


def items(world: Any) -> list[Any]:
    with acting(world.app):
        return sql(
            "SELECT description, amount, service_start, product, tax_code FROM one_off_items ORDER BY description"
        )


@pytest.fixture
def month(world: Any) -> Month:
    return world.invoice().month


def test_every_row_is_shown_with_its_fate_and_only_confirm_stores(admin: Any, world: Any, month: Month) -> None:
    page = send(
        admin,
        file_of(
            f'r1,acme,{month},charge,"Migration, ""phase 1""",4,"1,150.00",USD,2026-01-02,2026-01-03,Network,,exempt',
            f"r2,acme,{month},credit,Outage,1,25,USD,,,,ticket 7",
            f"r3,nobody,{month},charge,Work,1,1,USD,,,,",
            f"r4,acme,{month},charge,Work,0,1,USD,,,,",
            f"r5,acme,{month},charge,Work,1,1,EUR,,,,",
            f"r6,acme,{month},credit,Work,1,1,USD,,,,",
            "r7,acme,2019-01,charge,Work,1,1,USD,,,,",
            f"r8,acme,{month},charge,Work,1,abc,USD,,,,",
            f"r9,acme,{month},charge,Work,1,1,USD,2026-02-01,2026-01-01,,",
            f"ra,acme,{month},charge,Work,1,1,USD,,,Nothing,",
            f"rc,acme,{month},charge,Work,1,1,USD,,,,,reduced",
            f"rb,acme,{month},charge,One,1,1,USD,,,,",
            f"rb,acme,{month},charge,Two,1,1,USD,,,,",
        ),
    )
    assert page.status == 200
    for words in (
        "2 of 13 rows can be added",
        "$4,575.00",
        "no active organization “nobody”",
        "The quantity is more than zero.",
        "is billed in USD, not “EUR”",
        "A credit needs a reason",
        "no draft of 2019-01",
        "“abc” is not a number",
        "ends on its first day or later",
        "There is no product “Nothing”",
        "There is no tax code “reduced”",
        "stands in more than one row",
    ):
        assert words in page.text, words
    assert items(world) == []
    form = page.form(action="/item-uploads")
    kept = {name: form.fields[name] for name in ("csrf_token", "text")}
    rejected = admin.client.post("/admin/item-uploads/rejected.csv", data=kept)
    rows = list(csv.DictReader(io.StringIO(rejected.text.removeprefix("\ufeff"))))
    assert [row["reference"] for row in rows] == ["r3", "r4", "r5", "r6", "r7", "r8", "r9", "ra", "rc", "rb", "rb"]
    assert rows[0]["problem"].startswith("There is no active organization")
    done = admin.submit(form, button="Confirm: add 2")
    assert "2 added, 0 were added before, 11 rejected." in done.text
    stored = [(row.description, row.amount, str(row.service_start), row.product, row.tax_code) for row in items(world)]
    assert stored == [
        ('Migration, "phase 1"', 460000, "2026-01-02", "Network", "exempt"),
        ("Outage", -2500, "None", None, None),
    ]
    again = admin.submit(form, button="Confirm: add 2")
    assert "Nothing was added: 0 added, 2 were added before, 11 rejected." in again.text
    assert len(items(world)) == 2


def test_a_reference_is_added_once_whatever_file_it_stands_in(admin: Any, world: Any, month: Month) -> None:
    first = send(admin, file_of(f"r1,acme,{month},charge,Work,1,10,USD,,,,"))
    admin.submit(first.form(action="/item-uploads"), button="Confirm: add 1")
    page = send(
        admin,
        file_of(
            f"r1,acme,{month},charge,Work,1,10,USD,,,,a reason that came later",
            f"r2,acme,{month},charge,More,1,5,USD,,,,",
        ),
    )
    assert "1 of 2 rows can be added" in page.text
    assert "Added before" in page.text
    for other in (f"r1,acme,{month},charge,Work,1,11,USD,,,,", f"r1,acme,{month},charge,Work,1,10,USD,,,,,exempt"):
        assert "used for another item" in send(admin, file_of(other)).text
    assert [row.amount for row in items(world)] == [1000]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "missing: reference, organization"),
        (b"\xff\xfe", "not text in UTF-8"),
        (HEAD.encode(), "no rows below"),
        (file_of(*["r,acme,2026-01,charge,Work,1,1,USD,,,,"] * 501), "at most 500 rows"),
        (b"x" * 100_001, "at most 100,000 characters"),
    ],
)
def test_what_is_no_such_file_gets_a_sentence(admin: Any, body: bytes, words: str) -> None:
    page = send(admin, body)
    assert page.status == 422
    assert words in page.text


def test_the_example_is_a_file_that_can_be_read(admin: Any) -> None:
    body = admin.client.get("/admin/item-uploads/example.csv").data
    page = send(admin, body)
    assert page.status == 200
    assert "of 2 rows can be added" in page.text


def test_a_template_fills_the_form_in_and_changes_no_item(admin: Any, world: Any) -> None:
    page = admin.open("/admin/item-templates/new")
    values = {
        "name": "Onboarding",
        "description": "Onboarding workshop",
        "kind": "charge",
        "quantity": "2",
        "unit_price": "450.50",
        "currency": "USD",
        "product": "Network",
        "tax_code": "exempt",
    }
    listed = admin.submit(page.form(action="/item-templates/new"), values, button="Save the template")
    assert "Onboarding workshop" in listed.text
    twice = admin.submit(page.form(action="/item-templates/new"), values, button="Save the template")
    assert (twice.status, "There is a template “Onboarding” already." in twice.text) == (422, True)
    form = admin.open(f"{world.draft}/items/new").form(action="/items/new", button="Use template")
    with acting(world.app):
        [(template,)] = sql("SELECT public_id FROM item_templates")
    filled = admin.open(f"{form.action}?template={template}").form(action="/items/new", button="Review the item")
    assert {name: filled.fields[name] for name in ("description", "quantity", "unit_price", "product", "tax_code")} == {
        "description": "Onboarding workshop",
        "quantity": "2",
        "unit_price": "450.5",
        "product": "Network",
        "tax_code": "exempt",
    }
    period = {"service_from": "2026-01-05", "service_to": "2026-01-06"}
    review = admin.submit(filled, period, button="Review the item")
    assert "goes from $20.00 to $921.00" in review.text
    assert "5–6 Jan 2026" in review.text
    assert "Exempt from tax" in review.text
    admin.submit(review.form(action="/items/new"), button="Add $901.00")
    edited = admin.open(f"/admin/item-templates/{template}").form(action=f"/item-templates/{template}")
    admin.submit(edited, {"unit_price": "500"}, button="Save the template")
    [item] = items(world)
    assert (item.amount, str(item.service_start), item.product, item.tax_code) == (
        90100,
        "2026-01-05",
        "Network",
        "exempt",
    )
    retire = admin.open("/admin/item-templates").form(action="/retire")
    assert "There is no template yet" in admin.submit(retire).text
    assert admin.submit(edited, {"unit_price": "1"}, button="Save the template").status == 409
    with acting(world.app):
        found = sql("SELECT action FROM audit_entries WHERE subject_kind = 'item template' ORDER BY id")
    actions = [row[0] for row in found]
    assert actions == ["made an item template", "changed an item template", "retired an item template"]


def test_support_may_do_none_of_it(as_staff: Any) -> None:
    support = as_staff("support")
    for address in ("/admin/item-uploads", "/admin/item-templates", "/admin/item-templates/new"):
        assert support.open(address).status == 404
