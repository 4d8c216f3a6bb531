"""What may be done about a difference: every kind of it, in every state of its invoice, and what pushing it queues."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from portal.core.errors import InvalidInput, InvalidTransition, NotFound
from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.ids import uuid7
from portal.invoicing.voiding import void_invoice
from portal.payments import drift
from portal.payments.comparing import Difference
from portal.payments.drift_models import DriftState, Field
from portal.payments.pushing import Way, push, way_of
from tests.factories import NOW, make_final, make_organization, reload, sql
from tests.payments.conftest import work


@dataclass
class Row:
    """A difference as far as its way depends on it."""

    field: Field
    invoice: SimpleNamespace | None = None
    theirs: str | None = "13.00 USD"
    stripe_id: str | None = "in_1"
    state: DriftState = DriftState.OPEN


def invoice(state: str = "finalized", sync_state: str = "synced", stripe_status: str | None = "open"):
    return SimpleNamespace(state=state, sync_state=sync_state, stripe_status=stripe_status)


STOPPED_DRAFT = invoice(sync_state="mismatch", stripe_status="draft")


@pytest.mark.parametrize(
    ("row", "way"),
    [
        (Row(Field.UNADOPTED), Way.LOOK_AGAIN),
        (Row(Field.DUPLICATE, invoice()), Way.LOOK_AGAIN),
        (Row(Field.EXISTENCE, invoice(sync_state="dead"), stripe_id=None), Way.SYNC_AGAIN),
        (Row(Field.STATUS, invoice()), Way.LOOK_AGAIN),
        (Row(Field.PAYMENT, invoice(), theirs="paid"), Way.LOOK_AGAIN),
        (Row(Field.STATUS, invoice("void"), theirs="open"), Way.VOID_AGAIN),
        (Row(Field.PAYMENT, invoice("void"), theirs="failed"), Way.VOID_AGAIN),
        (Row(Field.LINES, STOPPED_DRAFT), Way.SYNC_AGAIN),
        (Row(Field.TOTAL, STOPPED_DRAFT), Way.SYNC_AGAIN),
        (Row(Field.CURRENCY, invoice(sync_state="dead", stripe_status=None)), Way.SYNC_AGAIN),
    ],
)
def test_what_is_legal_is_done(row, way):
    assert way_of(row) is way


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (Row(Field.UNADOPTED, state=DriftState.GONE), "gone by itself"),
        (Row(Field.EXISTENCE, invoice(), stripe_id=None), "never made anew in silence"),
        (Row(Field.EXISTENCE, invoice(sync_state="dead")), "never made anew in silence"),
        (Row(Field.STATUS, invoice("void"), theirs="paid"), "give the money back"),
        (Row(Field.TOTAL, invoice()), "cannot be changed, there or here"),
        (Row(Field.LINES, invoice(sync_state="mismatch")), "cannot be changed, there or here"),
        (Row(Field.CURRENCY, invoice("void", "dead", "draft")), "cannot be changed, there or here"),
        (Row(Field.CUSTOMER, invoice()), "Whom an invoice at Stripe asks"),
        (Row(Field.DUPLICATE_CUSTOMER), "Delete one of the two customers"),
        (Row(Field.UNMANAGED), "not ours"),
    ],
)
def test_what_is_not_legal_is_refused_in_a_sentence(row, words):
    with pytest.raises(InvalidTransition, match=words):
        way_of(row)


def noted(of, field: Field, **more):
    """A difference of an invoice as a run would note it; its public id."""
    values = {"ours": "void", "theirs": "open", "amount": 0, "currency": of.currency, **more}
    found = Difference(
        organization_id=of.organization_id,
        invoice_id=of.id,
        stripe_id=of.stripe_id,
        stripe_created_at=None,
        field=field,
        **values,
    )
    with transaction():
        drift.note([found], now=NOW)
    [(public_id,)] = sql("SELECT public_id FROM drift")
    return public_id


@pytest.mark.usefixtures("books")
def test_a_voiding_that_was_lost_is_done_again_and_the_difference_is_gone(sandbox):
    void = make_final(make_organization(), "12.00")
    work()
    with transaction():
        void_invoice(void.id, reason="wrong", now=NOW)
    sql("UPDATE outbox SET finished_at = clock_timestamp() WHERE kind = 'void_at_stripe'")
    public_id = noted(reload(void), Field.STATUS)
    with transaction():
        assert push(public_id, by="Ada") is Way.VOID_AGAIN
    work()
    [theirs] = sandbox.invoices(void.public_id)
    assert theirs["status"] == "void"
    assert sql("SELECT state, decided_by FROM drift") == [("pushed", "Ada")]


@pytest.mark.usefixtures("books")
def test_an_invoice_that_stripe_has_no_more_is_missing_there_once_it_is_looked_at_again(sandbox):
    sandbox.fault("POST /v1/invoices/*/add_lines", "wrong_total")
    lost = make_final(make_organization(), "12.00")
    work()
    lost = reload(lost)
    sandbox.act("delete", invoice=lost.stripe_id)
    public_id = noted(lost, Field.PAYMENT, ours="open", theirs="paid")
    with transaction():
        assert push(public_id, by="Ada") is Way.LOOK_AGAIN
    work()
    assert sql("SELECT field, state FROM drift ORDER BY id") == [("payment", "gone"), ("existence", "open")]


@pytest.mark.usefixtures("books")
def test_a_difference_that_there_is_not_is_not_found():
    with pytest.raises(NotFound, match="no such difference"), transaction():
        push(uuid7(), by="Ada")


def test_a_reason_that_is_a_novel_is_refused():
    with pytest.raises(InvalidInput, match="at most 500 characters") as refused:
        drift.decide(uuid7(), DriftState.ACCEPTED, reason="x" * 501, by="Ada", now=clock.now())
    assert refused.value.field == "reason"
