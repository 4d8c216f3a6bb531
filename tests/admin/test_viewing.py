"""Staff look at pages as a viewer of an organization: read-only, with a banner, in both logs, for 15 minutes."""

from datetime import timedelta

import pytest

from portal.infra import clock
from portal.organizations.viewing import LASTS
from tests.factories import acting, make_final, make_organization, sql

BANNER = "You are viewing as"


def begin(browser, world, reason: str = "Ticket 7"):
    page = browser.open(f"/admin/organizations/{world.organization}/view")
    [form] = [each for each in page.forms if each.button("View as Acme")]
    return browser.submit(form, {"reason": reason}, button="View as Acme")


@pytest.fixture
def support(as_staff, world):
    browser = as_staff("support")
    begin(browser, world)
    return browser


def test_it_begins_with_a_reason_and_both_sides_find_it(app, as_staff, world, customer):
    browser = as_staff("support")
    assert begin(browser, world, reason=" ").status == 422
    page = begin(browser, world)
    assert (page.status, page.url) == (200, "/")
    assert BANNER in page.text
    assert "Draft invoice" in page.text
    with acting(app):
        assert sql("SELECT action, actor_name, reason FROM audit_entries WHERE action LIKE 'began to view%'") == [
            ("began to view as the customer", "support", "Ticket 7")
        ]
    theirs = customer.get("/settings/activity")
    assert "Began to view as the customer" in theirs.text
    assert "Ticket 7" not in theirs.text
    assert "began to view as the customer" in customer.get("/settings/activity.csv").text


@pytest.mark.parametrize("path", ["/usage", "/costs", "/invoices", "/invoices/draft", "/budgets", "/plans"])
def test_the_customers_pages_open(support, path):
    page = support.open(path)
    assert page.status == 200
    assert BANNER in page.text


@pytest.mark.parametrize("path", ["/settings/api-keys", "/settings/members", "/webhooks", "/settings/activity"])
def test_what_is_secret_or_for_owners_is_not_there(support, path):
    assert support.open(path).status == 404


@pytest.mark.parametrize("path", ["/budgets", "/payment/setup", "/exports", "/invoices/draft/changes"])
def test_nothing_can_be_changed(app, support, path):
    token = support.open("/invoices").forms[0].fields["csrf_token"]
    with acting(app):
        before = sql("SELECT count(*) FROM audit_entries")
    answer = support.client.post(path, data={"csrf_token": token, "amount": "1", "watched": ""})
    assert answer.status_code == 403
    assert "changes nothing" in answer.text
    with acting(app):
        assert sql("SELECT count(*) FROM audit_entries") == before


def test_another_organizations_invoice_is_not_there(app, support, world):
    with acting(app):
        theirs = make_final(make_organization("other"), "12.00").public_id
    assert support.open(f"/invoices/{world.last_month}").status == 200
    assert support.open(f"/invoices/{theirs}").status == 404


def test_staff_pages_and_ones_own_account_stay(support):
    assert support.open("/admin").status == 200
    assert "support@example.com" in support.open("/settings/account").text


def test_it_ends_by_a_click(app, support):
    page = support.open("/invoices")
    [form] = [each for each in page.forms if each.action == "/admin/view/end"]
    assert BANNER not in support.submit(form, button="End").text
    assert support.open("/invoices").status == 404
    with acting(app):
        assert sql("SELECT count(*) FROM audit_entries WHERE action = 'ended to view as the customer'") == [(1,)]


def test_it_ends_by_itself(support, monkeypatch):
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + LASTS - timedelta(seconds=5))
    assert support.open("/invoices").status == 200
    monkeypatch.setattr(clock, "now", lambda: now + LASTS + timedelta(seconds=5))
    assert support.open("/invoices").status == 404
    assert support.open("/admin").status == 200


def test_it_ends_with_the_role(app, support):
    with acting(app):
        sql("UPDATE users SET staff_role = NULL WHERE email = 'support@example.com'")
    assert BANNER not in support.open("/settings/account").text
    assert support.open("/invoices").status == 404


def test_customers_cannot_begin(customer, world):
    assert customer.get(f"/admin/organizations/{world.organization}/view").status_code == 404
