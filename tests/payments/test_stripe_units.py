"""Currencies that Stripe counts in other units than ISO 4217: sent right, compared right, or stopped with a reason."""

import pytest

from portal.core.currencies import EXPONENTS
from portal.core.errors import InvalidInput
from portal.core.lifecycle import SyncState
from portal.payments.stripe_units import LARGEST_AMOUNT, from_stripe, is_same, stripe_text, to_stripe
from tests.factories import make_final, make_organization, reload, sql
from tests.payments.conftest import examine, work


@pytest.mark.parametrize(
    ("ours", "currency", "theirs", "text"),
    [
        (1250, "USD", 1250, "12.50 USD"),
        (-1250, "USD", -1250, "-12.50 USD"),
        (500, "JPY", 500, "500 JPY"),
        (1230, "KWD", 1230, "1.230 KWD"),
        (1234, "ISK", 123400, "1234.00 ISK"),
        (-7, "UGX", -700, "-7.00 UGX"),
        (10000, "MGA", 100, "100 MGA"),
        (-20000, "MGA", -200, "-200 MGA"),
    ],
)
def test_amounts_in_stripes_units(ours, currency, theirs, text):
    assert to_stripe(ours, currency) == theirs
    assert from_stripe(theirs, currency) == ours
    assert is_same(ours, theirs, currency)
    assert not is_same(ours, theirs + 1, currency)
    assert not is_same(ours, None, currency)
    assert stripe_text(theirs, currency) == text


def test_what_stripe_says_and_we_cannot_is_refused():
    with pytest.raises(InvalidInput, match=r"Stripe says 12\.34 ISK, which is no whole amount of ISK\."):
        from_stripe(1234, "ISK")


def test_what_is_no_amount_at_all_is_shown_as_it_is():
    assert stripe_text(None, "USD") == "None USD"
    assert stripe_text("12.50", "USD") == "12.50 USD"


@pytest.mark.parametrize(
    ("amount", "currency", "sentence"),
    [
        (10050, "MGA", "100.50 MGA is not whole"),
        (-1, "MGA", "-0.01 MGA is not whole"),
        (1234, "KWD", "a third that is 0"),
        (1, "TND", "a third that is 0"),
        (LARGEST_AMOUNT + 1, "USD", "at most 999999.99 USD"),
        (1_000_000, "ISK", "at most 999999.99 ISK"),
    ],
)
def test_what_would_have_to_be_rounded_or_is_too_large_is_refused(amount, currency, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        to_stripe(amount, currency)


@pytest.mark.parametrize("currency", sorted(EXPONENTS))
def test_an_amount_is_either_sent_exactly_or_refused(currency):
    for amount in (*range(-250, 251), 99_900, 100_000):
        try:
            sent = to_stripe(amount, currency)
        except InvalidInput:
            continue
        assert is_same(amount, sent, currency)
        assert to_stripe(-amount, currency) == -sent


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize(
    ("currency", "amounts", "sent"),
    [
        ("ISK", ("1234", "66"), 130_000),
        ("UGX", ("5000", "-1000"), 400_000),
        ("MGA", ("100", "25.00"), 125),
        ("KWD", ("1.230", "0.770"), 2_000),
        ("JPY", ("1234",), 1_234),
        ("BIF", ("900",), 900),
        ("USD", ("600000.00", "399999.99"), 99_999_999),
    ],
)
def test_an_invoice_goes_to_stripe_in_its_units_and_is_paid(sandbox, currency, amounts, sent):
    invoice = make_final(make_organization(currency=currency), *amounts)
    work()
    [theirs] = sandbox.invoices(invoice.public_id)
    assert (theirs["currency"], theirs["total"], theirs["status"]) == (currency.lower(), sent, "open")
    assert reload(invoice).sync_state == SyncState.SYNCED
    assert examine() == []
    sandbox.act("pay", invoice=theirs["id"])
    sql(
        "INSERT INTO outbox (kind, dedupe_key, arguments)"
        " VALUES ('look_again_at_stripe', 'x', jsonb_build_object('invoice_id', CAST(:id AS bigint)))",
        id=invoice.id,
    )
    work()
    paid = reload(invoice)
    assert (paid.payment_state, paid.amount_paid, paid.sync_state) == ("paid", paid.amount_due, SyncState.SYNCED)
    assert examine() == []


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize(
    ("currency", "amounts", "sentence"),
    [
        ("MGA", ("100.50",), "whole units only"),
        ("MGA", ("0.50", "0.50"), "whole units only"),  # the sum is whole, the lines are not
        ("KWD", ("1.234",), "a third that is 0"),
        ("ISK", ("1000000",), "at most 999999.99 ISK"),
    ],
)
def test_what_stripe_cannot_take_is_stopped_before_anything_is_sent(sandbox, currency, amounts, sentence):
    invoice = make_final(make_organization(currency=currency), *amounts)
    work()
    assert sandbox.calls() == []
    stopped = reload(invoice)
    assert stopped.sync_state == SyncState.DEAD
    assert sentence in stopped.sync_message
    assert stopped.sync_message.endswith("Nothing was sent.")
    assert examine() == []
