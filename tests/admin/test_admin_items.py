"""One-off items: reviewed, added once, removed and put back."""

from typing import Any

import pytest

HELP = {"description": "Migration help", "quantity": "2", "unit_price": "1,234.50"}


def review(admin: Any, world: Any, **values: str) -> Any:
    """Fill the form in and ask for the review."""
    form = admin.open(f"{world.draft}/items/new").form(action="/items/new")
    return admin.submit(form, HELP | values)


def test_the_review_says_what_the_item_does_to_the_draft(admin: Any, world: Any) -> None:
    page = review(admin, world)
    # 2 x $1,234.50 on top of $20.00
    assert "draft goes from $20.00 to $2,489.00" in page.text
    assert "Migration help" not in admin.open(world.draft).text


def test_a_confirmed_item_is_on_the_draft(admin: Any, world: Any) -> None:
    page = admin.submit(review(admin, world).form(action="/items/new"), button="Add $2,469.00")
    assert "Added “Migration help” ($2,469.00). The draft is now $2,489.00." in page.text
    assert page.data["data-total-minor"] == "248900"


def test_the_same_form_sent_twice_adds_one_item(admin: Any, world: Any) -> None:
    confirm = review(admin, world).form(action="/items/new")
    admin.submit(confirm, button="Add $2,469.00")
    page = admin.submit(confirm, button="Add $2,469.00")
    assert "was already added; nothing was added twice" in page.text
    assert page.data["data-total-minor"] == "248900"


def test_going_back_to_the_form_keeps_what_was_typed(admin: Any, world: Any) -> None:
    page = admin.submit(review(admin, world).form(action="/items/new"), button="Change it")
    assert page.status == 200
    assert page.form(action="/items/new").fields["unit_price"] == "1,234.50"


@pytest.mark.parametrize("quantity", ["", "two", "1,00", "-1", "0", "NaN", "1e400", "1" * 40, "0.0000000000001"])
def test_a_bad_quantity_is_named_and_the_form_keeps_its_values(admin: Any, world: Any, quantity: str) -> None:
    page = review(admin, world, quantity=quantity)
    assert page.status == 422
    form = page.form(action="/items/new")
    assert form.fields["quantity"] == quantity
    assert form.fields["description"] == "Migration help"
    assert page.link(start="#quantity") is not None


@pytest.mark.parametrize("reason", ["", "   "])
def test_a_credit_without_a_reason_is_refused(admin: Any, world: Any, reason: str) -> None:
    page = review(admin, world, kind="credit", internal_reason=reason)
    assert page.status == 422
    assert "A credit needs a reason" in page.text


def test_a_credit_lowers_the_draft(admin: Any, world: Any) -> None:
    page = review(admin, world, kind="credit", quantity="1", unit_price="5", internal_reason="Outage")
    assert "draft goes from $20.00 to $15.00" in page.text


def test_an_item_that_no_invoice_could_bill_is_refused(admin: Any, world: Any) -> None:
    page = review(admin, world, quantity="1", unit_price="999,990.00")
    assert page.status == 422
    assert "USD 999999.99, the largest amount of one invoice" in page.text


def test_a_removed_item_can_be_put_back(admin: Any, world: Any) -> None:
    page = admin.submit(review(admin, world).form(action="/items/new"), button="Add $2,469.00")
    page = admin.submit(page.form(action="/remove"))
    assert page.data["data-total-minor"] == "2000"
    page = admin.submit(page.form(action="/restore"), button="Undo")
    assert page.data["data-total-minor"] == "248900"


def test_an_invoice_that_is_final_takes_no_item(admin: Any, world: Any) -> None:
    confirm_item = review(admin, world).form(action="/items/new")
    finalize = admin.submit(admin.open(world.draft).form(action="/finalize")).form(action="/finalize")
    admin.submit(finalize)
    page = admin.submit(confirm_item, button="Add $2,469.00")
    assert page.status == 409
    assert "Nothing was added" in page.text
    assert page.link(start=f"/admin/invoices/{world.this_month}/items/new") is not None
