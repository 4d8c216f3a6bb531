"""Storing usage: events exactly once, folded into daily rollups, in one transaction.

Order matters: late months, events, what is remembered of series whose days do not simply add up, rollups and series are
written in this order, and each of them sorted by its key; so two batches which share events or series wait for each
other and never deadlock.

While there are archives (usage.archived), events that are in one of them are left out first. A process that does not
know of any inserts nothing if there are; that costs the statement one look at a table without rows.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import chain
from operator import attrgetter, itemgetter

from portal.core.exact import ZERO, exactly
from portal.core.keys import canonical_json
from portal.usage.archived import Kept, archived_among, correctable, discover_archives, knows_of_archives
from portal.usage.correcting import completed, originals_of, without_rivals
from portal.usage.deriving import derive
from portal.usage.events import UsageRecord
from portal.usage.inserting import insert_events
from portal.usage.lateness import mark_late
from portal.usage.outcomes import Outcome, key_of_record, outcomes_of, told_of_archived
from portal.usage.rolling_up import add_to_days
from portal.usage.series import store_series
from portal.usage.touched import RollupKey
from portal.usage.unfolded import entries_of
from portal.usage.writing import Key, array, array_of_texts, quoted

_when = attrgetter("organization_id", "occurred_at", "aggregation")


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
        return told_of_archived(records, outcomes, originals.keys() - left.keys())
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
    _fold(ordered if fresh is None else [each for each in ordered if key_of_record(each) in fresh], originals, now)
    if fresh is None and len(first) == len(records):
        return [Outcome.ACCEPTED] * len(records)
    return outcomes_of(records, first, first.keys() if fresh is None else fresh, archived)


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
    archived = archived_among(map(key_of_record, records))
    if not archived:
        return _insert(records, now, heeds_archives=True), {}
    left = [each for each in records if key_of_record(each) not in archived]
    fresh = _insert(left, now, heeds_archives=True) if left else set()
    return set(map(key_of_record, left)) if fresh is None else fresh, archived


def _insert(records: Sequence[UsageRecord], now: datetime, *, heeds_archives: bool) -> set[Key] | None:
    return insert_events(_columns(records, now), len(records), heeds_archives=heeds_archives)


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
    new = add_to_days(
        [
            (organization_id, str(day), series_id, sample.meter_id, quantity, events)
            for (organization_id, day, series_id), (quantity, events, sample) in sorted(
                rollups.items(), key=itemgetter(0)
            )
        ],
        entries_of(records, corrected),
        now=now,
    )
    if new:
        known = {(each.organization_id, each.series_id): each for _, _, each in rollups.values()}
        store_series([known[key] for key in new])


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


def _columns(records: Sequence[UsageRecord], now: datetime) -> dict[str, object]:
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
