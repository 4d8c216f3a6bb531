"""Storing usage: events exactly once, folded into daily rollups, in one transaction.

Order matters: late months, events, what is remembered of series whose days do not simply add up, rollups and series are
written in this order, and each of them sorted by its key; so two batches which share events or series wait for each
other and never deadlock.

A batch is first taken for new: its events are inserted as they are, which costs PostgreSQL a third less than asking for
every row whether it is there. Where one is, the batch is inserted again, without those that are there, and so are the
next batches: whoever sends something twice is likely to do so again.

While there are archives (usage.archived), events that are in one of them are left out first. A process that does not
know of any inserts nothing if there are; that costs the statement one look at a table without rows.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from itertools import chain
from operator import attrgetter, itemgetter

from psycopg.errors import UniqueViolation
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from portal.core.exact import ZERO, exactly, plain
from portal.core.keys import canonical_json
from portal.infra.db import db
from portal.usage.archived import Kept, archived_among, correctable, discover_archives, fingerprint, knows_of_archives
from portal.usage.correcting import completed, originals_of, without_rivals
from portal.usage.deriving import derive
from portal.usage.events import UsageRecord
from portal.usage.lateness import mark_late
from portal.usage.series import store_series
from portal.usage.touched import RollupKey
from portal.usage.unfolded import note_batch
from portal.usage.writing import Key, array, array_of_texts, quoted


class Outcome(StrEnum):
    """What became of one event of a batch."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    NO_ORIGINAL = "no original"
    CORRECTED_BEFORE = "corrected before"
    # Its original is archived.
    ARCHIVED = "archived"
    # Not of ingest(): kept for a meter that does not exist (usage.waiting).
    WAITING = "waiting"


# Why an event of a batch does not count, where it is not for its own content.
REASONS = {
    Outcome.CONFLICT: "An event with this id and other content is already stored; the first one stays.",
    Outcome.NO_ORIGINAL: "There is no event with the id that this one corrects, from this source; send that first.",
    Outcome.CORRECTED_BEFORE: "The event that this one corrects was amended or cancelled before; correct that one.",
    Outcome.ARCHIVED: (
        "That event, or its month, is archived; restore its month first or send a correction with a negative quantity."
    ),
}

