"""A customer leaves a card at Stripe: the pages there are opened once, and what is kept is what Stripe says."""

import urllib.parse
import urllib.request
from dataclasses import replace
from datetime import date

import pytest

from portal.core.lifecycle import PaymentState
from portal.infra.db import transaction
from portal.organizations.collecting import set_collection_method
from portal.payments import gateway
from portal.payments.method_models import PaymentMethod
from portal.payments.methods import how_paid, method_of
from portal.payments.opening import Page, PageNotOpened, open_page
from portal.payments.receiving import store_event
from tests.factories import at_once, make_final, make_organization, reload, sql
from tests.payments.conftest import examine, open_rows, work

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("books")]
VISA, DECLINES_LATER, DECLINES_NOW = "4242424242424242", "4000000000000341", "4000000000000002"


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def submit(address, **fields):
    """Send a form of the sandbox's pages; the status and where it leads."""
    opener = urllib.request.build_opener(_Stay)
    try:
        with opener.open(address, urllib.parse.urlencode(fields).encode(), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Location") or error.read().decode()


def enter_card(address, number=VISA, month="12", year="2030"):
    return submit(address, number=number, month=month, year=year)


def deliver(sandbox):
    """Bring every event that Stripe has to the portal, and have it applied."""
    with transaction():
        for event in sandbox.events():
            store_event(event)
    work()


def stored(organization):
    with transaction():
        found = method_of(organization.id)
        return found.words if found else None


def test_a_card_that_is_entered_becomes_the_default_and_is_known_here(app, sandbox):
    acme = make_organization()
    address = open_page(acme.id, Page.SETUP)
    assert address.startswith(f"{sandbox.url}/checkout/cs_")
    status, back = enter_card(address)
    assert (status, back) == (303, f"{app.config['SETTINGS'].portal_url}/payment?back=kept")
    deliver(sandbox)
    assert stored(acme) == "Visa •••• 4242, expires 12/2030"
    [customer] = sandbox.ledger()["customers"]
    [method] = sandbox.ledger()["payment_methods"]
    assert customer["invoice_settings"]["default_payment_method"] == method["id"]
    assert customer["metadata"]["organization_id"] == str(acme.public_id)
    deliver(sandbox)
    assert sql("SELECT count(*) FROM audit_entries WHERE action = 'payment method changed'") == [(1,)]
    assert examine() == []


def test_the_customer_and_the_page_are_each_asked_for_once_with_stored_keys(sandbox):
    acme = make_organization()
    open_page(acme.id, Page.SETUP)
    open_page(acme.id, Page.PORTAL)
    assert sandbox.calls() == ["POST /v1/customers", "POST /v1/checkout/sessions", "POST /v1/billing_portal/sessions"]
    keys = [call["idempotency_key"] for call in sandbox.ledger()["calls"]]
    assert sql("SELECT idempotency_key FROM stripe_calls ORDER BY id") == [(key,) for key in keys]
    assert open_rows() == 0
    final = make_final(acme, "10.00")
    work()
    assert reload(final).stripe_id
    assert len(sandbox.ledger()["customers"]) == 1


def test_what_is_charged_automatically_is_charged_to_the_card(sandbox):
    acme = make_organization()
    with transaction():
        set_collection_method(acme.id, "charge_automatically")
    enter_card(open_page(acme.id, Page.SETUP))
    deliver(sandbox)
    invoice = make_final(acme, "12.00")
    work()
    deliver(sandbox)
    assert reload(invoice).payment_state == PaymentState.PAID


def test_a_card_that_is_declined_later_leaves_the_invoice_open(sandbox):
    acme = make_organization(collection_method="charge_automatically")
    enter_card(open_page(acme.id, Page.SETUP), DECLINES_LATER)
    deliver(sandbox)
    invoice = make_final(acme, "12.00")
    work()
    deliver(sandbox)
    assert reload(invoice).payment_state == PaymentState.FAILED


def test_a_card_that_is_refused_at_once_changes_nothing(sandbox):
    acme = make_organization()
    status, page = enter_card(open_page(acme.id, Page.SETUP), DECLINES_NOW)
    assert status == 402
    assert "Your card was declined." in page
    deliver(sandbox)
    assert stored(acme) is None


def test_the_card_that_was_set_up_last_stays_the_default_in_whatever_order_events_come(sandbox):
    acme = make_organization()
    enter_card(open_page(acme.id, Page.SETUP), VISA)
    sandbox.ctl("clock", {"advance_seconds": 5})
    enter_card(open_page(acme.id, Page.SETUP), "5555555555554444", "1", "2031")
    for event in reversed(sandbox.events()):
        with transaction():
            store_event(event)
        work()
    assert stored(acme) == "Mastercard •••• 4444, expires 01/2031"
    [customer] = sandbox.ledger()["customers"]
    newest = max(sandbox.ledger()["payment_methods"], key=lambda each: each["created"])
    assert customer["invoice_settings"]["default_payment_method"] == newest["id"]


def test_a_card_that_is_removed_at_stripe_is_gone_here(sandbox):
    acme = make_organization()
    enter_card(open_page(acme.id, Page.SETUP))
    deliver(sandbox)
    [method] = sandbox.ledger()["payment_methods"]
    assert submit(f"{open_page(acme.id, Page.PORTAL)}/remove", method=method["id"])[0] == 303
    detached = [each for each in sandbox.events() if each["type"] == "payment_method.detached"]
    with transaction():
        assert [store_event(each) for each in detached] == [True]
    work()
    assert stored(acme) is None
    assert sql("SELECT state FROM stripe_events ORDER BY id DESC LIMIT 1") == [("applied",)]


def test_events_about_customers_of_others_are_ignored(sandbox):
    make_organization()
    foreign = {"id": "pm_1", "object": "payment_method", "customer": "cus_foreign"}
    for number, (kind, subject) in enumerate({
        "payment_method.attached": foreign,
        "payment_method.detached": {**foreign, "customer": None},
        "customer.updated": {"id": "cus_foreign", "object": "customer"},
        "checkout.session.completed": {"id": "cs_1", "object": "checkout.session", "customer": ["cus_foreign"]},
    }.items()):  # fmt: skip
        with transaction():
            store_event({"id": f"evt_{number}", "type": kind, "data": {"object": subject}})
    work()
    assert sql("SELECT DISTINCT state FROM stripe_events") == [("ignored",)]
    assert sandbox.calls() == []


def test_a_reading_that_is_older_than_what_is_stored_changes_nothing(sandbox):
    acme = make_organization()
    enter_card(open_page(acme.id, Page.SETUP))
    deliver(sandbox)
    sql("UPDATE payment_methods SET read_at = now() + interval '1 hour', last4 = '0000'")
    with transaction():
        [event] = [each for each in sandbox.events() if each["type"] == "payment_method.attached"]
        store_event({**event, "id": "evt_again"})
    work()
    assert stored(acme) == "Visa •••• 0000, expires 12/2030"


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("customers", "500_before"),
        ("customers", "reset_after"),
        ("checkout/sessions", "html_502"),
        ("checkout/sessions", "html_502_after"),
        ("checkout/sessions", "429"),
        ("checkout/sessions", "missing_field:id"),
    ],
)
def test_while_stripe_does_not_answer_a_sentence_says_so_and_the_next_try_goes_on(sandbox, path, mode):
    acme = make_organization()
    sandbox.fault(f"POST /v1/{path}", mode)
    with pytest.raises(PageNotOpened, match="does not answer just now"):
        open_page(acme.id, Page.SETUP)
    if mode == "500_before":  # Stripe keeps that error for the key: only time shows that nothing was made.
        return
    address = open_page(acme.id, Page.SETUP)
    ledger = sandbox.ledger()
    assert address == ledger["checkout_sessions"][0]["url"]
    assert (len(ledger["customers"]), len(ledger["checkout_sessions"])) == (1, 1)
    assert open_rows() == 0


