"""Usage over any time agrees with what is billed, whatever a meter counts and however it is put together."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest
from flask import Flask

from portal.core.errors import InvalidInput
from portal.core.periods import Month, midnight
from portal.core.quantities import Aggregation, Counting
from portal.organizations.models import Organization
from portal.usage.exploring import Resolution, Span, points, totals
from portal.usage.folding import fold_by_clock
from portal.usage.grouping import Choice, grouped, read_where
from portal.usage.queries import usage_by_series
from tests.factories import NOW, acting, cancel_usage, make_meter, make_organization, use

COUNTINGS = {
    "sum": Counting(),
    "count": Counting(Aggregation.COUNT),
    "max": Counting(Aggregation.MAX),
    "latest": Counting(Aggregation.LATEST),
    "unique": Counting(Aggregation.UNIQUE, subject="user"),
    "by_hour": Counting(Aggregation.LEVEL, per="hour"),
    "by_month": Counting(Aggregation.LEVEL, per="month"),
}
OCTOBER = Month(2026, 10)
DAY = timedelta(days=1)


def span(first: date, last: date, resolution: Resolution = Resolution.DAY) -> Span:
    return Span(midnight(first), midnight(last) + DAY, resolution)


def of_month(month: Month) -> Span:
    return span(month.first_day, month.last_day)


@pytest.fixture
def acme(app: Flask, clean_database: None) -> Iterator[Organization]:
    with acting(app):
        yield make_organization()


@pytest.fixture
def busy(acme: Organization) -> Organization:
    """Three months of 150 events of every kind of meter, some of them cancelled; folded."""
    chance = Random(7)
    meters = [make_meter(name, counting=counting) for name, counting in COUNTINGS.items()]
    for number in range(150):
        moment = datetime(2026, 9, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(60 * 24 * 80))
        user = {"user": f"u{chance.randrange(5)}"}
        use(
            acme, chance.choice(meters), chance.randrange(1, 90), at=moment, event_id=f"e{number}",
            region=chance.choice(("fra", "ams")), **user,
        )  # fmt: skip
        if number % 9 == 0:
            cancel_usage(acme, f"e{number}")
    fold_by_clock()
    return acme


def test_a_month_is_what_the_draft_bills(busy):
    for month in (Month(2026, 9), OCTOBER, Month(2026, 11)):
        billed = {each.series_id: (each.quantity, each.events) for each in usage_by_series(busy.id, month)}
        found = totals(busy.id, of_month(month))
        assert {each.series_id: (each.quantity, each.events) for each in found} == billed
        assert len(billed) > 5


def test_months_of_a_year_are_the_months_and_the_year_is_their_sum(busy):
    year = span(date(2026, 1, 1), date(2026, 12, 31), Resolution.MONTH)
    found = totals(busy.id, year)
    groups = [(each.meter, [each.series_id]) for each in found]
    of_series = dict(zip([each.series_id for each in found], points(busy.id, year, groups, now=NOW), strict=True))
    for each in found:
        assert sum(point.quantity for point in of_series[each.series_id]) == each.quantity
    for month in (Month(2026, 9), OCTOBER, Month(2026, 11)):
        billed = {each.series_id: each.quantity for each in usage_by_series(busy.id, month)}
        of_month = {
            series_id: point.quantity
            for series_id, all_points in of_series.items()
            for point in all_points
            if point.start == month.start and (point.quantity or point.events)
        }
        assert of_month == billed


def test_the_points_of_a_group_add_up_to_it_or_end_with_it(busy):
    month = of_month(OCTOBER)
    for group_by in ("none", "region", "series"):
        groups = grouped(totals(busy.id, month), Choice(group_by=group_by))
        assert groups
        found = points(busy.id, month, [(each.meter, each.series) for each in groups], now=NOW)
        for group, days in zip(groups, found, strict=True):
            if group.meter.is_running:
                assert days[-1].quantity == group.quantity
                assert days[-1].start == midnight(OCTOBER.last_day)
            else:
                difference = sum(day.quantity for day in days) - group.quantity
                assert abs(difference) <= Decimal("1e-10")  # a level's days are each rounded to 12 decimals
            assert sum(day.events for day in days) == group.events


def test_hours_of_a_day_add_up_to_the_day(busy):
    seen = 0
    for day in OCTOBER.days():
        by_hour = span(day, day, Resolution.HOUR)
        hours = {each.series_id: (each.quantity, each.events) for each in totals(busy.id, by_hour)}
        days = {each.series_id: (each.quantity, each.events) for each in totals(busy.id, span(day, day))}
        assert hours == days
        groups = [each for each in totals(busy.id, by_hour) if each.meter.has_hours]
        for group, of_hours in zip(
            groups, points(busy.id, by_hour, [(each.meter, [each.series_id]) for each in groups], now=NOW), strict=True
        ):
            assert sum(point.quantity for point in of_hours) == group.quantity
            assert all(by_hour.start <= point.start < by_hour.end for point in of_hours)
            seen += len(of_hours)
    assert seen > 10


def test_a_running_value_starts_anew_with_its_month_and_stops_today(acme):
    meter = make_meter("peak", dimensions=(), counting=Counting(Aggregation.MAX))
    for moment, quantity in (((10, 30), 8), ((11, 3), 2), ((11, 20), 5)):
        use(acme, meter, quantity, at=datetime(2026, *moment, tzinfo=UTC))
    window = span(date(2026, 10, 29), date(2026, 11, 30))
    [total] = totals(acme.id, window)
    assert total.quantity == 8 + 5
    [days] = points(acme.id, window, [(total.meter, [total.series_id])], now=NOW)
    values = {point.start.date(): point.quantity for point in days}
    assert values == (
        {date(2026, 10, 30): 8, date(2026, 10, 31): 8}
        | {date(2026, 11, day): 2 for day in range(3, 20)}
        | {date(2026, 11, day): 5 for day in range(20, 23)}
    )


def test_groups_come_by_meter_and_the_largest_first(acme):
    meter, other = make_meter("traffic", dimensions=("app", "region")), make_meter("disk", dimensions=())
    for quantity, app, region in ((1, "a", "fra"), (5, "b", "fra"), (7, "b", "ams")):
        use(acme, meter, quantity, app=app, region=region)
    use(acme, other, 99)
    found = totals(acme.id, of_month(OCTOBER))

    def groups(**choice: object) -> list[tuple[str, str, Decimal]]:
        return [(each.meter.code, each.label, each.quantity) for each in grouped(found, Choice(**choice))]

    assert groups(group_by="app") == [("disk", "none", 99), ("traffic", "b", 12), ("traffic", "a", 1)]
    assert groups(group_by="none") == [("disk", "disk", 99), ("traffic", "traffic", 13)]
    assert groups(group_by="series", meter="traffic", where=("region", "fra")) == [
        ("traffic", "b · fra", 5),
        ("traffic", "a · fra", 1),
    ]
    assert groups(meter="nothing") == []


def test_a_value_of_a_dimension_may_hold_what_stands_between():
    assert read_where("path:/a:b") == ("path", "/a:b")
    assert read_where("") is None
    for wrong in ("path", ":x", "path:"):
        with pytest.raises(InvalidInput, match="region:fra"):
            read_where(wrong)
