"""Drafts, lines, finalizing and settling follow Stripe's rules."""

import pytest
import stripe


def refused(call, *args):
    with pytest.raises(stripe.InvalidRequestError) as caught:
        call(*args)
    return caught.value


def finalized(client, customer, *amounts, **fields):
    """A finalized invoice of these amounts."""
    invoice = client.v1.invoices.create(
        {"customer": customer, "currency": "usd", "pending_invoice_items_behavior": "exclude", **fields}
    )
    client.v1.invoices.add_lines(invoice.id, {"lines": [{"amount": amount} for amount in amounts]})
    return client.v1.invoices.finalize_invoice(invoice.id)


def test_added_lines_make_the_total(client, draft):
    invoice = client.v1.invoices.retrieve(draft)
    assert (invoice.status, invoice.total, invoice.amount_due, invoice.number) == ("draft", 1200, 1200, None)
    assert [line.amount for line in invoice.lines.data] == [1000, 200]
    assert invoice.livemode is False
    assert invoice.hosted_invoice_url is None


def test_a_line_keeps_what_it_was_given(client, draft):
    period = {"start": 1790812800, "end": 1793491200}
    given = {
        "amount": 5,
        "description": "Übertrag & mehr",
        "period": period,
        "metadata": {"item_id": "9", "0": "z"},
    }
    client.v1.invoices.add_lines(draft, {"lines": [given]})
    line = client.v1.invoices.line_items.list(draft).data[-1]
    assert (line.amount, line.description, line.currency) == (5, given["description"], "usd")
    assert line.metadata.to_dict() == given["metadata"]
    assert line.period.to_dict() == period


def test_lines_are_changed_and_removed(client, draft):
    first, second = client.v1.invoices.line_items.list(draft).data
    client.v1.invoices.update_lines(draft, {"lines": [{"id": first.id, "amount": 700}]})
    invoice = client.v1.invoices.remove_lines(draft, {"lines": [{"id": second.id, "behavior": "delete"}]})
    assert (invoice.total, [line.id for line in invoice.lines.data]) == (700, [first.id])


def test_an_invoice_takes_250_lines_and_not_one_more(client, draft):
    client.v1.invoices.add_lines(draft, {"lines": [{"amount": 1}] * 248})
    refused(client.v1.invoices.add_lines, draft, {"lines": [{"amount": 1}]})
    assert len(list(client.v1.invoices.line_items.list(draft, {"limit": 100}).auto_paging_iter())) == 250
    embedded = client.v1.invoices.retrieve(draft).lines
    assert (len(embedded.data), embedded.has_more) == (10, True)


def test_a_bulk_call_with_one_bad_line_adds_none(client, draft):
    refused(client.v1.invoices.add_lines, draft, {"lines": [{"amount": 1}, {"amount": 100_000_000}]})
    assert client.v1.invoices.retrieve(draft).total == 1200


def test_only_drafts_can_be_edited(client, draft):
    invoice = client.v1.invoices.finalize_invoice(draft)
    assert (invoice.status, invoice.amount_remaining, invoice.collection_method) == (
        "open",
        1200,
        "send_invoice",
    )
    assert invoice.due_date > invoice.created
    assert invoice.status_transitions.finalized_at is not None
    for error in (
        refused(client.v1.invoices.add_lines, draft, {"lines": [{"amount": 1}]}),
        refused(client.v1.invoices.update, draft, {"description": "Late"}),
        refused(client.v1.invoices.delete, draft),
    ):
        assert (error.http_status, error.code) == (400, "invoice_not_editable")
    assert client.v1.invoices.update(draft, {"metadata": {"seen": "1"}}).metadata["invoice_id"] == "7"


def test_finalizing_twice_is_refused(client, draft):
    number = client.v1.invoices.finalize_invoice(draft).number
    assert refused(client.v1.invoices.finalize_invoice, draft).http_status == 400
    assert client.v1.invoices.retrieve(draft).number == number


def test_a_deleted_draft_is_gone(client, draft):
    assert client.v1.invoices.delete(draft).deleted is True
    assert refused(client.v1.invoices.retrieve, draft).http_status == 404


def test_a_total_below_the_minimum_is_carried_to_the_next_invoice(client, customer):
    small = finalized(client, customer, 3)
    assert (small.status, small.total, small.amount_due, small.ending_balance) == ("paid", 3, 0, 3)
    assert client.v1.customers.retrieve(customer).balance == 3
    following = finalized(client, customer, 1000)
    assert (following.total, following.starting_balance, following.amount_due) == (1000, 3, 1003)
    client.v1.invoices.void_invoice(following.id)
    assert client.v1.customers.retrieve(customer).balance == 3


def test_zero_is_paid_and_a_negative_total_becomes_credit(client, customer):
    assert finalized(client, customer, 500, -500).status == "paid"
    credit = finalized(client, customer, -400)
    assert (credit.status, credit.amount_due, credit.ending_balance) == ("paid", 0, -400)
    assert finalized(client, customer, 1000).amount_due == 600


