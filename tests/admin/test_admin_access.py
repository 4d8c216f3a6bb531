"""Who finds the staff pages."""

from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient


def test_somebody_unknown_is_sent_to_sign_in(client: FlaskClient, world: Any) -> None:
    response = client.get("/admin")
    assert response.status_code == 303
    assert response.location == "/sign-in?next=/admin"


def test_a_customer_finds_no_staff_page(customer: FlaskClient, world: Any) -> None:
    for address in ("/admin", "/admin/organizations", "/admin/invoices", world.draft, "/admin/sync"):
        assert customer.get(address).status_code == 404


def test_support_looks_but_finds_nothing_that_changes(as_staff: Callable[[str], Any], world: Any) -> None:
    support = as_staff("support")
    page = support.open(world.draft)
    assert page.status == 200
    assert all(form.method == "get" or form.action in ("/sign-out", "/theme") for form in page.forms)
    for step in ("finalize", "items/new", "void"):
        assert support.open(f"{world.draft}/{step}").status == 404


def test_support_cannot_finalize_by_force(as_staff: Callable[[str], Any], admin: Any, world: Any) -> None:
    form = admin.submit(admin.open(world.draft).form(action="/finalize")).form(action="/finalize")
    support = as_staff("support")
    token = support.open("/admin").forms[0].fields["csrf_token"]
    page = support.submit(form, {"csrf_token": token})
    assert page.status == 404
    assert world.invoice().state == "draft"


def test_operations_add_items_but_do_not_finalize(as_staff: Callable[[str], Any], world: Any) -> None:
    operations = as_staff("billing_operations")
    assert operations.open(f"{world.draft}/items/new").status == 200
    assert operations.open(f"{world.draft}/finalize").status == 404
