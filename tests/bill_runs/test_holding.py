"""Holding until a day, giving somebody a draft to look at, and the keys of the queue."""

from datetime import timedelta

import pytest

from portal.bill_runs.reviewing import approve, hold
from portal.core.errors import InvalidInput
from portal.infra.db import transaction
from tests.admin.conftest import admin, as_staff, world  # noqa: F401 - the pages' people and their world
from tests.bill_runs.conftest import books, customers, on, start, states, work  # noqa: F401 - books is a fixture
from tests.bill_runs.test_pages import decide, month, run, sql_in  # noqa: F401 - month and run are fixtures
from tests.bill_runs.test_stages import item, seen
from tests.factories import NOW


def test_what_is_held_until_a_day_is_in_review_again_from_then_on(books):  # noqa: F811
    first, second = customers(2)
    held = start()
    work()
    chosen = {each: seen(held, each) for each in (first, second)}
    with transaction(), pytest.raises(InvalidInput, match="a day to come"):
        hold(held.public_id, chosen[first], reason="x", by="Ada", now=NOW, until=NOW.date())
    until = NOW.date() + timedelta(days=2)
    with transaction():
        hold(held.public_id, chosen[first], reason="The customer is asked.", by="Ada", now=NOW, until=until)
        hold(held.public_id, chosen[second], reason="Not yet.", by="Ada", now=NOW)
    on(held, now=NOW + timedelta(days=1))
    assert states(held) == {"held": 2}
    on(held, now=NOW + timedelta(days=2))
    back = item(held, first)
    assert (back.state, back.held_until, back.decided_by) == ("generated", None, None)
    assert back.reason == "It was held until 24 November 2026: The customer is asked."
    assert item(held, second).state == "held"
    with transaction():
        approve(held.public_id, chosen[first], by="Ada", now=NOW)
    on(held, now=NOW + timedelta(days=3))
    assert item(held, first).state == "approved"


def test_the_queue_gives_drafts_to_somebody_and_holds_until_a_day(admin, as_staff, run):  # noqa: F811
    as_staff("finance_lead")
    as_staff("support")
    assert "Assigned to finance_lead: 1." in decide(admin, run, "assign", assignee="finance_lead").text
    assert decide(admin, run, "assign", assignee="support").status_code == 422
    assert decide(admin, run, "hold", reason="Ask.", until="tomorrow").status_code == 422
    page = decide(admin, run, "hold", reason="Ask.", until="2999-01-02")
    assert "Held until 2 Jan 2999." in page.text
    assert "Assigned to finance_lead." in page.text
    assert "None here" in admin.open(f"{run}?queue=all&mine=1").text
    assert ",2999-01-02" in admin.client.get(f"{run}/items.csv").text
    decide(admin, run, "assign", assignee="")
    assert sql_in(admin, "SELECT state, assigned_to FROM bill_run_items") == [("held", None)]


def test_shortcuts_are_there_until_they_are_switched_off(admin, run):  # noqa: F811
    assert "js/queue.js" in admin.client.get(run).text
    account = admin.open("/settings/account")
    assert "They are on." in account.text
    assert "They are off." in admin.submit(account.form(action="/shortcuts")).text
    page = admin.client.get(run).text
    assert "js/queue.js" not in page
    assert "shortcuts-help" not in page
    admin.submit(admin.open("/settings/account").form(action="/shortcuts"))
    assert "js/queue.js" in admin.client.get(run).text