@pytest.mark.parametrize(
    ("card", "status", "event"),
    [
        ("succeeds", "paid", "invoice.payment_succeeded"),
        ("declines", "open", "invoice.payment_failed"),
        ("requires_action", "open", "invoice.payment_action_required"),
        ("none", "open", "invoice.payment_failed"),
    ],
)
def test_automatic_collection_does_what_the_card_does(sandbox, client, customer, card, status, event):
    sandbox.ctl(f"customers/{customer}", {"card": card})
    waiting = finalized(client, customer, 1200)
    assert (waiting.status, waiting.attempted) == ("open", False)
    tried = client.v1.invoices.update(waiting.id, {"auto_advance": True})
    assert (tried.status, tried.attempt_count) == (status, 1)
    assert (tried.amount_paid, tried.amount_remaining) == ((1200, 0) if status == "paid" else (0, 1200))
    assert client.v1.events.list().data[0].type == event
    expanded = client.v1.invoices.retrieve(waiting.id, {"expand": ["payments.data.payment.payment_intent"]})
    intent = expanded.payments.data[0].payment.payment_intent
    assert intent.status == {"succeeds": "succeeded", "requires_action": "requires_action"}.get(
        card, "requires_payment_method"
    )
    assert client.v1.payment_intents.retrieve(intent.id).status == intent.status


def test_paying_with_a_declined_card_is_a_card_error(client, draft):
    client.v1.invoices.finalize_invoice(draft)
    with pytest.raises(stripe.CardError) as caught:
        client.v1.invoices.pay(draft, {"payment_method": "pm_card_chargeDeclined"})
    assert (caught.value.http_status, caught.value.code) == (402, "card_declined")
    assert client.v1.invoices.pay(draft, {"payment_method": "pm_card_visa"}).status == "paid"
    assert refused(client.v1.invoices.pay, draft, {"payment_method": "pm_card_visa"}).http_status == 400


def test_an_uncollectible_invoice_can_be_voided(client, draft):
    client.v1.invoices.finalize_invoice(draft)
    assert client.v1.invoices.mark_uncollectible(draft).status == "uncollectible"
    voided = client.v1.invoices.void_invoice(draft)
    assert (voided.status, voided.status_transitions.voided_at is None) == ("void", False)
    refused(client.v1.invoices.void_invoice, draft)


def test_pending_items_come_along_only_when_included(client, customer):
    item = client.v1.invoice_items.create({"customer": customer, "amount": 900, "currency": "usd"})
    fields = {"customer": customer, "currency": "usd"}
    without = client.v1.invoices.create({**fields, "pending_invoice_items_behavior": "exclude"})
    included = client.v1.invoices.create({**fields, "pending_invoice_items_behavior": "include"})
    assert (without.total, included.total) == (0, 900)
    assert client.v1.invoice_items.list({"invoice": included.id}).data[0].id == item.id


def test_a_credit_note_lowers_what_is_open(client, draft):
    client.v1.invoices.finalize_invoice(draft)
    note = client.v1.credit_notes.create({"invoice": draft, "amount": 200, "metadata": {"credit": "1"}})
    assert (note.total, note.type) == (200, "pre_payment")
    assert client.v1.invoices.retrieve(draft).amount_remaining == 1000
    client.v1.credit_notes.create({"invoice": draft, "lines": [_custom_line(1000)]})
    assert client.v1.invoices.retrieve(draft).status == "paid"
    assert len(client.v1.credit_notes.list({"invoice": draft}).data) == 2


def test_a_credit_note_after_payment_says_where_the_money_goes(client, draft, customer):
    client.v1.invoices.finalize_invoice(draft)
    client.v1.invoices.pay(draft, {"paid_out_of_band": True})
    refused(client.v1.credit_notes.create, {"invoice": draft, "amount": 200})
    client.v1.credit_notes.create({"invoice": draft, "amount": 200, "credit_amount": 200})
    assert client.v1.customers.retrieve(customer).balance == -200


def test_a_tax_location_that_is_missing_keeps_the_draft(client, draft):
    client.v1.invoices.update(draft, {"automatic_tax": {"enabled": True}})
    assert refused(client.v1.invoices.finalize_invoice, draft).code == "customer_tax_location_invalid"
    invoice = client.v1.invoices.retrieve(draft)
    assert (invoice.status, invoice.last_finalization_error.code) == (
        "draft",
        "customer_tax_location_invalid",
    )


def test_an_advancing_draft_finalizes_itself_after_an_hour(sandbox, client, draft):
    client.v1.invoices.update(draft, {"auto_advance": True})
    sandbox.ctl("clock", {"advance_seconds": 3500})
    assert client.v1.invoices.retrieve(draft).status == "draft"
    sandbox.ctl("clock", {"advance_seconds": 200})
    assert client.v1.invoices.retrieve(draft).status == "open"


def _custom_line(amount):
    return {"type": "custom_line_item", "description": "Goodwill", "unit_amount": amount, "quantity": 1}
