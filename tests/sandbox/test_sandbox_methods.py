"""Cards: left on the hosted page, made the default, removed; and what invoices are charged to."""

import urllib.parse
import urllib.request

import pytest
import stripe

from tests.sandbox.test_sandbox_invoices import finalized


def submit(url, **fields):
    """Send a form and return the page that comes of it, whatever its status."""
    try:
        with urllib.request.urlopen(url, urllib.parse.urlencode(fields).encode()) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()


def opened(client, customer, **more):
    wanted = {"mode": "setup", "customer": customer, "currency": "usd", "success_url": "http://192.0.2.1/", **more}
    return client.v1.checkout.sessions.create(wanted)


def leave_card(client, customer, number="4242 4242 4242 4242", month="12", year="2030"):
    session = opened(client, customer)
    page = submit(session.url, number=number, month=month, year=year)
    return session.id, page


def charged(client, customer):
    return finalized(client, customer, 1200, collection_method="charge_automatically", auto_advance=True)


@pytest.fixture
def customer(client):
    return client.v1.customers.create({"name": "Acme"}).id


def test_a_card_is_kept_and_can_be_read_with_its_session(client, customer):
    id, page = leave_card(client, customer)
    assert "The card is kept." in page
    session = client.v1.checkout.sessions.retrieve(id, {"expand": ["setup_intent.payment_method"]})
    method = session.setup_intent.payment_method
    assert (session.status, session.setup_intent.status) == ("complete", "succeeded")
    assert (method.card.brand, method.card.last4, method.card.exp_month) == ("visa", "4242", 12)
    assert client.v1.customers.payment_methods.list(customer).data[0].id == method.id
    assert client.v1.setup_intents.retrieve(session.setup_intent.id).payment_method == method.id
    kinds = [event.type for event in client.v1.events.list().data]
    assert kinds[:3] == ["checkout.session.completed", "setup_intent.succeeded", "payment_method.attached"]


@pytest.mark.parametrize(
    ("number", "month", "says"),
    [
        ("4000000000000002", "12", "Your card was declined."),
        ("4111", "12", "Your card number is incorrect."),
        ("4242424242424242", "13", "expiration date is invalid"),
        ("4242424242424242", "x", "expiration date is invalid"),
    ],
)
def test_a_card_that_is_not_taken_leaves_the_session_open(client, customer, number, month, says):
    id, page = leave_card(client, customer, number, month)
    assert says in page.replace("&#39;", "'")
    assert client.v1.checkout.sessions.retrieve(id).status == "open"
    assert client.v1.customers.payment_methods.list(customer).data == []


def test_a_session_takes_one_card(client, customer):
    session = opened(client, customer)
    for _ in range(2):
        page = submit(session.url, number="4242424242424242", month="1", year="2031")
    assert "This session is over" in page
    assert len(client.v1.customers.payment_methods.list(customer).data) == 1


@pytest.mark.parametrize(
    ("number", "status"),
    [("4242424242424242", "paid"), ("4000000000000341", "open"), ("4000002760003184", "open")],
)
def test_the_default_card_is_what_is_charged(client, customer, number, status):
    leave_card(client, customer, number)
    assert charged(client, customer).status == "open"
    [method] = client.v1.customers.payment_methods.list(customer).data
    client.v1.customers.update(customer, {"invoice_settings": {"default_payment_method": method.id}})
    assert charged(client, customer).status == status
    whole = client.v1.customers.retrieve(customer, {"expand": ["invoice_settings.default_payment_method"]})
    assert whole.invoice_settings.default_payment_method.card.last4 == number[-4:]


def test_the_customers_own_page_chooses_and_removes(client, customer):
    leave_card(client, customer)
    [method] = client.v1.customers.payment_methods.list(customer).data
    session = client.v1.billing_portal.sessions.create({"customer": customer})
    assert "Pays the invoices" in submit(f"{session.url}/default", method=method.id)
    assert "There is none." in submit(f"{session.url}/remove", method=method.id)
    assert client.v1.customers.retrieve(customer).invoice_settings.default_payment_method is None
    assert client.v1.payment_methods.retrieve(method.id).customer is None
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_methods.detach(method.id)
    assert "no such session" in submit(f"{session.url}/remove", method=method.id)


def test_what_is_unknown_is_refused(client, customer, sandbox):
    for call, *arguments in (
        (client.v1.payment_methods.retrieve, "pm_none"),
        (client.v1.setup_intents.retrieve, "seti_none"),
        (client.v1.checkout.sessions.retrieve, "cs_none"),
        (client.v1.customers.update, customer, {"invoice_settings": {"default_payment_method": "pm_none"}}),
        (client.v1.customers.retrieve, customer, {"expand": ["sources"]}),
        (client.v1.checkout.sessions.create, {"mode": "payment", "customer": customer}),
    ):
        with pytest.raises(stripe.InvalidRequestError):
            call(*arguments)
    assert sandbox.get("/checkout/cs_none")[0] == sandbox.get("/portal/bps_none")[0] == 404
