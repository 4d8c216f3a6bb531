"""Refunds and disputes keep Stripe's rules: never more than was received, and a bank's word is final."""

import pytest
import stripe

from tests.sandbox.test_sandbox_invoices import finalized, refused


@pytest.fixture
def intent(client):
    """The payment intent of a paid invoice of 12.00."""
    customer = client.v1.customers.create({"name": "Acme", "payment_method": "pm_card_visa"}).id
    invoice = client.v1.invoices.pay(finalized(client, customer, 1200).id)
    [payment] = client.v1.invoice_payments.list({"invoice": invoice.id, "status": "paid"}).data
    return payment.payment.payment_intent


def test_no_more_is_refunded_than_was_received(client, intent):
    assert client.v1.refunds.create({"payment_intent": intent, "amount": 500}).status == "succeeded"
    refused(client.v1.refunds.create, {"payment_intent": intent, "amount": 701})
    refused(client.v1.refunds.create, {"payment_intent": intent, "amount": 0})
    assert client.v1.refunds.create({"payment_intent": intent}).amount == 700
    assert refused(client.v1.refunds.create, {"payment_intent": intent}).code == "charge_already_refunded"
    charges = [event.data.object for event in client.v1.events.list({"type": "charge.refunded"}).data]
    assert [(charge.amount_refunded, charge.refunded) for charge in charges] == [(1200, True), (500, False)]


def test_a_refund_with_the_same_key_is_made_once(client, intent):
    for _ in range(2):
        client.v1.refunds.create({"payment_intent": intent, "amount": 5}, {"idempotency_key": "one"})
    assert len(client.v1.refunds.list({"payment_intent": intent}).data) == 1


def test_a_refund_that_fails_can_be_made_again(client, sandbox, intent):
    made = client.v1.refunds.create({"payment_intent": intent})
    sandbox.ctl("dashboard", {"action": "fail_refund", "refund": made.id})
    assert client.v1.refunds.retrieve(made.id).status == "failed"
    assert client.v1.refunds.create({"payment_intent": intent}).amount == 1200


def test_a_dispute_is_opened_and_closed_by_the_bank(client, sandbox, intent):
    [payment] = client.v1.invoice_payments.list({"payment": {"type": "payment_intent", "payment_intent": intent}}).data
    made = sandbox.ctl("dashboard", {"action": "dispute", "invoice": payment.invoice})
    assert (made["status"], made["amount"]) == ("needs_response", 1200)
    assert made["evidence_details"]["due_by"] > made["created"]
    sandbox.ctl("dashboard", {"action": "close_dispute", "dispute": made["id"], "outcome": "won"})
    [found] = client.v1.disputes.list({"payment_intent": intent}).data
    assert found.status == "won"


def test_the_refund_of_a_credit_note_is_named_by_it(client, intent):
    [payment] = client.v1.invoice_payments.list().data
    note = client.v1.credit_notes.create({"invoice": payment.invoice, "amount": 300, "refund_amount": 300})
    [refund] = client.v1.refunds.list({"payment_intent": intent}).data
    assert (note.refunds[0].refund, refund.amount) == (refund.id, 300)


def test_what_is_unknown_is_refused(client):
    refused(client.v1.refunds.create, {"payment_intent": "pi_none"})
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.retrieve("re_none")
