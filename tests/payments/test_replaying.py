"""Events once more: applied again on demand, and fetched if no webhook ever brought them."""

import pytest

from portal.core.errors import NotFound
from portal.infra import clock, outbox
from portal.infra.db import transaction
from portal.payments import replaying, undelivered
from portal.payments.undelivered import KEPT_FOR
from tests.factories import make_final, make_organization, reload, sql
from tests.payments.conftest import examine, open_rows, work

pytestmark = pytest.mark.usefixtures("books")


@pytest.fixture
def sent(sandbox):
    """An invoice that is open at Stripe; no webhook of it, or of what follows, arrives."""
    sandbox.ctl("webhooks", {"mode": "drop"})
    invoice = make_final(make_organization(), "12.00")
    work()
    return reload(invoice)


def fetch():
    undelivered.fetch_by_clock(now=clock.now())
    work()


def test_when_all_webhooks_were_lost_what_happened_arrives_by_the_sweeper(sandbox, sent):
    sandbox.act("pay", invoice=sent.stripe_id)
    fetch()
    assert reload(sent).payment_state == "paid"
    stored = {row.event_id for row in sql("SELECT event_id FROM stripe_events")}
    assert stored == {each["id"] for each in sandbox.ledger()["events"]}
    assert examine() == []
    applied = sql("SELECT id, state, applied_at FROM stripe_events ORDER BY id")
    fetch()
    assert sql("SELECT id, state, applied_at FROM stripe_events ORDER BY id") == applied
    assert open_rows() == 0


def test_the_sweeper_reads_all_pages_and_goes_on_where_a_job_ends(sandbox, sent, monkeypatch):
    monkeypatch.setattr(undelivered, "PAGES_PER_JOB", 1)
    now = int(clock.now().timestamp())
    for number in range(230):
        if number % 46 == 0:
            sandbox.ctl("clock", {"now": now - 300 + number})
        sandbox.ctl("events", {"type": "invoice.updated", "object": {"id": f"in_{number}", "object": "invoice"}})
    fetch()
    assert sql("SELECT count(*) FROM stripe_events WHERE object_id LIKE 'in\\_%' AND length(object_id) < 7") == [(230,)]
    jobs = sql("SELECT count(*) FROM outbox WHERE kind = 'fetch_undelivered_events'")[0][0]
    assert jobs >= 3
    assert open_rows() == 0


def test_what_is_delivered_or_older_than_stripe_keeps_is_not_asked_for(sandbox, sent):
    fetch()
    [call] = [call for call in sandbox.ledger()["calls"] if call["path"] == "/v1/events"]
    assert call["params"]["delivery_success"] == "false"
    assert int(call["params"]["created"]["gte"]) >= int((clock.now() - KEPT_FOR).timestamp()) - 60


def test_one_look_is_queued_however_often_the_clock_ticks(sandbox, sent):
    for _ in range(3):
        undelivered.fetch_by_clock(now=clock.now())
    assert open_rows() == 1
    outbox.drain()


def test_a_stored_event_is_applied_again(sandbox, sent):
    fetch()
    sandbox.act("pay", invoice=sent.stripe_id)
    assert reload(sent).payment_state == "open"
    [(event_id,)] = sql("SELECT event_id FROM stripe_events WHERE type = 'invoice.finalized'")
    with transaction():
        assert replaying.replay(event_id).state == "stored"
    work()
    assert reload(sent).payment_state == "paid"
    [(state, before)] = sql(
        "SELECT e.state, a.before FROM stripe_events AS e JOIN audit_entries AS a ON a.subject_id = e.id"
        " WHERE a.action = 'asked to apply an event again'"
    )
    assert (state, before["state"]) == ("applied", "applied")
    assert examine() == []


def test_events_since_a_moment_are_applied_again_and_twice_is_once(sandbox, sent, monkeypatch):
    monkeypatch.setattr(replaying, "EVENTS_PER_TRANSACTION", 2)
    fetch()
    since = sql("SELECT min(received_at) FROM stripe_events")[0][0]
    count = sql("SELECT count(*) FROM stripe_events")[0][0]
    assert count >= 4
    assert replaying.replay_since(since) == count
    assert replaying.replay_since(since) == count
    assert open_rows() == count
    work()
    assert sql("SELECT count(*) FROM stripe_events WHERE state = 'stored'") == [(0,)]
    assert replaying.replay_since(clock.now()) == 0


def test_an_event_that_is_not_stored_is_not_found(sandbox, sent):
    with pytest.raises(NotFound, match="no event evt_nobody"), transaction():
        replaying.replay("evt_nobody")
