"""Storing usage: events exactly once, folded into daily rollups, in one transaction.

Order matters: events are inserted sorted by key and rollups sorted by key after them, so that two batches which
share events or series wait for each other and never deadlock.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import text

from portal.core.exact import plain
from portal.core.keys import canonical_json
from portal.infra.db import db
from portal.usage.events import UsageRecord
from portal.usage.lateness import mark_late


class Outcome(StrEnum):
    """What became of one event of a batch."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


_SERIES = text("""
    INSERT INTO usage_series (organization_id, series_id, meter_id, dimensions)
    SELECT * FROM unnest(CAST(:organizations AS bigint[]), CAST(:series AS bigint[]), CAST(:meters AS bigint[]),
                         CAST(:dimensions AS jsonb[]))
    ON CONFLICT DO NOTHING
""")
_EVENTS = text("""
    WITH fresh AS (
        INSERT INTO usage_events (organization_id, event_key, meter_id, series_id, occurred_at, recorded_at,
                                  correction, quantity, event_id, source, properties)
        SELECT organization_id, event_key, meter_id, series_id, occurred_at, :now, correction, quantity, event_id,
               source, properties
        FROM unnest(CAST(:organizations AS bigint[]), CAST(:event_keys AS uuid[]), CAST(:meters AS bigint[]),
                    CAST(:series AS bigint[]), CAST(:moments AS timestamptz[]), CAST(:corrections AS boolean[]),
                    CAST(:quantities AS numeric[]), CAST(:event_ids AS text[]), CAST(:sources AS text[]),
                    CAST(:properties AS jsonb[]))
             AS sent(organization_id, event_key, meter_id, series_id, occurred_at, correction, quantity, event_id,
                     source, properties)
        ORDER BY organization_id, event_key
        ON CONFLICT DO NOTHING
        RETURNING organization_id, event_key, meter_id, series_id, occurred_at, quantity
    ), folded AS (
        INSERT INTO usage_daily AS daily (organization_id, day, series_id, meter_id, quantity, events, updated_at)
        SELECT organization_id, CAST(occurred_at AT TIME ZONE 'UTC' AS date) AS day, series_id, meter_id,
               sum(quantity), count(*), CAST(:now AS timestamptz)
        FROM fresh
        GROUP BY organization_id, day, series_id, meter_id
        ORDER BY organization_id, day, series_id
        ON CONFLICT (organization_id, day, series_id) DO UPDATE
        SET quantity = daily.quantity + excluded.quantity, events = daily.events + excluded.events,
            updated_at = excluded.updated_at
    )
    SELECT organization_id, event_key FROM fresh
""")
_EXISTING = text("""
    SELECT organization_id, event_key, series_id, occurred_at, quantity, properties
    FROM usage_events
    WHERE (organization_id, event_key) IN (
        SELECT * FROM unnest(CAST(:organizations AS bigint[]), CAST(:event_keys AS uuid[])))
""")


def ingest(records: Sequence[UsageRecord], *, now: datetime) -> list[Outcome]:
    """Store a batch in the current transaction and say, item by item, what became of it.

    Idempotent: an event that is already stored is a duplicate; one with the same id and other content is a conflict,
    and the first stays. Counts in live usage and drafts as soon as the transaction has committed.
    """
    if not records:
        return []
    first: dict[tuple[int, UUID], UsageRecord] = {}
    for record in records:
        first.setdefault((record.organization_id, record.event_key), record)
    unique = list(first.values())
    _store_series(unique)
    mark_late(((each.organization_id, each.occurred_at) for each in unique), now=now)
    fresh = {tuple(row) for row in db.session.execute(_EVENTS, _columns(unique, now))}
    stored = _existing([record for key, record in first.items() if key not in fresh])
    seen: Counter[tuple[int, UUID]] = Counter()
    outcomes = []
    for record in records:
        key = (record.organization_id, record.event_key)
        seen[key] += 1
        if key in fresh and seen[key] == 1:
            outcomes.append(Outcome.ACCEPTED)
        elif _content(record) == (stored[key] if key in stored else _content(first[key])):
            outcomes.append(Outcome.DUPLICATE)
        else:
            outcomes.append(Outcome.CONFLICT)
    return outcomes


def _content(record: UsageRecord) -> tuple[int, datetime, str, str]:
    """What must be equal for the same id to be the same event."""
    moment = record.occurred_at.astimezone(UTC)
    return record.series_id, moment, plain(record.quantity), canonical_json(record.properties)


def _store_series(records: Sequence[UsageRecord]) -> None:
    series = {(each.organization_id, each.series_id): each for each in records}
    ordered = [series[key] for key in sorted(series)]
    db.session.execute(
        _SERIES,
        {
            "organizations": [each.organization_id for each in ordered],
            "series": [each.series_id for each in ordered],
            "meters": [each.meter_id for each in ordered],
            "dimensions": [canonical_json(dict(each.dimensions)) for each in ordered],
        },
    )


def _columns(records: Sequence[UsageRecord], now: datetime) -> dict[str, object]:
    return {
        "now": now,
        "organizations": [each.organization_id for each in records],
        "event_keys": [each.event_key for each in records],
        "meters": [each.meter_id for each in records],
        "series": [each.series_id for each in records],
        "moments": [each.occurred_at for each in records],
        "corrections": [each.correction for each in records],
        "quantities": [each.quantity for each in records],
        "event_ids": [each.event_id for each in records],
        "sources": [each.source for each in records],
        "properties": [None if each.properties is None else canonical_json(each.properties) for each in records],
    }


def _existing(records: Sequence[UsageRecord]) -> dict[tuple[int, UUID], tuple[int, datetime, str, str]]:
    if not records:
        return {}
    rows = db.session.execute(
        _EXISTING,
        {
            "organizations": [each.organization_id for each in records],
            "event_keys": [each.event_key for each in records],
        },
    )
    return {
        (row.organization_id, row.event_key): (
            row.series_id,
            row.occurred_at.astimezone(UTC),
            plain(row.quantity),
            canonical_json(row.properties),
        )
        for row in rows
    }
