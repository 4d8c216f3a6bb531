"""The change log of a draft: each day as the draft itself was known at its end, in a fixed number of queries."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest
from flask import Flask
from sqlalchemy import event

from portal.core.periods import Month
from portal.infra.db import db, transaction
from portal.invoicing.change_log import DayChange, change_log
from portal.invoicing.drafting import draft_of
from tests.factories import (
    acting,
    add,
    cancel_usage,
    make_draft,
    make_meter,
    make_organization,
    make_plan,
    make_price,
    sql,
    subscribe,
    use,
)

NOVEMBER = Month(2026, 11)


def on(day: int, hour: int = 12) -> datetime:
    return datetime(2026, 11, day, hour, tzinfo=UTC)


@pytest.fixture
def books(app: Flask, clean_database: None) -> Iterator[Flask]:
    with acting(app):
        yield app


def log_of(organization, *, most: int | None = None) -> list[DayChange]:
    with transaction():
        return change_log(organization, NOVEMBER, draft_of(organization, NOVEMBER), most=most)


@pytest.fixture
def busy(books):
    """A fee, a commitment, prices that change within the month, and days on which things come and go."""
    organization, meter = make_organization(), make_meter()
    hours = make_meter("hours")
    make_price(meter, "0.01")
    make_price(meter, "0.02", valid_from=date(2026, 11, 5), name="Price of machine_seconds")
    make_price(hours, {"model": "graduated", "tiers": [{"up_to": "10", "unit_amount": "1"}, {"unit_amount": "0.5"}]})
    subscribe(organization, make_plan(fee="29", terms={"commitment": "50"}), on(1, 0))
    use(organization, meter, 614, event_id="a", at=on(3), now=on(3, 13), region="fra")
    use(organization, meter, 50, event_id="b", at=on(6), now=on(6), region="ams")
    use(organization, hours, 25, event_id="h", at=on(4), now=on(7))
    cancel_usage(organization, "a", now=on(8))
    use(organization, meter, 80, event_id="c", amends="b", at=on(6), now=on(9))
    add(make_draft(organization, NOVEMBER), "10.00", "Work")
    sql("UPDATE one_off_items SET created_at = :at, removed_at = :to RETURNING id", at=on(7), to=on(10))
    return organization


def test_every_day_is_the_draft_as_it_was_known_at_its_end(busy):
    log = log_of(busy)
    assert [each.day.day if each.day else None for each in log] == [10, 9, 8, 7, 6, 3, None]
    for each in log:
        with transaction():
            known_on = each.day or date(2026, 11, 1)
            assert each.total == draft_of(busy, NOVEMBER, known_on=known_on).statement.total, each.day
        assert each.change == sum(line.change for line in each.lines), each.day
    assert log[0].total == sum(each.change for each in log)


def test_a_day_names_the_lines_that_caused_it(books):
    organization, meter = make_organization(), make_meter()
    make_price(meter, "0.01", name="Egress")
    use(organization, meter, 614, at=on(22), now=on(22))
    [day] = log_of(organization)
    assert (day.day, day.total, day.change) == (date(2026, 11, 22), 614, 614)
    assert [(line.description, line.change) for line in day.lines] == [("Egress", 614)]


def test_the_short_list_is_the_newest_days_of_the_whole(busy):
    assert log_of(busy, most=3) == log_of(busy)[:3]
    assert log_of(busy, most=100) == log_of(busy)


def test_the_number_of_queries_does_not_grow_with_the_days(books):
    organization, meter = make_organization(), make_meter()
    make_price(meter)

    def queries() -> int:
        seen = []
        with transaction():
            live = draft_of(organization, NOVEMBER)
            note = lambda *_: seen.append(1)  # noqa: E731
            event.listen(db.engine, "before_cursor_execute", note)
            change_log(organization, NOVEMBER, live)
            event.remove(db.engine, "before_cursor_execute", note)
        return len(seen)

    use(organization, meter, 1, at=on(1), now=on(1, 13))
    few = queries()
    for day in range(2, 20):
        use(organization, meter, 1, at=on(day), now=on(day, 13))
    assert queries() == few
    assert few <= 12
    assert len(log_of(organization)) == 19


def test_nothing_has_changed_where_nothing_came(books):
    assert log_of(make_organization()) == []
