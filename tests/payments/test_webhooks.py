"""Webhooks: verified over the raw bytes, stored once, and applied by looking again."""

import json
import time
from itertools import permutations

import pytest

from portal.core.lifecycle import PaymentState, SyncState
from portal.infra.db import transaction
from portal.payments.settling import take_over
from tests.factories import NOW, acting, make_final, make_organization, reload, sql
from tests.payments.conftest import SECRET, examine, open_rows, signed, work
from tests.statements import statements

EVENT = {
    "id": "evt_1",
    "object": "event",
    "type": "invoice.paid",
    "livemode": False,
    "data": {"object": {"id": "in_nobody", "object": "invoice", "metadata": {}}},
}
BODY = json.dumps(EVENT).encode()


@pytest.fixture
def post(app, clean_database, clean_redis, sandbox):
    """Sends a body as Stripe would, outside any context of the test's own."""

    def send(body=BODY, header=None, **more):
        headers = {} if header == "none" else {"Stripe-Signature": header or signed(body)}
        return app.test_client().post(
            "/webhooks/stripe", data=body, headers=headers, content_type="application/json", **more
        )

    return send


def stored(app):
    with acting(app):
        return sql("SELECT event_id, state FROM stripe_events ORDER BY id")


def test_a_signed_event_is_stored_and_answered_at_once(app, post, sandbox):
    answer = post()
    assert (answer.status_code, answer.data) == (204, b"")
    assert stored(app) == [("evt_1", "stored")]
    assert sandbox.calls() == []


