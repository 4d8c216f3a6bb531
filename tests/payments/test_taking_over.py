"""What Stripe says of a payment is believed only if it is of our total, in our currency, and all that was due."""

import pytest

from portal.core.lifecycle import PaymentState, SyncState
from portal.infra import clock
from portal.infra.db import transaction
from portal.invoicing.queries import invoices_needing_attention
from portal.payments.settling import take_over
from tests.factories import make_final, make_organization, reload
from tests.payments.conftest import examine, work

pytestmark = pytest.mark.usefixtures("books")


@pytest.fixture
def sent(sandbox):
    """An invoice of 12.00 that is open at Stripe."""
    invoice = make_final(make_organization(), "12.00")
    work()
    return reload(invoice)


def tell(sandbox, invoice, **changes):
    """Pay at Stripe, change what it shows, and take that over."""
    sandbox.act("pay", invoice=invoice.stripe_id)
    [theirs] = sandbox.invoices(invoice.public_id)
    with transaction():
        take_over(invoice.id, {**theirs, **changes}, now=clock.now(), event_type="invoice.paid")
    return reload(invoice)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"amount_paid": 1199}, "11.99 USD came in where 12.00 USD was due"),
        ({"amount_paid": 1201}, "12.01 USD came in where 12.00 USD was due"),
        ({"amount_paid": 0}, "0.00 USD came in where 12.00 USD was due"),
        ({"currency": "eur"}, "Stripe's total is 12.00 EUR; ours is 12.00 USD"),
        ({"currency": "jpy"}, "Stripe's total is 1200 JPY; ours is 12.00 USD"),
        ({"total": 1300, "amount_due": 1300, "amount_paid": 1300}, "Stripe's total is 13.00 USD; ours is 12.00 USD"),
    ],
)
def test_another_payment_than_ours_is_not_paid_in_full_and_needs_attention(sandbox, sent, changes, sentence):
    told = tell(sandbox, sent, **changes)
    assert (told.payment_state, told.amount_paid, told.paid_at) == (PaymentState.OPEN, 0, None)
    assert (told.sync_state, told.stripe_status) == (SyncState.MISMATCH, "paid")
    assert sentence in told.sync_message
    with transaction():
        assert [each.id for each in invoices_needing_attention()] == [sent.id]
    assert examine() == []


@pytest.mark.parametrize(
    "changes",
    [
        {},
        # Stripe carries amounts below its minimum to the next invoice, and takes credit off.
        {"starting_balance": 40, "amount_due": 1240, "amount_paid": 1240},
        {"starting_balance": -200, "amount_due": 1000, "amount_paid": 1000},
        {"pre_payment_credit_notes_amount": 300, "amount_due": 900, "amount_paid": 900},
    ],
)
def test_all_that_was_due_is_paid_in_full(sandbox, sent, changes):
    told = tell(sandbox, sent, **changes)
    assert (told.payment_state, told.amount_paid, told.sync_state) == (PaymentState.PAID, 1200, SyncState.SYNCED)
    assert examine() == []


def test_the_same_paid_answer_twice_changes_nothing(sandbox, sent):
    first = tell(sandbox, sent).paid_at
    [theirs] = sandbox.invoices(sent.public_id)
    with transaction():
        take_over(sent.id, theirs, now=clock.now())
    assert reload(sent).paid_at == first
    assert examine() == []
