"""Counting usage again from the events themselves, by other ways than those that counted it first: for the doctor."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from sqlalchemy import text

from portal.core.exact import ZERO, exactly
from portal.core.periods import Month, midnight
from portal.core.quantities import Aggregation, Reading, aggregate, time_weighted
from portal.infra.db import db
from portal.usage.archived import ARCHIVED_MONTHS
from portal.usage.touched import COUNTING

_READ_AT_ONCE = 10_000
_MONTH = "CAST(date_trunc('month', {} AT TIME ZONE 'UTC') AS date)"
# What an event adds to the day of its use, on the day on which it was heard of, and what a correction takes out there;
# events that are archived have left behind what they added.
_DAYS = text("""
    WITH counted AS (
        SELECT e.organization_id, e.meter_id, e.series_id, CAST(e.occurred_at AT TIME ZONE 'UTC' AS date) AS day,
               CAST(e.recorded_at AT TIME ZONE 'UTC' AS date) AS recorded_day, e.quantity, 1 AS events
        FROM usage_events AS e
        WHERE e.counts
        UNION ALL
        SELECT e.organization_id, e.meter_id, e.series_id, CAST(e.occurred_at AT TIME ZONE 'UTC' AS date),
               CAST(c.recorded_at AT TIME ZONE 'UTC' AS date), -e.quantity, -1
        FROM usage_events AS e
        JOIN usage_events AS c ON c.organization_id = e.organization_id AND c.corrects = e.event_key
        UNION ALL
        SELECT organization_id, meter_id, series_id, day, recorded_day, quantity, events FROM archived_daily
    ), recounted AS (
        SELECT organization_id, day, series_id, recorded_day, sum(events) AS events,
               CASE aggregation WHEN 'sum' THEN sum(quantity) WHEN 'count' THEN sum(events) END AS quantity
        FROM counted JOIN meters ON meters.id = counted.meter_id
        GROUP BY organization_id, day, series_id, recorded_day, aggregation
    ), rolled_up AS (
        SELECT organization_id, day, series_id, recorded_day, daily.events,
               CASE WHEN aggregation IN ('sum', 'count') THEN daily.quantity END AS quantity
        FROM usage_daily AS daily JOIN meters ON meters.id = daily.meter_id
    )
    SELECT organization_id, day, series_id
    FROM recounted FULL JOIN rolled_up USING (organization_id, day, series_id, recorded_day)
    WHERE coalesce(recounted.events, 0) <> coalesce(rolled_up.events, 0)
       OR coalesce(recounted.quantity, 0) <> coalesce(rolled_up.quantity, 0)
    LIMIT :most
""")
# The changes of a level are all remembered, and the level of an archived month holds on in the next.
_READINGS = text(f"""
    WITH archived AS ({ARCHIVED_MONTHS})
    SELECT e.organization_id, e.series_id, m.aggregation, e.occurred_at, e.event_key, e.quantity,
           e.properties ->> m.subject AS subject
    FROM usage_events AS e JOIN meters AS m ON m.id = e.meter_id
    WHERE m.aggregation NOT IN ('sum', 'count') AND {COUNTING} AND {_MONTH.format("e.occurred_at")} <> ALL (
        SELECT month FROM archived)
    UNION ALL
    SELECT organization_id, series_id, 'level', occurred_at, event_key, level, NULL
    FROM usage_changes WHERE {_MONTH.format("occurred_at")} IN (SELECT month FROM archived)
    ORDER BY organization_id, series_id, occurred_at, event_key
""")
_MONTHS = text(f"""
    SELECT daily.organization_id, daily.series_id, CAST(date_trunc('month', daily.day) AS date) AS month,
           sum(daily.quantity) AS quantity
    FROM usage_daily AS daily JOIN meters AS m ON m.id = daily.meter_id
    WHERE m.aggregation = 'level'
       OR (m.aggregation NOT IN ('sum', 'count') AND date_trunc('month', daily.day) <> ALL ({ARCHIVED_MONTHS}))
    GROUP BY 1, 2, 3 HAVING sum(daily.quantity) <> 0
