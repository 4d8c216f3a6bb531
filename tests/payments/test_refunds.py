"""Refunds are made once, whoever starts them and whatever breaks; refunds and disputes at Stripe show here in words."""

from itertools import permutations
from uuid import uuid4

import pytest

from portal.core.errors import InvalidInput, InvalidTransition
from portal.core.lifecycle import PaymentState
from portal.infra.db import transaction
from portal.invoicing.credit_notes import Wish, issue_credit_note
from portal.payments.receiving import store_event
from portal.payments.refunding import refundable, start_refund
from portal.payments.settling import take_over
from portal.went_back import went_back_of
from tests.factories import NOW, at_once, make_final, make_organization, reload, sql
from tests.payments.conftest import examine, open_rows, work

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("books")]


def deliver(sandbox, *only):
    with transaction():
        for event in sandbox.events():
            if not only or event["type"] in only:
                store_event(event)
    work()


@pytest.fixture
def paid(sandbox):
    """A final invoice of 12.00 USD, paid at Stripe."""
    return make_paid(sandbox)


def make_paid(sandbox, currency="USD"):
    invoice = make_final(make_organization(currency=currency), "12.00")
    work()
    sandbox.act("pay", invoice=reload(invoice).stripe_id)
    deliver(sandbox)
    invoice = reload(invoice)
    assert invoice.payment_state == PaymentState.PAID
    return invoice


def refund(invoice, amount, **more):
    values = {"amount": amount, "reason": "broken", "by": "Ada", "form_token": uuid4(), "now": NOW, **more}
    with transaction():
        return start_refund(invoice.id, **values)


def words(invoice):
    with transaction():
        return went_back_of(reload_in(invoice))


def reload_in(invoice):
    from portal.invoicing.queries import lock_invoice

    return lock_invoice(invoice.id)


def state(invoice):
    return reload(invoice).payment_state


def test_a_part_and_then_the_rest_are_refunded(sandbox, paid):
    refund(paid, 500)
    work()
    assert state(paid) == PaymentState.PAID
    assert reload(paid).payment_word == "partly_refunded"
    assert words(paid).summary == "Partly refunded: $5.00 of $12.00."
    refund(paid, 700)
    work()
    assert state(paid) == PaymentState.REFUNDED
    assert (reload(paid).payment_word, reload(paid).amount_refunded) == ("refunded", 1200)
    assert words(paid).summary == "Refunded: $12.00."
    assert [each[1] for each in words(paid).history] == ["Refunded $5.00", "Refunded $7.00"]
    assert sorted(each["amount"] for each in sandbox.ledger()["refunds"]) == [500, 700]
    deliver(sandbox)
    assert sql("SELECT count(*) FROM refunds") == [(2,)]
    assert examine() == []


@pytest.mark.parametrize("amount", [0, -1, 1201])
def test_more_than_is_left_is_refused(paid, amount):
    with pytest.raises(InvalidInput, match="at most 12.00 USD"):
        refund(paid, amount)
    refund(paid, 1)
    with pytest.raises(InvalidInput, match="at most 11.99 USD"):
        refund(paid, 1200)


def test_what_is_not_paid_is_not_refunded(sandbox):
    invoice = make_final(make_organization(), "12.00")
    work()
    with pytest.raises(InvalidTransition):
        refund(invoice, 1)


def test_a_reason_is_needed(paid):
    with pytest.raises(InvalidInput, match="Say why"):
        refund(paid, 1, reason="  ")


def test_a_form_that_is_sent_twice_refunds_once(sandbox, paid):
    token = uuid4()
    assert refund(paid, 500, form_token=token).id == refund(paid, 500, form_token=token).id
    work()
    assert refund(paid, 500, form_token=token).stripe_id
    assert len(sandbox.ledger()["refunds"]) == 1


def test_two_at_once_never_give_back_more_than_was_paid(app, sandbox, paid):
    answers = at_once(app, lambda: refund(paid, 800), lambda: refund(paid, 800))
    assert sorted(type(each).__name__ for each in answers) == ["InvalidInput", "Refund"]
    work()
    assert [each["amount"] for each in sandbox.ledger()["refunds"]] == [800]


@pytest.mark.parametrize(
    "mode", ["reset_after", "html_502", "html_502_after", "garbage_body", "429", "lock_timeout", "missing_field:id"]
)
def test_whatever_breaks_there_is_one_refund(sandbox, paid, mode):
    sandbox.fault("POST /v1/refunds", mode)
    refund(paid, 500)
    work()
    assert [each["amount"] for each in sandbox.ledger()["refunds"]] == [500]
    assert sql("SELECT state, stripe_id IS NOT NULL FROM refunds") == [("succeeded", True)]
    assert open_rows() == 0
    assert examine() == []


def test_a_refund_whose_answer_is_an_error_that_stripe_keeps_is_found_there(sandbox, paid):
    sandbox.fault("POST /v1/refunds", "500_after")
    refund(paid, 500)
    work()
    assert len(sandbox.ledger()["refunds"]) == 1
    assert sql("SELECT outcome FROM stripe_calls WHERE step = 'refund'") == [("adopted",)]
    assert sql("SELECT state FROM refunds") == [("succeeded",)]


