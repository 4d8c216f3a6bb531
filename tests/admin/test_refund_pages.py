"""Staff refund a paid invoice: a form, a look, and done once; customers read in words what went back."""

import pytest

from portal.infra.db import transaction
from portal.invoicing.queries import invoice_of
from portal.organizations.queries import organization_of
from tests.factories import MONTH, acting, add, finalize_now, make_draft, sql


@pytest.fixture
def paid(app, world):
    """A paid invoice of 12.00; Stripe itself is left out, tests/payments has that."""
    with acting(app):
        with transaction():
            organization = organization_of(world.organization)
        invoice = make_draft(organization, MONTH.plus(-3))
        add(invoice, "12.00")
        finalize_now(invoice)
        sql(
            "UPDATE invoices SET sync_state = 'synced', stripe_id = 'in_1', stripe_status = 'paid', amount_paid = 1200,"
            " payment_state = 'paid', paid_at = now() WHERE id = :id",
            id=invoice.id,
        )
        sql("UPDATE outbox SET finished_at = now()")
    return invoice.public_id


def addresses(page):
    return {link.href for link in page.links}


def form_of(page, button):
    [form] = [each for each in page.forms if each.button(button)]
    return form


def review(browser, paid, **values):
    page = browser.open(f"/admin/invoices/{paid}/refund")
    return browser.submit(form_of(page, "Review the refund"), values, button="Review the refund")


def refunds(app):
    with acting(app):
        return sql("SELECT amount, reason, created_by, state FROM refunds")


def test_a_refund_is_looked_at_before_it_is_started_and_started_once(app, paid, as_staff):
    finance = as_staff("finance_lead")
    page = finance.open(f"/admin/invoices/{paid}")
    assert f"/admin/invoices/{paid}/refund" in addresses(page)
    looked = review(finance, paid, amount="5.00", reason="Broken for a day")
    assert "Refund $5.00 of" in looked.text
    assert "$7.00" in looked.text
    assert refunds(app) == []
    confirm = form_of(looked, "Refund $5.00")
    done = finance.submit(confirm, button="Refund $5.00")
    assert "is being refunded, once." in done.text
    assert "Refund of $5.00 is on its way" in done.text
    finance.submit(confirm, button="Refund $5.00")
    assert refunds(app) == [(500, "Broken for a day", "finance_lead", "pending")]
    with acting(app):
        assert sql("SELECT count(*) FROM outbox WHERE kind = 'sync_refund'") == [(1,)]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"amount": "12.01", "reason": "x"}, "at most 12.00 USD"),
        ({"amount": "0", "reason": "x"}, "more than nothing"),
        ({"amount": "1.005", "reason": "x"}, "fewer decimals"),
        ({"amount": "lots", "reason": "x"}, "number"),
        ({"amount": "1", "reason": ""}, "Say why"),
    ],
)
def test_what_does_not_fit_is_said_at_the_form(app, paid, as_staff, values, says):
    page = review(as_staff("finance_lead"), paid, **values)
    assert page.status == 422
    assert says in page.text
    assert refunds(app) == []


def test_who_may_not_credit_may_not_refund(app, paid, as_staff):
    support = as_staff("support")
    assert f"/admin/invoices/{paid}/refund" not in addresses(support.open(f"/admin/invoices/{paid}"))
    assert support.open(f"/admin/invoices/{paid}/refund").status == 404


def test_what_is_not_paid_offers_no_refund(app, world, as_staff):
    finance = as_staff("finance_lead")
    assert finance.open(f"/admin/invoices/{world.last_month}/refund").status == 409


def test_the_customer_reads_what_went_back_and_not_what_was_refused(app, paid, customer):
    with acting(app):
        with transaction():
            invoice = invoice_of(paid)
        sql(
            "INSERT INTO refunds (public_id, organization_id, invoice_id, amount, created_at, state, stripe_id,"
            " created_by, form_token, message)"
            " SELECT gen_random_uuid(), :organization, :invoice, amount, now(), state, stripe_id, by, token, 'no'"
            " FROM (VALUES (500, 'succeeded', 're_1', NULL, NULL::uuid), (100, 'dead', NULL, 'Ada', gen_random_uuid()))"
            " AS made (amount, state, stripe_id, by, token)",
            organization=invoice.organization_id,
            invoice=invoice.id,
        )
        sql(
            "INSERT INTO disputes (organization_id, invoice_id, amount, stripe_id, status, opened_at)"
            " VALUES (:organization, :invoice, 700, 'dp_1', 'won', now())",
            organization=invoice.organization_id,
            invoice=invoice.id,
        )
    page = customer.get(f"/invoices/{paid}").text
    for text in ("Partly refunded: $5.00 of $12.00.", "Refunded $5.00", "Dispute over $7.00 won: the payment stays"):
        assert text in page, text
    assert "was not made" not in page


def test_refunds_and_disputes_of_everybody_are_a_page_and_two_files(app, paid, as_staff):
    with acting(app):
        sql(
            "INSERT INTO refunds (public_id, organization_id, invoice_id, amount, created_at, state, stripe_id)"
            " SELECT gen_random_uuid(), organization_id, id, n, now(), 'succeeded', 're_' || n"
            " FROM invoices, generate_series(101, 155) AS n WHERE public_id = :id",
            id=paid,
        )
        sql(
            "INSERT INTO disputes (organization_id, invoice_id, stripe_id, amount, status, opened_at, due_by)"
            " SELECT organization_id, id, 'dp_1', 777, 'needs_response', now(), now() FROM invoices"
            " WHERE public_id = :id",
            id=paid,
        )
    support = as_staff("support")
    page = support.open("/admin/refunds")
    for words in ("To be answered", "$7.77", "$1.55", "At Stripe"):
        assert words in page.text
    assert "$1.05" not in page.text
    [older] = [link for link in page.links if link.label == "Next page"]
    second = support.open(older.href)
    assert "$1.05" in second.text
    assert "$7.77" not in second.text
    refunds_file = support.client.get("/admin/refunds.csv").text
    assert refunds_file.count(",succeeded,") == 55
    assert "1.55,succeeded" in refunds_file
    assert "dp_1" in support.client.get("/admin/disputes.csv").text


def test_without_refunds_the_page_says_so(app, as_staff):
    assert "Nothing has gone back" in as_staff("support").open("/admin/refunds").text
