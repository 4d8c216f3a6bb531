"""Storing usage: events exactly once, folded into daily rollups, in one transaction.

Order matters: late months, events, rollups and series are written in this order, and each of them sorted by its key;
so two batches which share events or series wait for each other and never deadlock.

A batch is first taken for new: its events are inserted as they are, which costs PostgreSQL a third less than asking for
every row whether it is there. Where one is, the batch is inserted again, without those that are there, and so are the
next batches: whoever sends something twice is likely to do so again.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from operator import attrgetter, itemgetter

from psycopg.errors import UniqueViolation
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from portal.core.exact import exactly, plain
from portal.core.keys import canonical_json
from portal.infra.db import db
from portal.usage.events import UsageRecord
from portal.usage.lateness import mark_late


class Outcome(StrEnum):
    """What became of one event of a batch."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


# In a smaller batch the savepoint costs more than it saves.
FEWEST_TAKEN_FOR_NEW = 50
CAREFUL_BATCHES = 20
Key = tuple[int, bytes]
Content = tuple[int, datetime, str, str]
_INSERT = """
    INSERT INTO usage_events (organization_id, event_key, meter_id, series_id, occurred_at, recorded_at, correction,
                              quantity, event_id, source, properties)
    SELECT organization_id, event_key, meter_id, series_id, occurred_at, :now, correction, quantity, event_id, source,
           properties
    FROM unnest(CAST(:organizations AS bigint[]), CAST(:event_keys AS uuid[]), CAST(:meters AS bigint[]),
                CAST(:series AS bigint[]), CAST(:moments AS timestamptz[]), CAST(:corrections AS boolean[]),
                CAST(:quantities AS numeric[]), CAST(:event_ids AS text[]), CAST(:sources AS text[]),
                CAST(:properties AS jsonb[]))
         AS sent(organization_id, event_key, meter_id, series_id, occurred_at, correction, quantity, event_id, source,
                 properties)
"""
_ALL_NEW = text(_INSERT)
_SOME_NEW = text(f"{_INSERT} ON CONFLICT DO NOTHING RETURNING organization_id, event_key")
# A series is written with its first rollup of a day: a rollup that was there before had its series written with it.
_FOLD = text("""
    WITH folded AS (
        INSERT INTO usage_daily AS daily (organization_id, day, series_id, meter_id, quantity, events, updated_at)
        SELECT *, CAST(:now AS timestamptz)
        FROM unnest(CAST(:organizations AS bigint[]), CAST(:days AS date[]), CAST(:series AS bigint[]),
                    CAST(:meters AS bigint[]), CAST(:quantities AS numeric[]), CAST(:events AS integer[]))
        ON CONFLICT (organization_id, day, series_id) DO UPDATE
        SET quantity = daily.quantity + excluded.quantity, events = daily.events + excluded.events,
            updated_at = excluded.updated_at
        RETURNING organization_id, series_id, xmax = 0 AS is_new
    )
    SELECT DISTINCT organization_id, series_id FROM folded WHERE is_new ORDER BY organization_id, series_id
""")
_SERIES = text("""
    INSERT INTO usage_series (organization_id, series_id, meter_id, dimensions)
    SELECT * FROM unnest(CAST(:organizations AS bigint[]), CAST(:series AS bigint[]), CAST(:meters AS bigint[]),
                         CAST(:dimensions AS jsonb[]))
    ON CONFLICT DO NOTHING
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
    first: dict[Key, UsageRecord] = {}
    for record in records:
        first.setdefault((record.organization_id, record.event_key), record)
    ordered = [first[key] for key in sorted(first)]
    mark_late(((each.organization_id, each.occurred_at) for each in ordered), now=now)
    fresh = _insert(ordered, now)
    _fold(ordered if fresh is None else [each for each in ordered if _key(each) in fresh], now)
    if fresh is None and len(first) == len(records):
        return [Outcome.ACCEPTED] * len(records)
    return _outcomes(records, first, first.keys() if fresh is None else fresh)


_key = attrgetter("organization_id", "event_key")


def _outcomes(
    records: Sequence[UsageRecord], first: Mapping[Key, UsageRecord], fresh: Collection[Key]
) -> list[Outcome]:
    stored = _existing([record for key, record in first.items() if key not in fresh])
    seen: Counter[Key] = Counter()
    outcomes = []
    for record in records:
        key = _key(record)
        seen[key] += 1
        if key in fresh and seen[key] == 1:
            outcomes.append(Outcome.ACCEPTED)
        elif _content(record) == (stored[key] if key in stored else _content(first[key])):
            outcomes.append(Outcome.DUPLICATE)
        else:
            outcomes.append(Outcome.CONFLICT)
    return outcomes


class _Caution:
    """For how many more batches this process expects events that are there already."""

    batches = 0


def _insert(records: Sequence[UsageRecord], now: datetime) -> set[Key] | None:
    """Insert events, sorted by key. Returns the keys of those that were new; None if all were."""
    connection, values = db.session.connection(), _event_values(records, now)
    if len(records) >= FEWEST_TAKEN_FOR_NEW and not _Caution.batches:
        try:
            with connection.begin_nested():
                connection.execute(_ALL_NEW, values)
                return None
        except DBAPIError as error:
            if not _is_duplicate(error):
                raise
            _Caution.batches = CAREFUL_BATCHES
    fresh = {(row[0], row[1].bytes) for row in connection.execute(_SOME_NEW, values)}
    _Caution.batches = CAREFUL_BATCHES if len(fresh) < len(records) else max(0, _Caution.batches - 1)
    return fresh


def _is_duplicate(error: DBAPIError) -> bool:
    """Whether a key was there already; Citus tells so without its proper code."""
    return isinstance(error.orig, UniqueViolation) or "duplicate key value" in str(error.orig)


def _fold(records: Iterable[UsageRecord], now: datetime) -> None:
    """Add new events to their rollups, sorted by key, and write the series that were not known before."""
    rollups = _rolled_up(records)
    if not rollups:
        return
    ordered = sorted(rollups.items(), key=itemgetter(0))
    keys, sums = [key for key, _ in ordered], [rollup for _, rollup in ordered]
    values = {
        "now": now,
        "organizations": _array([str(organization_id) for organization_id, _, _ in keys]),
        "days": _array([str(day) for _, day, _ in keys]),
        "series": _array([str(series_id) for _, _, series_id in keys]),
        "meters": _array([str(each.meter_id) for _, _, each in sums]),
        "quantities": _array([str(quantity) for quantity, _, _ in sums]),
        "events": _array([str(events) for _, events, _ in sums]),
    }
    new = [(row[0], row[1]) for row in db.session.execute(_FOLD, values)]
    if new:
        known = {(each.organization_id, each.series_id): each for _, _, each in sums}
        _store_series([known[key] for key in new])


@exactly
def _rolled_up(records: Iterable[UsageRecord]) -> dict[tuple[int, date, int], tuple[Decimal, int, UsageRecord]]:
    """By organization, day and series: the quantity, the number of events, and one of them."""
    rollups: dict[tuple[int, date, int], tuple[Decimal, int, UsageRecord]] = {}
    for each in records:
        key = (each.organization_id, each.occurred_at.date(), each.series_id)
        found = rollups.get(key)
        rollups[key] = (found[0] + each.quantity, found[1] + 1, each) if found else (each.quantity, 1, each)
    return rollups


def _store_series(records: Sequence[UsageRecord]) -> None:
    values = {
        "organizations": _array(_texts("organization_id", records)),
        "series": _array(_texts("series_id", records)),
        "meters": _array(_texts("meter_id", records)),
        "dimensions": _array([_quoted(canonical_json(dict(each.dimensions))) for each in records]),
    }
    db.session.execute(_SERIES, values)


def _event_values(records: Sequence[UsageRecord], now: datetime) -> dict[str, object]:
    json_of = {id(each.properties): canonical_json(each.properties) for each in records if each.properties}
    return {
        "now": now,
        "organizations": _array(_texts("organization_id", records)),
        "event_keys": _array([each.event_key.hex() for each in records]),
        "meters": _array(_texts("meter_id", records)),
        "series": _array(_texts("series_id", records)),
        "moments": _array([each.occurred_at.isoformat() for each in records]),
        "corrections": _array(_texts("correction", records)),
        "quantities": _array(_texts("quantity", records)),
        "event_ids": _array_of_texts(_texts("event_id", records)),
        "sources": _array_of_texts(_texts("source", records)),
        "properties": _array(
            [_quoted(json_of[id(each.properties)]) if each.properties else "NULL" for each in records]
        ),
    }


def _texts(field: str, records: Iterable[UsageRecord]) -> Iterable[str]:
    return map(str, map(attrgetter(field), records))


def _array(elements: Iterable[str]) -> str:
    """An array as PostgreSQL reads it, of elements that need no quotes: a list would pass through Python one by one."""
    return f"{{{','.join(elements)}}}"


def _array_of_texts(texts: Iterable[str]) -> str:
    """The same of any storable texts: none of them has a NUL, so that may stand between them until all are escaped."""
    return "{" + _quoted("\0".join(texts)).replace("\0", '","') + "}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _content(record: UsageRecord) -> Content:
    """What must be equal for the same id to be the same event."""
    return record.series_id, record.occurred_at, plain(record.quantity), canonical_json(record.properties)


def _existing(records: Sequence[UsageRecord]) -> dict[Key, Content]:
    if not records:
        return {}
    rows = db.session.execute(
        _EXISTING,
        {
            "organizations": [each.organization_id for each in records],
            "event_keys": _array(each.event_key.hex() for each in records),
        },
    )
    return {
        (row.organization_id, row.event_key.bytes): (
            row.series_id,
            row.occurred_at.astimezone(UTC),
            plain(row.quantity),
            canonical_json(row.properties),
        )
        for row in rows
    }