def test_what_stripe_refuses_is_shown_to_staff_and_counts_no_more(sandbox, paid):
    sandbox.act("refund", invoice=paid.stripe_id)  # all of it, before we hear of it
    refund(paid, 500)
    work()
    assert sql("SELECT state FROM refunds WHERE created_by IS NOT NULL") == [("dead",)]
    deliver(sandbox)
    assert state(paid) == PaymentState.REFUNDED
    assert [each[1] for each in words(paid).history] == ["Refunded $12.00"]
    with transaction():
        history = went_back_of(reload_in(paid), for_staff=True).history
    assert any("was not made: Stripe refused" in each[1] for each in history)
    assert examine() == []


def test_a_refund_that_was_made_at_stripe_is_shown(sandbox, paid):
    sandbox.act("refund", invoice=paid.stripe_id, amount=300)
    deliver(sandbox)
    assert words(paid).summary == "Partly refunded: $3.00 of $12.00."
    assert sql("SELECT amount, created_by, state FROM refunds") == [(300, None, "succeeded")]
    with transaction():
        assert refundable(reload_in(paid)) == 900


def test_a_refund_that_the_bank_does_not_take_can_be_made_again(sandbox, paid):
    refund(paid, 1200)
    work()
    assert state(paid) == PaymentState.REFUNDED
    [made] = sandbox.ledger()["refunds"]
    sandbox.act("fail_refund", refund=made["id"])
    deliver(sandbox)
    assert state(paid) == PaymentState.PAID
    assert words(paid).history[0][1] == "Refund of $12.00 failed: the bank did not take it"
    assert (reload(paid).payment_word, reload(paid).amount_refunded) == ("paid", 0)
    with transaction():
        assert refundable(reload_in(paid)) == 1200
    assert examine() == []


@pytest.mark.parametrize(
    ("outcome", "ends", "says"),
    [
        ("won", PaymentState.PAID, "Dispute over $12.00 won: the payment stays"),
        ("lost", PaymentState.REFUNDED, "Dispute over $12.00 lost: it went back to the customer"),
    ],
)
def test_a_dispute_is_shown_until_the_bank_decides(sandbox, paid, outcome, ends, says):
    made = sandbox.act("dispute", invoice=paid.stripe_id)
    deliver(sandbox)
    assert state(paid) == PaymentState.DISPUTED
    assert words(paid).summary.startswith("Disputed at the bank: $12.00, to be answered until ")
    with pytest.raises(InvalidTransition):
        refund(paid, 1)
    with transaction():
        # Whoever reads the invoice itself meanwhile finds it paid; that ends no dispute.
        take_over(paid.id, sandbox.invoices(paid.public_id)[0], now=NOW)
    assert state(paid) == PaymentState.DISPUTED
    sandbox.act("close_dispute", dispute=made["id"], outcome=outcome)
    deliver(sandbox)
    assert state(paid) == ends
    assert [each[1] for each in words(paid).history] == [says]
    assert examine() == []


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_in_whatever_order_events_come_the_end_is_the_same(sandbox, order):
    paid = make_paid(sandbox)
    sandbox.act("refund", invoice=paid.stripe_id, amount=200)
    made = sandbox.act("dispute", invoice=paid.stripe_id)
    sandbox.act("close_dispute", dispute=made["id"], outcome="lost")
    kinds = ("charge.refunded", "charge.dispute.created", "charge.dispute.closed")
    for place in order:
        deliver(sandbox, kinds[place])
    assert state(paid) == PaymentState.REFUNDED
    assert sql("SELECT count(*) FROM refunds") == sql("SELECT count(*) FROM disputes") == [(1,)]
    assert sql("SELECT count(*) FROM audit_entries WHERE action = 'refunded'") == [(1,)]


def test_the_refund_of_a_credit_note_is_not_counted_twice(sandbox, paid):
    with transaction():
        issue_credit_note(paid.id, Wish(amount=500), reason="x", by="Ada", form_token=uuid4(), now=NOW, refund=True)
    work()
    deliver(sandbox)
    assert len(sandbox.ledger()["refunds"]) == 1
    assert sql("SELECT count(*) FROM refunds") == [(0,)]
    with transaction():
        assert refundable(reload_in(paid)) == 700
    refund(paid, 700)
    work()
    assert state(paid) == PaymentState.REFUNDED
    assert examine() == []


def test_events_about_payments_of_others_are_ignored(sandbox):
    for number, subject in enumerate(({"payment_intent": "pi_foreign"}, {"payment_intent": None}, {})):
        with transaction():
            store_event({"id": f"evt_{number}", "type": "charge.refunded", "data": {"object": subject}})
    work()
    assert sql("SELECT DISTINCT state FROM stripe_events") == [("ignored",)]
    assert open_rows() == 0


def test_the_doctor_finds_more_given_back_than_was_paid(paid):
    sql(
        "INSERT INTO refunds (public_id, organization_id, invoice_id, amount, created_at, stripe_id)"
        " SELECT gen_random_uuid(), organization_id, id, 1201, now(), 're_1' FROM invoices"
    )
    assert [each for each in examine() if "given back more than was paid" in each]
