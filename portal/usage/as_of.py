"""What a month's rollups would have held at an instant, counted again from the events that were known by then.

usage_daily can be told by the end of a day only; between them the events themselves have to be read, so this is work
for a worker. What adds up is summed by the database; of the rest the readings are, as recounting does it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

from sqlalchemy import text

from portal.core.exact import ZERO, exactly
from portal.core.periods import Month
from portal.core.quantities import Aggregation, level_by_day, rises
from portal.infra.db import db
from portal.usage.archived import ARCHIVED_MONTHS

# What counted of usage_events AS e at the instant: no cancellation, and nothing that had been corrected by then.
_COUNTED = """
    e.organization_id = :organization_id AND e.recorded_at <= :instant AND e.counts AND NOT EXISTS (
        SELECT FROM usage_events AS c
        WHERE c.organization_id = e.organization_id AND c.corrects = e.event_key AND c.recorded_at <= :instant)
"""
_OF_MONTH = "e.occurred_at >= :start AND e.occurred_at < :end"
_SUMS = text(f"""
    SELECT e.series_id, e.meter_id, CAST(e.occurred_at AT TIME ZONE 'UTC' AS date) AS day,
           CASE m.aggregation WHEN 'sum' THEN sum(e.quantity) ELSE count(*) END AS quantity, count(*) AS events
    FROM usage_events AS e JOIN meters AS m ON m.id = e.meter_id
    WHERE m.aggregation IN ('sum', 'count') AND {_OF_MONTH} AND {_COUNTED}
    GROUP BY e.series_id, e.meter_id, 3, m.aggregation
""")
# Of a level also those before the month, for the level with which it begins, and after it, for how far it is counted.
# What an archived month left a level at is known as it stands now.
_READINGS = text(f"""
    SELECT e.series_id, e.meter_id, m.aggregation, e.occurred_at, e.event_key, e.quantity,
           e.properties ->> m.subject AS subject
    FROM usage_events AS e JOIN meters AS m ON m.id = e.meter_id
    WHERE m.aggregation NOT IN ('sum', 'count') AND (m.aggregation = 'level' OR {_OF_MONTH}) AND {_COUNTED}
    UNION
    SELECT change.series_id, series.meter_id, 'level', change.occurred_at, change.event_key, change.level, NULL
    FROM usage_changes AS change JOIN usage_series AS series USING (organization_id, series_id)
    WHERE change.organization_id = :organization_id
      AND CAST(date_trunc('month', change.occurred_at AT TIME ZONE 'UTC') AS date) IN ({ARCHIVED_MONTHS})
    ORDER BY series_id, occurred_at, event_key
""")
# A level is counted until the day on which it was last looked at, or of the latest event, corrected or not.
_LATEST = text("""
    SELECT e.series_id, CAST(max(e.occurred_at) AT TIME ZONE 'UTC' AS date) AS day
    FROM usage_events AS e JOIN meters AS m ON m.id = e.meter_id
    WHERE m.aggregation = 'level' AND e.organization_id = :organization_id AND e.recorded_at <= :instant
    GROUP BY e.series_id
""")


@dataclass(frozen=True, slots=True)
class DayAsOf:
    """A row of usage_daily as it would have been."""

    day: date
    series_id: int
    meter_id: int
    quantity: Decimal
    events: int


def usage_as_of(organization_id: int, month: Month, instant: datetime) -> list[DayAsOf]:
    """The daily quantities of an organization's month from events with recorded_at up to and with an instant.

    At the last instant of a day they are what rollups heard of by that day add up to, if the clock has counted levels
    on until then. The month's events have to be in the table (archived.archive_sentence).
    """
    values = {"organization_id": organization_id, "start": month.start, "end": month.end, "instant": instant}
    days = [DayAsOf(row.day, row.series_id, row.meter_id, row.quantity, row.events)
            for row in db.session.execute(_SUMS, values)]  # fmt: skip
    today = instant.astimezone(UTC).date()
    counted_until = {row.series_id: max(row.day, today) for row in db.session.execute(_LATEST, values)}
    rows = db.session.execute(_READINGS, values)
    for (series_id, meter_id), readings in groupby(rows, key=lambda row: (row.series_id, row.meter_id)):
        days += _days_of(series_id, meter_id, list(readings), month, counted_until.get(series_id, today))
    return sorted((each for each in days if each.quantity or each.events), key=lambda each: (each.day, each.series_id))


def _days_of(series_id: int, meter_id: int, readings: list[Any], month: Month, counted_until: date) -> list[DayAsOf]:
    """The days of one series that does not simply add up."""
    how = Aggregation(readings[0].aggregation)
    events: dict[date, int] = {}
    for each in readings:
        day = _day(each)
        events[day] = events.get(day, 0) + 1
    if how is Aggregation.LEVEL:
        quantities = _levels(readings, month, counted_until)
    elif how is Aggregation.UNIQUE:
        quantities = _first_days(readings)
    else:
        quantities = _rises(how, readings)
    return [
        DayAsOf(day, series_id, meter_id, quantities.get(day, ZERO), events.get(day, 0))
        for day in quantities.keys() | events.keys()
        if month.first_day <= day <= month.last_day
    ]


def _day(reading: Any) -> date:
    return reading.occurred_at.astimezone(UTC).date()  # type: ignore[no-any-return]


def _rises(how: Aggregation, readings: Iterable[Any]) -> dict[date, Decimal]:
    """Of each day its largest (or latest) value, as by how much the month's rose."""
    best: dict[date, Any] = {}
    for each in readings:
        day = _day(each)
        if day not in best or _rank(each, how) > _rank(best[day], how):
            best[day] = each
    return rises(how, {day: each.quantity for day, each in best.items()})


def _rank(reading: Any, how: Aggregation) -> tuple[Any, ...]:
    return (reading.occurred_at, reading.quantity) if how is Aggregation.LATEST else (reading.quantity,)


@exactly
def _first_days(readings: Iterable[Any]) -> dict[date, Decimal]:
    """A day has the subjects whose first event of the month it holds; readings are in the order of time."""
    firsts: dict[str, date] = {}
    for each in readings:
        firsts.setdefault(each.subject, _day(each))
    days: dict[date, Decimal] = {}
    for day in firsts.values():
        days[day] = days.get(day, ZERO) + 1
    return days


def _levels(readings: Iterable[Any], month: Month, counted_until: date) -> dict[date, Decimal]:
    """A level by the seconds that it held, until a day."""
    level, changes = ZERO, list[tuple[datetime, Decimal]]()
    for each in readings:
        moment = each.occurred_at.astimezone(UTC)
        if moment < month.start:
            level = each.quantity
        elif moment < month.end:
            changes.append((moment, each.quantity))
    return level_by_day(changes, first=month.first_day, last=min(counted_until, month.last_day), level=level)