def test_while_the_circuit_is_open_nothing_is_sent(sandbox):
    acme = make_organization()
    sql(
        "INSERT INTO stripe_circuit (id, failures, opened_at, retry_at) VALUES (1, 5, now(), now() + interval '1 hour')"
    )
    with pytest.raises(PageNotOpened, match="does not answer just now"):
        open_page(acme.id, Page.SETUP)
    assert sandbox.calls() == []


def test_what_stripe_refuses_is_not_asked_for_ever(sandbox):
    acme = make_organization()
    sandbox.fault("POST /v1/checkout/sessions", "400")
    with pytest.raises(PageNotOpened, match="did not take this"):
        open_page(acme.id, Page.SETUP)
    assert open_rows() == 0
    assert open_page(acme.id, Page.SETUP)


def test_two_clicks_at_once_make_one_page(app, sandbox):
    acme = make_organization()

    def click():
        try:
            return open_page(acme.id, Page.SETUP)
        except PageNotOpened as refusal:
            return refusal

    answers = at_once(app, click, click)
    assert any(isinstance(each, str) for each in answers)
    assert len(sandbox.ledger()["customers"]) == 1


@pytest.mark.parametrize(
    ("address", "base", "leads_there"),
    [
        ("https://checkout.stripe.com/c/pay/cs_1", None, True),
        ("https://billing.stripe.com/p/session/1", None, True),
        ("http://checkout.stripe.com/c/pay", None, False),
        ("https://checkout.stripe.com.example.net/", None, False),
        ("https://checkout.stripe.com@example.net/", None, False),
        ("https://example.net/?https://checkout.stripe.com", None, False),
        ("//checkout.stripe.com/", None, False),
        ("javascript:alert(1)", None, False),
        ("https://[", None, False),
        (None, None, False),
        ("http://127.0.0.1:12111/checkout/cs_1", "http://127.0.0.1:12111", True),
        ("http://127.0.0.1:12112/checkout/cs_1", "http://127.0.0.1:12111", False),
        ("https://checkout.stripe.com/c/pay/cs_1", "http://127.0.0.1:12111", False),
    ],
)
def test_only_an_address_of_stripe_or_of_the_sandbox_is_followed(app, monkeypatch, address, base, leads_there):
    monkeypatch.setitem(app.config, "SETTINGS", replace(app.config["SETTINGS"], stripe_api_base=base))
    assert gateway.is_its_page(address) is leads_there


