"""Events are signed, delivered in order and again; and badly when asked to. Customers pay by hand."""

import time
import urllib.parse
import urllib.request

import pytest
import stripe


@pytest.fixture
def sandbox(serve, receiver):
    return serve(webhook_url=receiver.url)


def pay(sandbox, invoice, outcome, **fields):
    """Press a button of the hosted page, and follow to the page that comes next."""
    data = urllib.parse.urlencode({"outcome": outcome, **fields}).encode()
    with urllib.request.urlopen(f"{sandbox.url}/hosted/{invoice}/pay", data) as answer:
        return answer.read().decode()


def states(sandbox):
    return {event["type"]: event["state"] for event in sandbox.ledger()["events"]}


def test_a_payment_on_the_hosted_page_arrives_as_a_signed_webhook(sandbox, receiver, client, draft):
    url = client.v1.invoices.finalize_invoice(draft).hosted_invoice_url
    status, page = sandbox.get(url.removeprefix(sandbox.url))
    assert status == 200
    for words in ("BP-2026-0007", "12.00 USD", "Acme"):
        assert words in page
    assert "Paid" in pay(sandbox, draft, "succeeds")
    types = [event.type for event in receiver.events(6)]
    assert types == [
        "customer.created", "invoice.created", "invoice.updated", "invoice.finalized", "invoice.paid",
        "invoice.payment_succeeded",
    ]  # fmt: skip
    paid = receiver.events(6)[4]
    assert (paid.data.object.id, paid.data.object.amount_paid, paid.livemode) == (draft, 1200, False)
    assert paid.data.object.metadata["invoice_id"] == "7"
    assert client.v1.invoices.retrieve(draft).status == "paid"


def test_the_hosted_page_declines_and_asks_for_confirmation(sandbox, client, draft):
    client.v1.invoices.finalize_invoice(draft)
    assert "declined" in pay(sandbox, draft, "declines")
    assert "Confirm and pay" in pay(sandbox, draft, "requires_action")
    assert client.v1.invoices.retrieve(draft).attempt_count == 2
    assert client.v1.events.list({"type": "invoice.payment_*"}).data[0].type == "invoice.payment_action_required"


def test_the_hosted_page_links_back_to_this_machine_only(sandbox, client, draft):
    assert sandbox.get(f"/hosted/{draft}")[0] == 404
    client.v1.invoices.finalize_invoice(draft)
    page = pay(sandbox, draft, "succeeds", return_url="http://localhost:5000/invoices/7")
    assert 'href="http://localhost:5000/invoices/7"' in page
    for evil in (
        "https://evil.example/",
        "javascript:alert(1)",
        "http://localhost@evil.example/",
        "//evil.example",
    ):
        assert "Back to" not in sandbox.get(f"/hosted/{draft}?return_url={urllib.parse.quote(evil)}")[1]


def test_a_failed_delivery_is_tried_again_and_reported(sandbox, receiver, client):
    receiver.statuses[:] = [500]
    client.v1.customers.create({"name": "Acme"})
    receiver.events(1)
    time.sleep(0.1)
    assert len(client.v1.events.list({"delivery_success": False}).data) == 1
    first, second = receiver.events(2)
    assert first.id == second.id
    time.sleep(0.1)
    assert client.v1.events.list({"delivery_success": False}).data == []
    assert len(client.v1.events.list({"delivery_success": True}).data) == 1


def test_dropped_events_are_listed_and_redelivered(sandbox, receiver, client, draft):
    receiver.events(3)
    sandbox.ctl("webhooks", {"mode": "drop"})
    client.v1.invoices.finalize_invoice(draft)
    assert states(sandbox)["invoice.finalized"] == "dropped"
    assert [event.type for event in client.v1.events.list({"delivery_success": False}).data] == ["invoice.finalized"]
    assert sandbox.ctl("webhooks/redeliver") == {"redelivered": 1}
    assert receiver.events(4)[-1].type == "invoice.finalized"


def test_events_are_doubled_and_reordered(sandbox, receiver, client):
    sandbox.ctl("webhooks", {"mode": "double"})
    client.v1.customers.create({})
    first, second = receiver.events(2)
    assert first.id == second.id
    sandbox.ctl("webhooks", {"mode": "reorder"})
    made = [client.v1.customers.create({}).id for _ in range(3)]
    arrived = [event.data.object.id for event in receiver.events(5)[2:]]
    assert sorted(arrived) == sorted(made)
    assert arrived != made


def test_a_delivery_signed_in_the_past_does_not_verify(sandbox, receiver, client):
    sandbox.ctl("webhooks", {"signature_offset_seconds": -600})
    client.v1.customers.create({})
    with pytest.raises(stripe.SignatureVerificationError, match="tolerance"):
        receiver.events(1)


def test_a_foreign_event_of_another_version_can_be_sent(sandbox, receiver):
    sandbox.ctl("webhooks", {"api_version": "2020-08-27"})
    sandbox.ctl("events", {"type": "invoice.paid", "object": {"id": "in_foreign"}, "livemode": True})
    (event,) = receiver.events(1)
    assert (event.type, event.livemode, event.api_version) == ("invoice.paid", True, "2020-08-27")
    assert event.data.object.id == "in_foreign"