FORGED = {
    "no signature": "none",
    "an empty one": "",
    "another secret": lambda: signed(BODY, secret="whsec_other"),
    "the test scheme only": lambda: signed(BODY, scheme="v0"),
    "another body": lambda: signed(BODY + b" "),
    "no time": lambda: "v1=" + signed(BODY).partition("v1=")[2],
    "a time that is none": lambda: signed(BODY).replace("t=", "t=x"),
    "another time": lambda: "t=1," + signed(BODY).partition(",")[2],
    "six minutes ago": lambda: signed(BODY, at=time.time() - 360),
    "a day ahead": lambda: signed(BODY, at=time.time() + 86_400),
    "six minutes ahead": lambda: signed(BODY, at=time.time() + 360),
    "only words": "t=,v1=,,=,",
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_what_stripe_did_not_sign_just_now_is_refused_and_nothing_is_stored(app, post, forged):
    header = forged() if callable(forged) else forged
    answer = post(header=header or "v1=")
    assert answer.status_code == 400
    assert answer.get_json()["code"] == "bad_webhook"
    assert stored(app) == []
    with acting(app):
        assert open_rows() == 0


BODIES = {
    "not UTF-8": b'{"id": "evt_\xff", "type": "x"}',
    "not JSON": b"hello",
    "nothing": b"",
    "a list": b"[]",
    "a text": b'"evt_1"',
    "null": b"null",
    "no id": b'{"type": "invoice.paid"}',
    "no type": b'{"id": "evt_1"}',
    "an id that is no text": b'{"id": 1, "type": "invoice.paid"}',
    "cut short": BODY[:-5],
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_signed_body_that_is_no_event_is_refused(app, post, body):
    answer = post(body)
    assert answer.status_code == 400
    assert stored(app) == []


@pytest.mark.parametrize(
    "data", [None, [], "x", {"object": None}, {"object": []}, {"object": {"metadata": None}}, {"object": {"id": None}}]
)
def test_an_event_of_a_strange_shape_is_stored_and_ignored(app, post, data):
    body = json.dumps({**EVENT, "data": data}).encode()
    assert post(body).status_code == 204
    with acting(app):
        work()
        assert sql("SELECT state FROM stripe_events") == [("ignored",)]
        assert sql("SELECT count(*) FROM outbox WHERE dead_at IS NOT NULL OR finished_at IS NULL") == [(0,)]


def test_a_body_that_is_too_large_is_refused(app, post):
    body = json.dumps({**EVENT, "padding": "x" * 600_000}).encode()
    assert post(body).status_code == 413
    assert stored(app) == []


def test_a_flood_of_forged_events_costs_no_statement(app, post):
    with statements(app) as asked:
        answers = {post(header="t=1,v1=00").status_code for _ in range(50)}
    assert answers == {400}
    assert asked == []


def test_while_a_secret_is_replaced_both_are_valid(app, post, monkeypatch):
    from dataclasses import replace

    both = replace(app.config["SETTINGS"], stripe_webhook_secrets=("whsec_new", SECRET))
    monkeypatch.setitem(app.config, "SETTINGS", both)
    assert post(header=signed(BODY)).status_code == 204
    assert post(header=signed(BODY, secret="whsec_new")).status_code == 204
    double = f"{signed(BODY, secret='whsec_gone')},{signed(BODY).partition(',')[2]}"
    assert post(header=double).status_code == 204
    assert post(header=signed(BODY, secret="whsec_gone")).status_code == 400


def test_the_raw_bytes_are_what_is_verified(app, post):
    """Another spelling of the same JSON has another signature."""
    spaced = json.dumps(EVENT, indent=2).encode()
    assert post(spaced, header=signed(BODY)).status_code == 400
    assert post(spaced).status_code == 204


def test_an_event_that_comes_twenty_times_counts_once(app, post):
    assert {post().status_code for _ in range(20)} == {204}
    assert len(stored(app)) == 1
    with acting(app):
        assert sql("SELECT count(*) FROM outbox WHERE kind = 'apply_stripe_event'") == [(1,)]


def test_a_webhook_needs_no_form_token_and_no_other_method_is_taken(app, post):
    assert post().status_code == 204
    assert app.test_client().get("/webhooks/stripe").status_code == 405


def test_an_event_of_an_invoice_that_is_not_ours_is_ignored(app, post, sandbox):
    post()
    with acting(app):
        work()
        assert sql("SELECT state, note FROM stripe_events") == [("ignored", "not about an invoice of ours")]
    assert sandbox.calls() == []


@pytest.fixture
def sent(app, clean_database, clean_redis, sandbox):
    """An invoice of 12.00 that is open at Stripe."""
    with acting(app):
        invoice = make_final(make_organization(), "12.00")
        work()
        reload(invoice)
    return invoice


def deliver(app, post, event):
    body = json.dumps(event).encode()
    assert post(body).status_code == 204
    with acting(app):
        work()


def facts(app, invoice):
    with acting(app):
        [row] = sql(
            "SELECT payment_state, sync_state, stripe_status, amount_paid, paid_at IS NOT NULL, payment_message"
            " FROM invoices WHERE id = :id",
            id=invoice.id,
        )
        return tuple(row)


def test_a_paid_invoice_becomes_paid_here(app, post, sandbox, sent):
    sandbox.act("pay", invoice=sent.stripe_id)
    paid = next(event for event in sandbox.events() if event["type"] == "invoice.paid")
    deliver(app, post, paid)
    assert facts(app, sent) == ("paid", "synced", "paid", 1200, True, None)
    with acting(app):
        assert examine() == []
        assert sql("SELECT state FROM stripe_events") == [("applied",)]
        [(actor, before, after)] = sql(
            "SELECT actor_kind, before, after FROM audit_entries WHERE action = 'payment changed'"
        )
        assert (actor, before["payment_state"], after["payment_state"]) == ("job", "open", "paid")


def test_an_event_of_the_other_mode_is_ignored_even_if_it_names_our_invoice(app, post, sandbox, sent):
    event = {**EVENT, "livemode": True, "data": {"object": {"id": sent.stripe_id, "metadata": {}}}}
    deliver(app, post, event)
    assert stored(app) == [("evt_1", "ignored")]
    assert facts(app, sent)[0] == PaymentState.OPEN


def test_a_late_failure_never_takes_back_a_payment(app, post, sandbox, sent):
    sandbox.act("pay", invoice=sent.stripe_id, outcome="declines")
    sandbox.act("pay", invoice=sent.stripe_id)
    events = {event["type"]: event for event in sandbox.events()}
    deliver(app, post, events["invoice.paid"])
    deliver(app, post, events["invoice.payment_failed"])
    assert facts(app, sent)[0] == "paid"
    with acting(app):
        assert examine() == []


def test_an_old_reading_that_is_applied_late_changes_nothing(app, post, sandbox, sent):
    """Two workers read the invoice, before and after it was paid; the one that read first writes last."""
    sandbox.act("pay", invoice=sent.stripe_id, outcome="declines")
    [before] = sandbox.invoices(sent.public_id)
    sandbox.act("pay", invoice=sent.stripe_id)
    [after] = sandbox.invoices(sent.public_id)
    with acting(app):
        for reading in (after, before):
            with transaction():
                take_over(sent.id, reading, now=NOW, event_type="invoice.payment_failed")
        assert examine() == []
    assert facts(app, sent)[:3] == ("paid", "synced", "paid")


def test_a_failed_payment_says_what_to_do_and_a_later_one_is_taken(app, post, sandbox, sent):
    sandbox.act("pay", invoice=sent.stripe_id, outcome="declines")
    deliver(app, post, sandbox.events()[-1])
    state, _, status, paid, at, message = facts(app, sent)
    assert (state, status, paid, at) == ("failed", "open", 0, False)
    assert "another card" in message
    sandbox.act("pay", invoice=sent.stripe_id)
    deliver(app, post, sandbox.events()[-1])
    assert facts(app, sent) == ("paid", "synced", "paid", 1200, True, None)


def test_a_payment_that_its_owner_must_confirm_is_shown_as_such(app, post, sandbox, sent):
    sandbox.act("pay", invoice=sent.stripe_id, outcome="requires_action")
    deliver(app, post, next(e for e in sandbox.events() if e["type"] == "invoice.payment_action_required"))
    assert facts(app, sent)[0] == "action_required"


def test_in_whatever_order_five_events_come_the_end_is_the_same(app, post, sandbox, sent):
    sandbox.act("pay", invoice=sent.stripe_id, outcome="declines")
    sandbox.act("pay", invoice=sent.stripe_id)
    wanted = ["invoice.created", "invoice.updated", "invoice.finalized", "invoice.payment_failed", "invoice.paid"]
    events = {event["type"]: event for event in sandbox.events()}
    for number, order in enumerate(list(permutations(wanted))[::11]):
        for name in order:
            deliver(app, post, {**events[name], "id": f"evt_{number}_{name}"})
        assert facts(app, sent)[:3] == ("paid", "synced", "paid"), order
    with acting(app):
        assert examine() == []


def test_a_webhook_that_comes_before_our_own_call_returned_is_matched_by_our_id(app, post, sandbox, sent):
    with acting(app):
        sql("UPDATE invoices SET stripe_id = NULL, sync_state = 'unknown', synced_at = NULL WHERE id = :id", id=sent.id)
    sandbox.act("pay", invoice=sent.stripe_id)
    deliver(app, post, sandbox.events()[-2])
    assert facts(app, sent)[0] == "paid"


def test_a_second_invoice_that_names_ours_does_not_pay_it(app, post, sandbox, sent):
    """Somebody copied our metadata to another invoice: it is not the one whose id we keep."""
    event = {**EVENT, "data": {"object": {"id": "in_copy", "metadata": {"invoice_id": str(sent.public_id)}}}}
    deliver(app, post, event)
    assert facts(app, sent)[0] == "open"
    with acting(app):
        assert sql("SELECT state FROM stripe_events") == [("ignored",)]


def test_an_invoice_voided_in_the_dashboard_is_flagged_and_not_made_again(app, post, sandbox, sent):
    sandbox.act("void", invoice=sent.stripe_id)
    deliver(app, post, sandbox.events()[-1])
    assert facts(app, sent)[:3] == ("open", "mismatch", "void")
    assert len(sandbox.invoices()) == 1


def test_a_payment_of_another_total_is_flagged_and_not_taken_for_ours(app, post, sandbox, sent):
    sandbox.act("edit", invoice=sent.stripe_id, force=True, changes={"total": 700})
    sandbox.act("pay", invoice=sent.stripe_id)
    sandbox.act("edit", invoice=sent.stripe_id, force=True, changes={"total": 700})
    deliver(app, post, next(e for e in sandbox.events() if e["type"] == "invoice.paid"))
    state, sync, *_ = facts(app, sent)
    assert (state, sync) == ("open", SyncState.MISMATCH)


def test_an_invoice_written_off_at_stripe_can_still_be_paid(app, post, sandbox, sent):
    sandbox.act("mark_uncollectible", invoice=sent.stripe_id)
    deliver(app, post, sandbox.events()[-1])
    assert facts(app, sent)[0] == PaymentState.UNCOLLECTIBLE
    sandbox.act("pay", invoice=sent.stripe_id)
    deliver(app, post, sandbox.events()[-1])
    assert facts(app, sent)[0] == "paid"


@pytest.mark.fault
def test_while_stripe_does_not_answer_the_event_waits(app, post, sandbox, sent):
    sandbox.act("pay", invoice=sent.stripe_id)
    for mode in ("429", "html_502", "reset_after", "garbage_body", "missing_field:status"):
        sandbox.fault("GET /v1/invoices/*", mode)
    paid = next(event for event in sandbox.events() if event["type"] == "invoice.paid")
    deliver(app, post, paid)
    assert facts(app, sent)[0] == "paid"


def test_if_every_webhook_is_lost_the_sweeper_sees_the_payment(app, sandbox, sent):
    from datetime import timedelta

    from portal.infra import clock
    from portal.payments.sweeping import sweep_open_invoices

    sandbox.act("pay", invoice=sent.stripe_id)
    with acting(app):
        soon = clock.now() + timedelta(minutes=6)
        assert sweep_open_invoices(now=clock.now(), every=timedelta(minutes=5)) == 0  # it was sent just now
        assert sweep_open_invoices(now=soon, every=timedelta(minutes=5)) == 1
        assert sweep_open_invoices(now=soon, every=timedelta(minutes=5)) == 1
        assert sql("SELECT count(*) FROM outbox WHERE kind = 'look_again_at_stripe'") == [(1,)]
        work()
        assert examine() == []
        assert sweep_open_invoices(now=soon, every=timedelta(minutes=5)) == 0
    assert facts(app, sent) == ("paid", "synced", "paid", 1200, True, None)


def test_a_draft_status_that_an_early_webhook_brought_does_not_stay(app, post, sandbox, clean_database):
    """`invoice.created` is applied while the sync is still adding lines, and no later webhook ever comes."""
    with acting(app):
        invoice = make_final(make_organization(), "12.00")
        sandbox.fault("POST /v1/invoices/*/add_lines", "429")
        work(rounds=1)
    deliver_only = next(event for event in sandbox.events() if event["type"] == "invoice.created")
    body = json.dumps(deliver_only).encode()
    assert post(body).status_code == 204
    with acting(app):
        [(event_row,)] = sql("SELECT id FROM outbox WHERE kind = 'apply_stripe_event'")
        from portal.infra import outbox

        outbox.run(event_row)
        assert reload(invoice).stripe_status == "draft"
        work()
        assert reload(invoice).stripe_status == "open"
