"""Reminders by the state of the database, with the clock moved by hand."""

from datetime import UTC, date, datetime, timedelta

import pytest

from portal.infra import clock, outbox
from portal.infra.db import transaction
from portal.invoicing.voiding import void_invoice
from portal.invoicing.writing_off import write_off
from portal.mailing.reminding import remind_by_clock
from tests.factories import MONTH, NOW, reload, sql
from tests.mailing.conftest import hear_from_stripe, issue
from tests.payments.conftest import work

SCHEDULE = (-3, 1, 7, 14)
DUE = date(2026, 12, 6)


@pytest.fixture
def invoice(acme, post, monkeypatch):
    """Issued on 22 November 2026, due on 6 December, mailed."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    return issue(acme)


@pytest.fixture
def on(monkeypatch, invoice):
    """Let the clock strike on a day; returns how many reminders it wrote then."""

    def strike(day: date, *, schedule=SCHEDULE, hour: int = 9) -> int:
        moment = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
        monkeypatch.setattr(clock, "now", lambda: moment)
        count = remind_by_clock(now=moment, schedule=schedule)
        outbox.drain()
        work()
        return count

    return strike


def keys() -> list[str]:
    return [
        key.rpartition(":")[2] for (key,) in sql("SELECT dedupe_key FROM mails WHERE kind = 'reminder' ORDER BY id")
    ]


def after(days: int) -> date:
    return DUE + timedelta(days=days)


def test_each_step_is_mailed_once_with_what_the_page_says(on, invoice, post):
    days = [day for step in range(-14, 40) for day in (after(step), after(step))]
    assert sum(map(on, days)) == 4
    assert keys() == ["-3", "1", "7", "14"]
    assert post.subjects[1:] == [
        f"Acme: invoice {invoice.number}, $430.00, is due in 3 days, on 6 Dec 2026",
        *[f"Acme: invoice {invoice.number}, $430.00, overdue since 7 Dec 2026"] * 3,
    ]
    before, late = (mail.get_body(("plain",)).get_content() for mail in post.mails[1:3])
    assert "has not been paid yet: $430.00." in before
    assert "Payment is due on 6 Dec 2026." in before
    assert "Overdue since 7 Dec 2026: payment was due on 6 Dec 2026." in late
    assert invoice.hosted_invoice_url in late


def test_after_a_pause_only_the_latest_step_is_mailed(on):
    assert on(after(9)) == 1
    assert keys() == ["7"]
    assert on(after(30)) == 1
    assert keys() == ["7", "14"]


def test_a_reminder_does_not_come_out_of_the_blue(on):
    assert on(after(14 + 30)) == 0
    assert on(after(14 + 29)) == 1


def test_before_the_day_of_a_step_there_is_nothing(on):
    assert on(after(-4), hour=23) == 0
    assert on(after(0)) == 1
    assert keys() == ["-3"]


def test_a_step_that_was_over_before_the_invoice_could_be_paid_is_left_out(on, invoice):
    sql("ALTER TABLE invoices DISABLE TRIGGER USER") if False else None
    sql("UPDATE invoices SET synced_at = CAST(:day AS date) + interval '10 hours'", day=after(-3))
    assert on(after(-2)) == 0
    assert on(after(1)) == 1


def test_what_is_paid_void_or_written_off_is_never_reminded_of(on, invoice, sandbox, acme):
    others = [issue(acme, month=MONTH.plus(-back)) for back in (1, 2)]
    with transaction():
        void_invoice(others[0].id, reason="x", now=NOW)
        write_off(others[1].id, reason="x")
    sandbox.act("pay", invoice=invoice.stripe_id)
    hear_from_stripe(sandbox)
    assert [on(after(step)) for step in (-3, 1, 7, 14)] == [0, 0, 0, 0]
    assert keys() == []


def test_reminders_stop_when_it_is_paid(on, invoice, sandbox):
    assert on(after(1)) == 1
    sandbox.act("pay", invoice=invoice.stripe_id)
    hear_from_stripe(sandbox)
    assert on(after(7)) == 0


def test_a_reminder_that_waits_for_the_server_is_not_sent_once_it_is_paid(on, invoice, post, sandbox, monkeypatch):
    post.answers["DATA"] = "451 later"
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 12, 7, 9, tzinfo=UTC))
    remind_by_clock(now=clock.now(), schedule=SCHEDULE)
    outbox.drain()
    assert sql("SELECT state FROM mails WHERE kind = 'reminder'") == [("queued",)]
    sandbox.act("pay", invoice=invoice.stripe_id)
    post.answers.clear()
    hear_from_stripe(sandbox)
    assert sql("SELECT state, last_error FROM mails WHERE kind = 'reminder'") == [
        ("not_sent", "Not sent: there is nothing to remind of any more.")
    ]
    assert [subject.partition(":")[2].split()[0] for subject in post.subjects] == ["invoice", "receipt"]


def test_whoever_is_charged_automatically_is_reminded_only_when_it_is_late(on, acme):
    with transaction() as session:
        session.merge(acme).collection_method = "charge_automatically"
    assert on(after(-2)) == 0
    assert on(after(1)) == 1


def test_the_schedule_can_be_empty_or_another(on):
    assert on(after(1), schedule=()) == 0
    assert on(after(0), schedule=(0,)) == 1


def test_a_reminder_that_no_server_takes_is_not_written_again(on, invoice, app, monkeypatch):
    from tests.mailing.conftest import use_server

    use_server(app, monkeypatch, None)
    assert [on(after(1)), on(after(1)), on(after(2))] == [1, 0, 0]
    assert sql("SELECT state FROM mails WHERE kind = 'reminder'") == [("not_sent",)]
    assert reload(invoice).payment_state == "open"
