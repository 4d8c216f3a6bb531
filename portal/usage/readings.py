"""The largest or the latest value: one is remembered for each day of a series."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from portal.core.periods import Month
from portal.core.quantities import Aggregation, rises
from portal.infra.db import db
from portal.usage.events import UsageRecord
from portal.usage.touched import COUNTING, SPAN, SPANS, Batch, Days, RollupKey, columns, differences

_READINGS = text(f"""
    SELECT reading.organization_id, reading.series_id, reading.day, reading.quantity
    FROM {SPANS} JOIN usage_readings AS reading USING (organization_id, series_id)
    WHERE reading.day BETWEEN span.first_day AND span.last_day
""")
_KEEP_READINGS = text("""
    INSERT INTO usage_readings AS known (organization_id, series_id, day, occurred_at, quantity)
    SELECT * FROM unnest(CAST(:organizations AS bigint[]), CAST(:series AS bigint[]), CAST(:days AS date[]),
                         CAST(:moments AS timestamptz[]), CAST(:quantities AS numeric[]))
    ON CONFLICT (organization_id, series_id, day) DO UPDATE
    SET occurred_at = excluded.occurred_at, quantity = excluded.quantity
    WHERE CASE WHEN :is_latest THEN (excluded.occurred_at, excluded.quantity) > (known.occurred_at, known.quantity)
               ELSE excluded.quantity > known.quantity END
""")
_DAYS = """
    unnest(CAST(:organizations AS bigint[]), CAST(:series AS bigint[]), CAST(:days AS date[]))
        AS named(organization_id, series_id, day)
"""
_FORGET_READINGS = text(f"""
    DELETE FROM usage_readings USING {_DAYS}
    WHERE (usage_readings.organization_id, usage_readings.series_id, usage_readings.day)
        = (named.organization_id, named.series_id, named.day)
""")
_READ_AGAIN = text(f"""
    INSERT INTO usage_readings (organization_id, series_id, day, occurred_at, quantity)
    SELECT DISTINCT ON (organization_id, series_id, named.day) organization_id, series_id, named.day, e.occurred_at,
           e.quantity
    FROM {_DAYS} JOIN usage_events AS e USING (organization_id, series_id)
    WHERE e.occurred_at >= CAST(named.day AS timestamp) AT TIME ZONE 'UTC'
      AND e.occurred_at < CAST(named.day + 1 AS timestamp) AT TIME ZONE 'UTC' AND {COUNTING}
    ORDER BY organization_id, series_id, named.day, CASE WHEN :is_latest THEN e.occurred_at END DESC, e.quantity DESC
""")


def count_readings(batch: Batch, aggregation: Aggregation, _now: datetime) -> dict[RollupKey, Decimal]:
    """A day's largest or latest value; the days of a month have by how much the month's rose."""
    is_latest = aggregation is Aggregation.LATEST
    best: dict[tuple[int, int, date], UsageRecord] = {}
    for (organization_id, series_id), touched in batch.items():
        for each in touched.came:
            place = (organization_id, series_id, each.occurred_at.date())
            if place not in best or _rank(each, is_latest) > _rank(best[place], is_latest):
                best[place] = each
    places = sorted(best)
    values = [best[place] for place in places]
    if places:
        db.session.execute(
            _KEEP_READINGS,
            {
                **columns(places, "organizations", "series", "days"),
                "moments": [each.occurred_at for each in values],
                "quantities": [each.quantity for each in values],
                "is_latest": is_latest,
            },
        )
    corrected = sorted({(*key, day.occurred_at.date()) for key, touched in batch.items() for day in touched.gone})
    if corrected:
        named = columns(corrected, "organizations", "series", "days")
        db.session.execute(_FORGET_READINGS, named)
        db.session.execute(_READ_AGAIN, {**named, "is_latest": is_latest})
    months = sorted({(*key, Month.of(day)) for key, touched in batch.items() for day in touched.days})
    spans = [
        (organization_id, series_id, month.first_day, month.last_day) for organization_id, series_id, month in months
    ]
    known: dict[tuple[int, int, Month], dict[date, Decimal]] = {}
    for row in db.session.execute(_READINGS, columns(spans, *SPAN)):
        known.setdefault((row.organization_id, row.series_id, Month.of(row.day)), {})[row.day] = row.quantity
    targets: Days = {}
    for organization_id, series_id, month in months:
        days = rises(aggregation, known.get((organization_id, series_id, month), {}))
        targets.setdefault((organization_id, series_id), {}).update(days)
    return differences(targets, spans)


def _rank(record: UsageRecord, is_latest: bool) -> tuple[Any, ...]:
    return (record.occurred_at, record.quantity) if is_latest else (record.quantity,)