# In a smaller batch the savepoint costs more than it saves.
FEWEST_TAKEN_FOR_NEW = 50
CAREFUL_BATCHES = 20
Content = tuple[int, datetime, str, str, bytes | None, bool]
_INSERT = """
    INSERT INTO usage_events (organization_id, event_key, meter_id, series_id, occurred_at, recorded_at, correction,
                              quantity, event_id, source, properties, corrects, counts)
    SELECT organization_id, event_key, meter_id, series_id, occurred_at, %(now)s, correction, quantity, event_id,
           source, properties, corrects, counts
    FROM unnest(CAST(%(organizations)s AS bigint[]), CAST(%(event_keys)s AS uuid[]), CAST(%(meters)s AS bigint[]),
                CAST(%(series)s AS bigint[]), CAST(%(moments)s AS timestamptz[]), CAST(%(corrections)s AS boolean[]),
                CAST(%(quantities)s AS numeric[]), CAST(%(event_ids)s AS text[]), CAST(%(sources)s AS text[]),
                CAST(%(properties)s AS jsonb[]), CAST(%(corrects)s AS uuid[]), CAST(%(counts)s AS boolean[]))
         AS sent(organization_id, event_key, meter_id, series_id, occurred_at, correction, quantity, event_id, source,
                 properties, corrects, counts)
    WHERE CAST(%(heeds_archives)s AS boolean) OR NOT EXISTS (SELECT FROM usage_archives)
"""
_INSERT_NEW = f"{_INSERT} ON CONFLICT DO NOTHING RETURNING organization_id, event_key"
# A series is written with its first rollup of a day: a rollup that was there before had its series written with it.
_FOLD = """
    WITH folded AS (
        INSERT INTO usage_daily AS daily (organization_id, day, series_id, meter_id, quantity, events, recorded_day,
                                          updated_at)
        SELECT *, CAST(%(recorded_day)s AS date), CAST(%(now)s AS timestamptz)
        FROM unnest(CAST(%(organizations)s AS bigint[]), CAST(%(days)s AS date[]), CAST(%(series)s AS bigint[]),
                    CAST(%(meters)s AS bigint[]), CAST(%(quantities)s AS numeric[]), CAST(%(events)s AS integer[]))
        ON CONFLICT (organization_id, day, series_id, recorded_day) DO UPDATE
        SET quantity = daily.quantity + excluded.quantity, events = daily.events + excluded.events,
            updated_at = excluded.updated_at
        RETURNING organization_id, series_id, xmax = 0 AS is_new
    )
    SELECT DISTINCT organization_id, series_id FROM folded WHERE is_new ORDER BY organization_id, series_id
"""
_EXISTING = text("""
    SELECT organization_id, event_key, series_id, occurred_at, quantity, properties, corrects, counts
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
    if all(each.corrects is None for each in records):
        return _store(records, records, {}, now)
    originals = originals_of(records)
    left = correctable(originals)
    complete = [completed(each, left) for each in records]
    outcomes = _store(complete, without_rivals(complete), left, now)
    if Outcome.NO_ORIGINAL in outcomes:
        return _told_of_archived(records, outcomes, originals.keys() - left.keys())
    return outcomes


def _store(
    records: Sequence[UsageRecord | None],
    candidates: Iterable[UsageRecord],
    originals: Mapping[Key, UsageRecord],
    now: datetime,
) -> list[Outcome]:
    first: dict[Key, UsageRecord] = {}
    for record in candidates:
        first.setdefault((record.organization_id, record.event_key), record)
    if not first:
        return [Outcome.NO_ORIGINAL] * len(records)
    ordered = [first[key] for key in sorted(first)]
    mark_late(chain(map(_when, ordered), map(_when, originals.values())), now=now)
    fresh, archived = _insert_unless_archived(ordered, now)
    _fold(ordered if fresh is None else [each for each in ordered if _key(each) in fresh], originals, now)
    if fresh is None and len(first) == len(records):
        return [Outcome.ACCEPTED] * len(records)
    return _outcomes(records, first, first.keys() if fresh is None else fresh, archived)


_key = attrgetter("organization_id", "event_key")
_when = attrgetter("organization_id", "occurred_at", "aggregation")


def _outcomes(
    records: Sequence[UsageRecord | None],
    first: Mapping[Key, UsageRecord],
    fresh: Collection[Key],
    archived: Mapping[Key, Kept],
) -> list[Outcome]:
    stored = _existing([record for record in records if record is not None and _key(record) not in fresh])
    seen: Counter[Key] = Counter()
    outcomes = []
    for record in records:
        if record is None:
            outcomes.append(Outcome.NO_ORIGINAL)
            continue
        key = _key(record)
        seen[key] += 1
        if key in fresh and seen[key] == 1:
            outcomes.append(Outcome.ACCEPTED)
        elif key in archived:
            is_same = fingerprint(*_content(record)) == archived[key].content
            outcomes.append(Outcome.DUPLICATE if is_same else Outcome.CONFLICT)
        elif key not in fresh and key not in stored:
            outcomes.append(Outcome.CORRECTED_BEFORE)
        elif _content(record) == (stored[key] if key in stored else _content(first[key])):
            outcomes.append(Outcome.DUPLICATE)
        else:
            outcomes.append(Outcome.CONFLICT)
    return outcomes


def _told_of_archived(
    records: Sequence[UsageRecord], outcomes: Sequence[Outcome], held_back: Collection[Key]
) -> list[Outcome]:
    """The outcomes, with those of corrections whose original is archived: they were sent before, or are refused.

    `held_back` are the originals that are stored and cannot be corrected (`correctable`).
    """
    missing = [
        record
        for record, outcome in zip(records, outcomes, strict=True)
        if outcome is Outcome.NO_ORIGINAL and record.corrects != record.event_key
    ]
    named = {(each.organization_id, each.corrects) for each in missing if each.corrects is not None}
    archived = archived_among({*map(_key, missing), *named})
    sent = {key: fingerprint(*content) for key, content in _existing(missing).items()}
    sent |= {key: kept.content for key, kept in archived.items()}
    refusing = {*held_back} | {key for key, kept in archived.items() if kept.counts}
    told = []
    for record, outcome in zip(records, outcomes, strict=True):
        if outcome is Outcome.NO_ORIGINAL and _key(record) in sent:
            is_same = fingerprint(*_content(record)) == sent[_key(record)]
            outcome = Outcome.DUPLICATE if is_same else Outcome.CONFLICT
        elif outcome is Outcome.NO_ORIGINAL and (record.organization_id, record.corrects) in refusing:
            outcome = Outcome.ARCHIVED
        told.append(outcome)
    return told


def _insert_unless_archived(
    records: Sequence[UsageRecord], now: datetime
) -> tuple[Collection[Key] | None, Mapping[Key, Kept]]:
    """Insert events, sorted by key, that are not archived; returns the keys of those that were new, None if all were.

    And what is known of those that are archived.
    """
    if not knows_of_archives():
        fresh = _insert(records, now, heeds_archives=False)
        if fresh is None or fresh or not discover_archives():
            return fresh, {}
    archived = archived_among(map(_key, records))
    if not archived:
        return _insert(records, now, heeds_archives=True), {}
    left = [each for each in records if _key(each) not in archived]
    fresh = _insert(left, now, heeds_archives=True) if left else set()
    return set(map(_key, left)) if fresh is None else fresh, archived


class _Caution:
    """For how many more batches this process expects events that are there already."""

    batches = 0


def _insert(records: Sequence[UsageRecord], now: datetime, *, heeds_archives: bool) -> set[Key] | None:
    """Insert events, sorted by key. Returns the keys of those that were new; None if all were.

    Inserts nothing if there are archives, unless they are heeded.
    """
    connection = db.session.connection()
    values = {**_event_values(records, now), "heeds_archives": heeds_archives}
    if len(records) >= FEWEST_TAKEN_FOR_NEW and not _Caution.batches:
        try:
            with connection.begin_nested():
                inserted = connection.exec_driver_sql(_INSERT, values).rowcount
                return None if inserted else set()
        except DBAPIError as error:
            if not _is_duplicate(error):
                raise
            _Caution.batches = CAREFUL_BATCHES
    fresh = {(row[0], row[1].bytes) for row in connection.exec_driver_sql(_INSERT_NEW, values)}
    _Caution.batches = CAREFUL_BATCHES if len(fresh) < len(records) else max(0, _Caution.batches - 1)
    return fresh


def _is_duplicate(error: DBAPIError) -> bool:
    """Whether a key was there already; Citus tells so without its proper code."""
    return isinstance(error.orig, UniqueViolation) or "duplicate key value" in str(error.orig)


def _fold(records: Sequence[UsageRecord], originals: Mapping[Key, UsageRecord], now: datetime) -> None:
    """Add new events to their rollups, sorted by key, and write the series that were not known before.

    What new events correct is taken out: of the day on which it counted, as heard of now.
    """
    corrected = [
        originals[each.organization_id, each.corrects] for each in records if originals and each.corrects is not None
    ]
    rollups = _rolled_up(records, corrected)
    derived = [each for each in records if each.adds is None]
    if derived or corrected:
        gone = [each for each in corrected if each.adds is None]
        _add_derived(rollups, derive(derived, gone, now=now))
    if not rollups:
        return
    ordered = sorted(rollups.items(), key=itemgetter(0))
    keys, sums = [key for key, _ in ordered], [rollup for _, rollup in ordered]
    values = {
        "now": now,
        "recorded_day": now.date(),
        "organizations": array([str(organization_id) for organization_id, _, _ in keys]),
        "days": array([str(day) for _, day, _ in keys]),
        "series": array([str(series_id) for _, _, series_id in keys]),
        "meters": array([str(each.meter_id) for _, _, each in sums]),
        "quantities": array([str(quantity) for quantity, _, _ in sums]),
        "events": array([str(events) for _, events, _ in sums]),
    }
    new = [(row[0], row[1]) for row in db.session.connection().exec_driver_sql(_FOLD, values)]
    if new:
        known = {(each.organization_id, each.series_id): each for _, _, each in sums}
        store_series([known[key] for key in new])
    note_batch(records, corrected, now=now)


Rollups = dict[RollupKey, tuple[Decimal, int, UsageRecord]]


@exactly
def _rolled_up(records: Iterable[UsageRecord], corrected: Iterable[UsageRecord]) -> Rollups:
    """By organization, day and series: the quantity, the number of events, and one of them."""
    rollups: Rollups = {}
    for each in records:
        if each.counts:
            key = (each.organization_id, each.occurred_at.date(), each.series_id)
            found, adds = rollups.get(key), each.adds or ZERO
            rollups[key] = (found[0] + adds, found[1] + 1, found[2]) if found else (adds, 1, each)
    for each in corrected:
        key = (each.organization_id, each.occurred_at.date(), each.series_id)
        quantity, events, sample = rollups.get(key, (ZERO, 0, each))
        rollups[key] = (quantity - (each.adds or ZERO), events - 1, sample)
    return rollups


@exactly
def _add_derived(rollups: Rollups, changes: Mapping[RollupKey, Decimal]) -> None:
    """Add to rollups what days change by whose quantity depends on other events; most have one of the batch's."""
    samples = {(each.organization_id, each.series_id): each for _, _, each in rollups.values()}
    for key, change in changes.items():
        quantity, events, sample = rollups.get(key, (ZERO, 0, samples[key[0], key[2]]))
        rollups[key] = (quantity + change, events, sample)


def _event_values(records: Sequence[UsageRecord], now: datetime) -> dict[str, object]:
    json_of = {id(each.properties): canonical_json(each.properties) for each in records if each.properties}
    return {
        "now": now,
        "organizations": array(_texts("organization_id", records)),
        "event_keys": array([each.event_key.hex() for each in records]),
        "meters": array(_texts("meter_id", records)),
        "series": array(_texts("series_id", records)),
        "moments": array([each.occurred_at.isoformat() for each in records]),
        "corrections": array(_texts("correction", records)),
        "quantities": array(_texts("quantity", records)),
        "event_ids": array_of_texts(_texts("event_id", records)),
        "sources": array_of_texts(_texts("source", records)),
        "properties": array([quoted(json_of[id(each.properties)]) if each.properties else "NULL" for each in records]),
        "corrects": array([each.corrects.hex() if each.corrects else "NULL" for each in records]),
        "counts": array(_texts("counts", records)),
    }


def _texts(field: str, records: Iterable[UsageRecord]) -> Iterable[str]:
    return map(str, map(attrgetter(field), records))


def _content(record: UsageRecord) -> Content:
    """What must be equal for the same id to be the same event."""
    content = record.series_id, record.occurred_at, plain(record.quantity), canonical_json(record.properties)
    return *content, record.corrects, record.counts


def _existing(records: Sequence[UsageRecord]) -> dict[Key, Content]:
    if not records:
        return {}
    rows = db.session.execute(
        _EXISTING,
        {
            "organizations": [each.organization_id for each in records],
            "event_keys": array(each.event_key.hex() for each in records),
        },
    )
    return {
        (row.organization_id, row.event_key.bytes): (
            row.series_id,
            row.occurred_at.astimezone(UTC),
            plain(row.quantity),
            canonical_json(row.properties),
            row.corrects and row.corrects.bytes,
            row.counts,
        )
        for row in rows
    }
