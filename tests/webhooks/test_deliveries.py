"""Events reach a real receiver, signed, at least once and under one id, whatever the network and the workers do."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from portal.budgets.keeping import Watched, set_budget
from portal.budgets.watching import look
from portal.infra import clock, outbox
from portal.infra.db import transaction
from portal.invoicing.announcing import announce_failed_payment, announce_paid
from portal.invoicing.credit_notes import Wish, issue_credit_note
from portal.invoicing.queries import lock_invoice
from portal.invoicing.voiding import void_invoice
from portal.retention import forget_by_age
from portal.webhooks import endpoints
from portal.webhooks.models import DeliveryState, EventType
from portal.webhooks.telling import Event, tell
from tests.factories import MONTH, NOW, make_final, make_meter, make_organization, make_price, sql, use
from tests.mailing.conftest import join
from tests.payments.conftest import ROOT
from tests.statements import statements
from tests.webhooks.conftest import deliveries, listen, send
from tests.webhooks.test_signing import documented_check

pytestmark = pytest.mark.fault
KILLED = """
import os, sys
from portal import create_app
from portal.config import settings_from_env
from portal.infra import outbox
with create_app(settings_from_env(os.environ)).app_context():
    outbox.run(int(sys.argv[1]))
"""


def told(receiver) -> list[str]:
    return [each["body"].split('"type":"')[1].split('"')[0] for each in receiver.heard]


def test_everything_that_happens_to_an_organizations_documents_is_told_once_and_to_it_alone(app, acme, receiver):
    rival = make_organization("rival")
    listen(app, acme, f"{receiver.url}/ok")
    listen(app, rival, f"{receiver.url}/rival")
    _, secret = listen(app, acme, f"{receiver.url}/void", "invoice.voided")
    first, second = make_final(acme, "430.00"), make_final(acme, "9.00", month=MONTH.previous)
    nothing = make_final(acme, "0.00", month=MONTH.previous.previous)
    with transaction():
        void_invoice(second.id, reason="test", now=NOW)
        issue_credit_note(first.id, Wish(amount=100), reason="late", by="Ada", form_token=uuid4(), now=NOW)
        failed = lock_invoice(first.id)
        failed.payment_state = "failed"
        for _ in range(2):
            announce_failed_payment(failed, attempt=1, next_attempt_at=0)
        announce_paid(failed)
    send()
    send()
    assert sorted(told(receiver)) == sorted(
        [
            *("invoice.finalized", "invoice.finalized", "invoice.finalized", "invoice.paid", "invoice.voided"),
            *("invoice.voided", "credit_note.finalized", "invoice.payment_failed", "invoice.paid"),
        ]
    )
    assert {each["path"] for each in receiver.heard} == {"/ok", "/void"}
    assert {delivery.state for delivery in deliveries()} == {DeliveryState.DELIVERED}
    [voided] = [each for each in receiver.heard if each["path"] == "/void"]
    headers = {name.lower(): value for name, value in voided["headers"].items()}
    assert documented_check()(headers, voided["body"].encode(), secret)
    assert str(second.public_id) in voided["body"]
    both = {each["headers"]["webhook-id"] for each in receiver.heard if str(second.public_id) in each["body"]}
    assert len(both) == 2  # finalized and voided; one id for both endpoints
    assert str(nothing.public_id) in "".join(each["body"] for each in receiver.heard)
    [credited] = [each["body"] for each in receiver.heard if "credit_note.finalized" in each["body"]]
    assert f'"invoice":"{first.public_id}","number":"CN-' in credited


def test_each_threshold_of_a_budget_is_told_once(app, acme, receiver):
    listen(app, acme, f"{receiver.url}/ok", "budget.threshold_reached")
    meter = make_meter()
    make_price(meter)
    use(acme, meter, 9_000)
    with transaction():
        set_budget(acme, Watched(), amount=10_000, thresholds=(50, 80, 100), now=NOW)
    for _ in range(2):
        with transaction():
            look(acme, now=NOW.replace(month=10))
        send()
    assert sorted(each["body"].split('"threshold":')[1][:2] for each in receiver.heard) == ["50", "80"]


def test_a_worker_that_is_killed_before_it_hears_the_answer_sends_the_same_again(
    app, acme, receiver, portal_environment
):
    listen(app, acme, f"{receiver.url}/hang", "invoice.finalized")
    make_final(acme, "430.00")
    [(job,)] = sql("SELECT id FROM outbox WHERE kind = 'send_webhook'")
    environment = {**os.environ, **portal_environment, "WEBHOOK_PRIVATE_ADDRESSES": "yes"}
    worker = subprocess.Popen([sys.executable, "-c", KILLED, str(job)], cwd=ROOT, env=environment)
    try:
        for _ in range(600):
            if receiver.heard:
                break
            time.sleep(0.05)
    finally:
        worker.kill()
    assert worker.wait() == -signal.SIGKILL
    assert [(each.state, each.attempts) for each in deliveries()] == [("pending", 1)]
    (receiver.folder / "answer").touch()
    send()
    assert [(each.state, each.attempts, each.last_answer) for each in deliveries()] == [("delivered", 2, "at last")]
    first, second = receiver.heard
    assert first["headers"]["webhook-id"] == second["headers"]["webhook-id"] == str(deliveries()[0].event_id)
    assert first["body"] == second["body"]
    send()
    assert len(receiver.heard) == 2


def test_what_is_not_taken_is_tried_for_three_days_then_the_endpoint_is_disabled_with_a_mail_and_can_be_replayed(
    app, acme, receiver, runner
):
    for role in ("owner", "developer", "viewer"):
        join(acme, role, role)
    endpoint, _ = listen(app, acme, f"{receiver.url}/status/503", "invoice.finalized")
    make_final(acme, "430.00")
    send()
    [waiting] = deliveries()
    assert (waiting.state, waiting.last_status, waiting.last_answer) == ("pending", 503, "no  thanks")
    assert timedelta(0) < waiting.next_attempt_at - clock.now() <= timedelta(seconds=5)
    sql("UPDATE webhook_deliveries SET begun_at = begun_at - interval '4 days'")
    sql("UPDATE webhook_endpoints SET failing_since = failing_since - interval '4 days'")
    send()
    assert [(each.state, each.attempts) for each in deliveries()] == [("failed", 2)]
    assert sql("SELECT disabled_because FROM webhook_endpoints") == [("It has taken nothing for three days.",)]
    [(job,)] = sql("SELECT id FROM outbox WHERE kind = 'mail_disabled_webhook'")
    outbox.run(job)
    [(mail,)] = sql("SELECT id FROM outbox WHERE kind = 'send_mail'")
    outbox.run(mail)
    [(recipients, text)] = sql("SELECT recipients, body_text FROM mails")
    assert recipients == ["developer@acme.example", "owner@acme.example"]
    assert f"Address: {receiver.url}/status/503" in text
    # While it is disabled nothing is kept for it, and nothing can be sent again.
    make_final(acme, "9.00", month=MONTH.previous)
    assert len(deliveries()) == 1
    refused = runner.invoke(args=["webhooks", "replay", str(waiting.public_id)])
    assert "0 queued; then: The endpoint is disabled" in refused.output
    with transaction():
        endpoints.enable_endpoint(acme.id, endpoint.public_id)
    sql("UPDATE webhook_endpoints SET url = :url", url=f"{receiver.url}/ok")
    assert runner.invoke(args=["webhooks", "replay", "--endpoint", str(endpoint.public_id)]).output == "1 queued.\n"
    send()
    assert [each.state for each in deliveries()] == ["delivered"]
    assert runner.invoke(args=["webhooks", "replay", str(waiting.public_id)]).output == "1 queued.\n"
    send()
    assert len({each["headers"]["webhook-id"] for each in receiver.heard}) == 1
    assert len(receiver.heard) == 4


def test_an_endpoint_that_is_gone_or_removed_gets_nothing_more(app, acme, receiver):
    gone, _ = listen(app, acme, f"{receiver.url}/status/410", "invoice.finalized")
    removed, _ = listen(app, acme, f"{receiver.url}/removed", "invoice.finalized")
    make_final(acme, "430.00")
    with transaction():
        endpoints.remove_endpoint(acme.id, removed.public_id, now=NOW)
    send()
    assert [each["path"] for each in receiver.heard] == ["/status/410"]
    assert {each.state for each in deliveries()} == {"failed"}
    assert sql("SELECT disabled_because FROM webhook_endpoints WHERE removed_at IS NULL") == [
        ("It answered 410 Gone.",)
    ]
    send()
    assert len(receiver.heard) == 1


def test_where_private_addresses_are_not_allowed_nothing_is_called(app, acme, receiver, monkeypatch):
    listen(app, acme, f"{receiver.url}/ok", "invoice.finalized")
    make_final(acme, "430.00")
    monkeypatch.setitem(app.config, "SETTINGS", replace(app.config["SETTINGS"], webhook_private_addresses=False))
    send()
    assert [(each.state, each.last_error) for each in deliveries()] == [("pending", "An address begins with https://.")]
    assert receiver.heard == []


def test_a_secret_is_sealed_and_the_one_before_signs_for_a_day_more(app, acme):
    keys = app.config["SETTINGS"].secret_keys
    endpoint, first = listen(app, acme, "https://hooks.example.com/")
    with transaction():
        second = endpoints.rotate_secret(acme.id, endpoint.public_id, keys=keys, now=NOW)
    assert endpoints.secrets_of(endpoint, keys=keys, now=NOW) == [second, first]
    assert endpoints.secrets_of(endpoint, keys=keys, now=NOW + endpoints.ROTATION_OVERLAP) == [second]
    assert endpoints.secrets_of(endpoint, keys=["another key"], now=NOW) == []
    [(sealed,)] = sql("SELECT sealed_secret FROM webhook_endpoints")
    assert first.encode() not in bytes(sealed)


def test_deliveries_of_long_ago_are_forgotten_but_not_what_waits(app, acme, receiver):
    listen(app, acme, f"{receiver.url}/ok", "invoice.finalized")
    make_final(acme, "430.00")
    settings, later = app.config["SETTINGS"], clock.now() + timedelta(days=91)
    assert forget_by_age(now=later, settings=settings) == {}
    send()
    assert forget_by_age(now=clock.now(), settings=settings) == {}
    assert forget_by_age(now=later, settings=settings) == {"deliveries of webhooks": 1}


def test_a_delivery_whose_job_has_died_has_failed_and_can_be_sent_again(app, acme, receiver):
    listen(app, acme, f"{receiver.url}/ok", "invoice.finalized")
    make_final(acme, "430.00")
    endpoints.tidy_by_clock()
    assert [each.state for each in deliveries()] == ["pending"]
    sql("UPDATE outbox SET dead_at = now() WHERE kind = 'send_webhook'")
    endpoints.tidy_by_clock()
    [failed] = deliveries()
    assert (failed.state, failed.last_error) == ("failed", "The job that sends it has died; send it again.")
    with transaction():
        endpoints.replay(acme.id, failed.public_id, now=clock.now())
    send()
    assert [each.state for each in deliveries()] == ["delivered"]


def test_many_events_are_told_in_few_statements_and_each_once(app, acme, receiver):
    """As a bill run tells them; for nobody it is one statement."""
    events = [Event(acme.id, EventType.PAID, str(number), {"invoice": str(number)}) for number in range(25)]
    with statements(app) as silent, transaction():
        tell(events)
    listen(app, acme, f"{receiver.url}/ok", "invoice.paid")
    with statements(app) as seen, transaction():
        tell(events)
        tell(events)
    assert (len(silent), len(seen)) == (1, 1 + 2 + 2)
    send()
    assert sorted(int(each["body"].split('"invoice":"')[1].split('"')[0]) for each in receiver.heard) == list(range(25))
