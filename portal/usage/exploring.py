"""Usage over any days or hours: what every series came to, its groups, and their points in time. Reads rollups only.

Days and months come from what is billed, hours from figures that follow a moment later and that only meters have which
simply add up. Of a month's largest or latest value, a day has the value that the month had reached by then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import text

from portal.core.exact import ZERO, exactly
from portal.core.periods import Month, midnight
from portal.core.quantities import Aggregation, Counting
from portal.infra.db import db
from portal.usage.queries import IN_UNITS

RUNNING = (Aggregation.MAX, Aggregation.LATEST)
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


class Resolution(StrEnum):
    """How long one point is."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Span:
    """The time that is looked at, [start, end), in whole hours, days or months."""

    start: datetime
    end: datetime
    resolution: Resolution

    @property
    def first_day(self) -> date:
        """The day of its start."""
        return self.start.date()

    @property
    def last_day(self) -> date:
        """The day of its last instant."""
        return (self.end - timedelta(microseconds=1)).date()

    @property
    def is_one_day(self) -> bool:
        """Whether it is exactly one calendar day."""
        return self.start == midnight(self.first_day) and self.end - self.start == _DAY

    def points(self) -> list[datetime]:
        """The starts of its hours, days or months."""
        if self.resolution is Resolution.MONTH:
            months, month = [], Month.of(self.start)
            while month.start < self.end:
                months.append(month.start)
                month = month.next
            return months
        step = _HOUR if self.resolution is Resolution.HOUR else _DAY
        return [self.start + step * number for number in range((self.end - self.start) // step)]


@dataclass(frozen=True, slots=True)
class MeterFacts:
    """What has to be known of a meter to show its usage."""

    code: str
    name: str
    product: str
    unit: str
    counting: Counting

    @property
    def is_running(self) -> bool:
        """Whether a day has what its month had reached by then, instead of a part of the month."""
        return self.counting.aggregation in RUNNING

    @property
    def has_hours(self) -> bool:
        """Whether it can be told by the hour."""
        return self.counting.aggregation.adds_up


@dataclass(frozen=True, slots=True)
class SeriesTotal:
    """What one series came to in a span."""

    series_id: int
    meter: MeterFacts
    dimensions: Mapping[str, str]
    quantity: Decimal
    events: int


@dataclass(frozen=True, slots=True)
class Point:
    """What a group came to in one hour, day or month."""

    start: datetime
    quantity: Decimal
    events: int


_METER = """
    meters.code, meters.name, products.name AS product, meters.unit, meters.aggregation, meters.subject, meters.per
"""
# A running value needs its month from the beginning.
_BY_DAYS = text(f"""
    SELECT used.series_id, {_METER}, usage_series.dimensions,
           sum({IN_UNITS.format(quantity="used.quantity", days="used.days")}) AS quantity, sum(used.events) AS events
    FROM (
        SELECT daily.series_id, daily.meter_id, sum(daily.quantity) AS quantity,
               coalesce(sum(daily.events) FILTER (WHERE daily.day >= :first), 0) AS events,
               extract(day FROM date_trunc('month', daily.day) + interval '1 month - 1 day') AS days,
               date_trunc('month', daily.day) AS month
        FROM usage_daily AS daily JOIN meters ON meters.id = daily.meter_id
        WHERE daily.organization_id = :organization_id AND daily.day BETWEEN :month AND :last
          AND (daily.day >= :first OR meters.aggregation IN ('max', 'latest'))
        GROUP BY daily.series_id, daily.meter_id, date_trunc('month', daily.day)
    ) AS used
    JOIN meters ON meters.id = used.meter_id
    JOIN products ON products.id = meters.product_id
    JOIN usage_series ON usage_series.organization_id = :organization_id AND usage_series.series_id = used.series_id
    GROUP BY used.series_id, meters.id, products.name, usage_series.dimensions
    HAVING sum(used.quantity) <> 0 OR sum(used.events) <> 0
    ORDER BY products.name, meters.name, used.series_id
""")
_BY_HOURS = text(f"""
    SELECT used.series_id, {_METER}, usage_series.dimensions, used.quantity, used.events
    FROM (
        SELECT series_id, meter_id, sum(quantity) AS quantity, sum(events) AS events
        FROM usage_hourly
        WHERE organization_id = :organization_id AND hour >= :start AND hour < :end
        GROUP BY series_id, meter_id
        HAVING sum(quantity) <> 0 OR sum(events) <> 0
    ) AS used
    JOIN meters ON meters.id = used.meter_id
    JOIN products ON products.id = meters.product_id
    JOIN usage_series ON usage_series.organization_id = :organization_id AND usage_series.series_id = used.series_id
    ORDER BY products.name, meters.name, used.series_id
""")
_WANTED = "unnest(CAST(:keys AS integer[]), CAST(:series AS bigint[])) AS wanted(key, series_id)"
_POINTS_OF_DAYS = text(f"""
    SELECT wanted.key, used.start,
           sum({IN_UNITS.format(quantity="used.quantity", days="used.days")}) AS quantity, sum(used.events) AS events
    FROM (
        SELECT series_id, meter_id, date_trunc(:resolution, day) AS start, sum(quantity) AS quantity,
               sum(events) AS events,
               extract(day FROM max(date_trunc('month', day)) + interval '1 month - 1 day') AS days
        FROM usage_daily
        WHERE organization_id = :organization_id AND day BETWEEN :first AND :last
        GROUP BY series_id, meter_id, date_trunc(:resolution, day)
    ) AS used
    JOIN {_WANTED} USING (series_id)
    JOIN meters ON meters.id = used.meter_id
    GROUP BY wanted.key, used.start
    ORDER BY wanted.key, used.start
""")
_POINTS_OF_HOURS = text(f"""
    SELECT wanted.key, used.hour AS start, sum(used.quantity) AS quantity, sum(used.events) AS events
    FROM {_WANTED}
    JOIN usage_hourly AS used ON used.organization_id = :organization_id AND used.series_id = wanted.series_id
     AND used.hour >= :start AND used.hour < :end
    GROUP BY wanted.key, used.hour
    ORDER BY wanted.key, used.hour
""")


def totals(organization_id: int, span: Span) -> list[SeriesTotal]:
    """What every series of an organization came to.

    By the hour, from the hours; what is not told by the hour is there of a whole day, from the days.
    """
    if span.resolution is not Resolution.HOUR:
        return _totals_by_days(organization_id, span)
    values = {"organization_id": organization_id, "start": span.start, "end": span.end}
    found = [_total(row) for row in db.session.execute(_BY_HOURS, values)]
    if span.is_one_day:
        found += [each for each in _totals_by_days(organization_id, span) if not each.meter.has_hours]
        found.sort(key=lambda each: (each.meter.product, each.meter.name, each.series_id))
    return found


def _totals_by_days(organization_id: int, span: Span) -> list[SeriesTotal]:
    month = Month.of(span.first_day).first_day
    values = {"organization_id": organization_id, "month": month, "first": span.first_day, "last": span.last_day}
    return [_total(row) for row in db.session.execute(_BY_DAYS, values)]


def _total(row: Any) -> SeriesTotal:
    counting = Counting(Aggregation(row.aggregation), row.subject, row.per)
    meter = MeterFacts(row.code, row.name, row.product, row.unit, counting)
    return SeriesTotal(row.series_id, meter, row.dimensions, row.quantity, int(row.events))


def points(
    organization_id: int, span: Span, groups: Sequence[tuple[MeterFacts, Sequence[int]]], *, now: datetime
) -> list[list[Point]]:
    """Of each group of series of a meter its points with usage, in their order; none by the hour of a meter without.

    A running value has a point for every day up to today, from the first that has one.
    """
    wanted = [(key, each) for key, (_, series) in enumerate(groups) for each in series]
    keys, series = [key for key, _ in wanted], [each for _, each in wanted]
    found: list[list[Point]] = [[] for _ in groups]
    for row in _point_rows(organization_id, span, {"keys": keys, "series": series}):
        found[row.key].append(Point(row.start, row.quantity, int(row.events)))
    if span.resolution is not Resolution.DAY:
        return found
    return [
        _reached(rises, span, now) if meter.is_running else [each for each in rises if each.start >= span.start]
        for (meter, _), rises in zip(groups, found, strict=True)
    ]


def _point_rows(organization_id: int, span: Span, wanted: dict[str, Any]) -> Any:
    whose = {"organization_id": organization_id, **wanted}
    if span.resolution is Resolution.HOUR:
        return db.session.execute(_POINTS_OF_HOURS, {**whose, "start": span.start, "end": span.end})
    first = Month.of(span.first_day).first_day
    values = {"first": first, "last": span.last_day, "resolution": span.resolution}
    return db.session.execute(_POINTS_OF_DAYS, {**whose, **values})


@exactly
def _reached(rises: Sequence[Point], span: Span, now: datetime) -> list[Point]:
    """What each month had reached by each of its days, from by how much it rose on them."""
    by_day = {each.start: each for each in rises}
    reached, is_known, day, days = ZERO, False, Month.of(span.first_day).start, list[Point]()
    while day < span.end:
        if day.day == 1:
            reached, is_known = ZERO, False
        rise = by_day.get(day)
        if rise is not None:
            reached, is_known = reached + rise.quantity, True
        if is_known and span.start <= day and (rise is not None or day <= now):
            days.append(Point(day, reached, rise.events if rise else 0))
        day += _DAY
    return days