""")
_COUNTED_UNTIL = text("SELECT organization_id, series_id, counted_until FROM usage_levels")
Place = tuple[int, int, date]


def recount_differences(limit: int = 20) -> list[tuple[int, date, int]]:
    """Rollups that are not what their events come to: (organization, day, series). Empty when all is well.

    Of what adds up each day, also by the day on which it was heard of; of everything else each month (its first day),
    but a largest or latest value or a number of subjects only where the month is not archived.
    """
    found = [(row[0], row[1], row[2]) for row in db.session.execute(_DAYS, {"most": limit})]
    return found + _other_months()[: limit - len(found)]


def _other_months() -> list[tuple[int, date, int]]:
    known: dict[Place, Decimal] = {(row[0], row[1], row[2]): row[3] for row in db.session.execute(_MONTHS)}
    until = {(row[0], row[1]): row[2] for row in db.session.execute(_COUNTED_UNTIL)}
    recounted: dict[Place, Decimal] = {}
    for series in _series():
        recounted |= _months_of(series, until.get((series.organization_id, series.series_id)))
    return [
        (place[0], place[2], place[1])
        for place in sorted(known.keys() | recounted.keys())
        if known.get(place, ZERO) != recounted.get(place, ZERO)
    ]


@dataclass(slots=True)
class _Series:
    """All readings of one series, in the order of time."""

    organization_id: int
    series_id: int
    aggregation: Aggregation
    readings: list[Reading] = field(default_factory=list)


def _series() -> Iterator[_Series]:
    found: _Series | None = None
    for row in db.session.execute(_READINGS, execution_options={"yield_per": _READ_AT_ONCE}):
        if found is None or (found.organization_id, found.series_id) != (row.organization_id, row.series_id):
            if found is not None:
                yield found
            found = _Series(row.organization_id, row.series_id, Aggregation(row.aggregation))
        found.readings.append(Reading(row.occurred_at.astimezone(UTC), row.quantity, row.subject or ""))
    if found is not None:
        yield found


def _months_of(series: _Series, counted_until: date | None) -> dict[Place, Decimal]:
    if series.aggregation is Aggregation.LEVEL:
        months = _level_months(series.readings, counted_until)
    else:
        by_month: dict[Month, list[Reading]] = {}
        for reading in series.readings:
            by_month.setdefault(Month.of(reading.occurred_at), []).append(reading)
        months = {month: aggregate(series.aggregation, readings) for month, readings in by_month.items()}
    return {(series.organization_id, series.series_id, month.first_day): each for month, each in months.items() if each}


@exactly
def _level_months(readings: Iterable[Reading], counted_until: date | None) -> dict[Month, Decimal]:
    """Each month's mean level by its seconds, up to the day until which it was counted."""
    changes, level = list[tuple[datetime, Decimal]](), ZERO
    for reading in readings:
        changes.append((reading.occurred_at, reading.value - level))
        level = reading.value
    if not changes or counted_until is None:
        return {}
    months, end = {}, midnight(counted_until + timedelta(days=1))
    month = Month.of(changes[0][0])
    while month.start < end:
        until = min(month.end, end)
        before = sum((change for moment, change in changes if moment < month.start), ZERO)
        within = [each for each in changes if month.start <= each[0] < until]
        mean = time_weighted(within, start=month.start, end=until, level=before)
        months[month] = _decimal(mean * Fraction((until - month.start) // timedelta(microseconds=1)))
        month = month.next
    return months


def _decimal(microseconds: Fraction) -> Decimal:
    """Level × microseconds, a whole number of millionths, in level × seconds."""
    millionths = microseconds * 10**6
    assert millionths.denominator == 1
    return Decimal(millionths.numerator).scaleb(-12)