def test_an_address_that_leads_elsewhere_is_not_handed_on(sandbox, monkeypatch):
    monkeypatch.setattr(gateway, "page_origins", lambda: gateway.STRIPE_PAGES)
    with pytest.raises(PageNotOpened, match="is not followed"):
        open_page(make_organization().id, Page.SETUP)


TODAY = date(2026, 11, 22)
CARD = {"stripe_id": "pm_1", "kind": "card", "brand": "visa", "last4": "4242", "exp_month": 11, "exp_year": 2026}


@pytest.mark.parametrize(
    ("collection", "method", "days", "sentence"),
    [
        ("send_invoice", None, 14, "You pay each invoice within 14 days."),
        ("send_invoice", CARD, 1, "You pay each invoice within 1 day."),
        ("send_invoice", None, 0, "You pay each invoice at once."),
        ("charge_automatically", CARD, 14, "charged automatically to Visa •••• 4242, expires 11/2026."),
        ("charge_automatically", {**CARD, "exp_month": 10}, 14, "which has expired: set up another one."),
        ("charge_automatically", None, 14, "there is no payment method yet"),
        (
            "charge_automatically",
            {"stripe_id": "pm_2", "kind": "sepa_debit", "last4": "3000"},
            14,
            "to Sepa debit •••• 3000.",
        ),
        ("charge_automatically", {"stripe_id": "pm_3", "kind": "link"}, 14, "to Link."),
    ],
)
def test_how_invoices_are_paid_is_said_in_a_sentence(collection, method, days, sentence):
    organization = make_organization(collection_method=collection)
    found = PaymentMethod(**method) if method else None
    assert sentence in how_paid(organization, found, days_until_due=days, today=TODAY)
