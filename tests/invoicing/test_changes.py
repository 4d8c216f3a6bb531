"""A draft as it was known at the end of a day, and what has changed since."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from flask import Flask

from portal.core.periods import Month
from portal.core.quantities import Aggregation, Counting
from portal.infra.db import transaction
from portal.invoicing.changes import changes_since
from portal.invoicing.drafting import draft_of
from portal.usage.heard_since import heard_since
from tests.factories import acting, add, cancel_usage, make_draft, make_meter, make_organization, make_price, sql, use

NOVEMBER = Month(2026, 11)
MOST = 10


def on(day: int, hour: int = 12) -> datetime:
    return datetime(2026, 11, day, hour, tzinfo=UTC)


@pytest.fixture
def books(app: Flask, clean_database: None) -> Iterator[Flask]:
    with acting(app):
        yield app


def total(organization, day: int | None = None) -> int:
    with transaction():
        known_on = date(2026, 11, day) if day else None
        return draft_of(organization, NOVEMBER, known_on=known_on).statement.total


def test_every_earlier_day_s_draft_can_still_be_told(books):
    organization, meter = make_organization(), make_meter()
    make_price(meter, "0.01")
    use(organization, meter, 100, event_id="a", at=on(3), now=on(3, 13))
    use(organization, meter, 50, event_id="b", at=on(4), now=on(6))
    cancel_usage(organization, "a", now=on(8))
    use(organization, meter, 80, event_id="c", amends="b", at=on(4), now=on(9))
    assert [total(organization, day) for day in (2, 3, 5, 6, 8, 9)] == [0, 100, 100, 150, 50, 80]
    assert total(organization) == 80


def test_items_count_from_the_day_on_which_they_were_added_until_they_were_removed(books):
    organization = make_organization()
    invoice = make_draft(organization, NOVEMBER)
    item = add(invoice, "10.00")
    sql("UPDATE one_off_items SET created_at = :at, removed_at = :to RETURNING id", at=on(5), to=on(9))
    assert [total(organization, day) for day in (4, 5, 8, 9)] == [0, 1000, 1000, 0]
    assert item.amount == 1000


def test_the_changes_name_lines_series_and_events(books):
    organization, seconds = make_organization(), make_meter()
    peak = make_meter("peak", counting=Counting(Aggregation.MAX))
    make_price(seconds, "0.01")
    make_price(peak, "1")
    use(organization, seconds, 100, event_id="a", at=on(3), now=on(3, 13), region="fra")
    use(organization, peak, 5, event_id="p", at=on(3), now=on(3, 13))
    use(organization, seconds, 40, event_id="b", at=on(3), now=on(5), region="fra")
    use(organization, peak, 3, event_id="q", amends="p", at=on(3), now=on(5))
    with transaction():
        changes = changes_since(organization, NOVEMBER, date(2026, 11, 3))
        events = heard_since(organization.id, NOVEMBER, on(4, 0), most=MOST)
    assert (changes.before.statement.total, changes.after.statement.total) == (600, 440)
    assert [(each.before, each.after, each.change) for each in changes.lines] == [(500, 300, -200), (100, 140, 40)]
    assert [(each.meter_name, each.before, each.after, each.events) for each in changes.series] == [
        ("machine seconds", 100, 140, 1),
        ("peak", 5, 3, 0),
    ]
    assert {(each.event_id, each.corrects, each.cancels) for each in events} == {("b", None, False), ("q", "p", False)}


def test_nothing_has_changed_where_nothing_came(books):
    organization, meter = make_organization(), make_meter()
    make_price(meter)
    use(organization, meter, 100, at=on(3), now=on(3, 13))
    with transaction():
        changes = changes_since(organization, NOVEMBER, date(2026, 11, 3))
        assert (changes.lines, changes.series) == ((), ())
        assert heard_since(organization.id, NOVEMBER, on(4, 0), most=MOST) == []
        assert heard_since(organization.id, NOVEMBER, on(3, 0) - timedelta(days=1), most=MOST)[0].cancels is False
