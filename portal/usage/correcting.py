"""Amending and cancelling events: an event that names another one, which counts no more from then on.

Nothing is changed or deleted. The original stays, and so does what it added on the day on which it was heard of; the
correction takes that away again on the day of its own, so every earlier state of knowledge can still be told.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC

import msgspec
from sqlalchemy import text

from portal.core.quantities import Aggregation
from portal.infra.db import db
from portal.usage.events import UsageRecord, added
from portal.usage.writing import Key, array

# Whoever corrects waits for others who correct usage of the same organization: they may name the same events.
_LOCK = text("""
    SELECT pg_advisory_xact_lock(hashtextextended('usage corrections', organization_id))
    FROM unnest(CAST(:organizations AS bigint[])) AS organization_id
""")
_STORED = text("""
    SELECT e.organization_id, e.event_key, e.event_id, e.source, e.meter_id, e.series_id, e.occurred_at, e.quantity,
           e.correction, e.properties, m.aggregation,
           substring(sha256(convert_to(e.properties ->> m.subject, 'UTF8')) FOR 16) AS subject
    FROM usage_events AS e
    JOIN meters AS m ON m.id = e.meter_id
    WHERE e.counts AND (e.organization_id, e.event_key) IN (
        SELECT * FROM unnest(CAST(:organizations AS bigint[]), CAST(:event_keys AS uuid[])))
""")


def lock_corrections(organization_ids: Collection[int]) -> None:
    """Hold the corrections of these organizations until the transaction ends; to be taken before any row."""
    db.session.execute(_LOCK, {"organizations": sorted(organization_ids)})


def originals_of(records: Sequence[UsageRecord]) -> dict[Key, UsageRecord]:
    """The events that these records correct, by their keys, as they are stored or stand in the same batch.

    Whoever corrects usage of the same organizations afterwards waits until this transaction ends.
    """
    named = {(each.organization_id, each.corrects) for each in records if each.corrects is not None}
    lock_corrections({organization_id for organization_id, _ in named})
    # Whether a correction beside it is stored is not known yet.
    beside = {(each.organization_id, each.event_key): each for each in reversed(records) if each.corrects is None}
    return {key: beside[key] for key in named & beside.keys()} | _stored(sorted(named))


def _stored(keys: Sequence[Key]) -> dict[Key, UsageRecord]:
    rows = db.session.execute(
        _STORED,
        {"organizations": [key[0] for key in keys], "event_keys": array(key[1].hex() for key in keys)},
    )
    originals = {}
    for row in rows:
        aggregation = Aggregation(row.aggregation)
        originals[row.organization_id, row.event_key.bytes] = UsageRecord(
            organization_id=row.organization_id,
            event_key=row.event_key.bytes,
            event_id=row.event_id,
            source=row.source,
            meter_id=row.meter_id,
            series_id=row.series_id,
            dimensions={},
            occurred_at=row.occurred_at.astimezone(UTC),
            quantity=row.quantity,
            correction=row.correction,
            properties=row.properties,
            aggregation=aggregation,
            adds=added(aggregation, row.quantity),
            subject=row.subject,
        )
    return originals


def completed(record: UsageRecord, originals: Mapping[Key, UsageRecord]) -> UsageRecord | None:
    """A record with what a cancellation takes from its original; None if it corrects an event that does not exist."""
    if record.corrects is None:
        return record
    original = originals.get((record.organization_id, record.corrects))
    if original is None or record.corrects == record.event_key:
        return None
    if record.counts:
        return record
    return msgspec.structs.replace(
        record, meter_id=original.meter_id, series_id=original.series_id, occurred_at=original.occurred_at
    )


def without_rivals(records: Iterable[UsageRecord | None]) -> Iterator[UsageRecord]:
    """The records that there are, but of several that correct the same event only the first."""
    first: dict[Key, bytes] = {}
    for record in records:
        if record is None:
            continue
        original = record.corrects and (record.organization_id, record.corrects)
        if not original or first.setdefault(original, record.event_key) == record.event_key:
            yield record
