"""A unique count: each subject is remembered with the first day of the month that had it."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from portal.core.exact import ZERO
from portal.core.periods import Month
from portal.core.quantities import Aggregation
from portal.infra.db import db
from portal.usage.events import UsageRecord
from portal.usage.touched import COUNTING, Batch, RollupKey, columns

_SUBJECT = ("organizations", "series", "months", "subjects")
_PLACES = """
    unnest(CAST(:organizations AS bigint[]), CAST(:series AS bigint[]), CAST(:months AS date[]),
           CAST(:subjects AS bytea[])) AS place(organization_id, series_id, month, subject_bytes)
"""
_SUBJECT_ID = "CAST(encode(subject_bytes, 'hex') AS uuid)"
_KNOWN_SUBJECTS = text(f"""
    SELECT known.organization_id, known.series_id, known.month, known.subject, known.first_day
    FROM {_PLACES} JOIN usage_subjects AS known USING (organization_id, series_id, month)
    WHERE known.subject = {_SUBJECT_ID}
""")
_SUBJECTS_LEFT = text(f"""
    SELECT place.organization_id, place.series_id, place.month, {_SUBJECT_ID} AS subject,
           min(CAST(e.occurred_at AT TIME ZONE 'UTC' AS date)) AS first_day
    FROM {_PLACES}
    JOIN usage_events AS e USING (organization_id, series_id)
    JOIN meters AS m ON m.id = e.meter_id
    WHERE e.occurred_at >= CAST(place.month AS timestamp) AT TIME ZONE 'UTC'
      AND e.occurred_at < CAST(place.month + interval '1 month' AS timestamp) AT TIME ZONE 'UTC'
      AND substring(sha256(convert_to(e.properties ->> m.subject, 'UTF8')) FOR 16) = place.subject_bytes AND {COUNTING}
    GROUP BY 1, 2, 3, 4
""")
_KEEP_SUBJECTS = text("""
    INSERT INTO usage_subjects (organization_id, series_id, month, subject, first_day)
    SELECT organization_id, series_id, month, CAST(encode(subject, 'hex') AS uuid), first_day
    FROM unnest(CAST(:organizations AS bigint[]), CAST(:series AS bigint[]), CAST(:months AS date[]),
                CAST(:subjects AS bytea[]), CAST(:days AS date[]))
         AS sent(organization_id, series_id, month, subject, first_day)
    ON CONFLICT (organization_id, series_id, month, subject) DO UPDATE SET first_day = excluded.first_day
""")
_FORGET_SUBJECTS = text(f"""
    DELETE FROM usage_subjects AS known USING {_PLACES}
    WHERE (known.organization_id, known.series_id, known.month, known.subject)
        = (place.organization_id, place.series_id, place.month, {_SUBJECT_ID})
""")


def count_subjects(batch: Batch, _aggregation: Aggregation, _now: datetime) -> dict[RollupKey, Decimal]:
    """A day has the subjects whose first event of the month it holds."""
    firsts: dict[tuple[int, int, date, bytes], date] = {}
    corrected = set()
    for key, touched in batch.items():
        for each in touched.came:
            place, day = (*key, *_subject_of(each)), each.occurred_at.date()
            firsts[place] = min(day, firsts.get(place, day))
        corrected |= {(*key, *_subject_of(each)) for each in touched.gone}
    places = sorted(firsts.keys() | corrected)
    known = _first_days(_KNOWN_SUBJECTS, places)
    left = _first_days(_SUBJECTS_LEFT, sorted(corrected)) if corrected else {}
    wanted = {
        place: left.get(place) if place in corrected else min(firsts[place], known.get(place, firsts[place]))
        for place in places
    }
    changes: dict[RollupKey, Decimal] = {}
    for place in places:
        before, after = known.get(place), wanted[place]
        if before == after:
            continue
        for moved, one in ((before, -1), (after, 1)):
            if moved is not None:
                rollup = (place[0], moved, place[1])
                changes[rollup] = changes.get(rollup, ZERO) + one
    kept = [(*place, day) for place, day in wanted.items() if day is not None]
    forgotten = [place for place, day in wanted.items() if day is None]
    if kept:
        db.session.execute(_KEEP_SUBJECTS, columns(kept, *_SUBJECT, "days"))
    if forgotten:
        db.session.execute(_FORGET_SUBJECTS, columns(forgotten, *_SUBJECT))
    return changes


def _subject_of(record: UsageRecord) -> tuple[date, bytes]:
    assert record.subject is not None
    return Month.of(record.occurred_at).first_day, record.subject


def _first_days(query: Any, places: Sequence[tuple[int, int, date, bytes]]) -> dict[tuple[int, int, date, bytes], date]:
    rows = db.session.execute(query, columns(places, *_SUBJECT))
    return {(row.organization_id, row.series_id, row.month, row.subject.bytes): row.first_day for row in rows}
