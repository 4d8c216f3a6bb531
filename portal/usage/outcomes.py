"""What became of the events of a batch, item by item: also of those that are archived, or were there before."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from operator import attrgetter

from sqlalchemy import text

from portal.core.exact import plain
from portal.core.keys import canonical_json
from portal.infra.db import db
from portal.usage.archived import Kept, archived_among, fingerprint
from portal.usage.events import UsageRecord
from portal.usage.writing import Key, array


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

Content = tuple[int, datetime, str, str, bytes | None, bool]
_EXISTING = text("""
    SELECT organization_id, event_key, series_id, occurred_at, quantity, properties, corrects, counts
    FROM usage_events
    WHERE (organization_id, event_key) IN (
        SELECT * FROM unnest(CAST(:organizations AS bigint[]), CAST(:event_keys AS uuid[])))
""")
key_of_record = attrgetter("organization_id", "event_key")


def outcomes_of(
    records: Sequence[UsageRecord | None],
    first: Mapping[Key, UsageRecord],
    fresh: Collection[Key],
    archived: Mapping[Key, Kept],
) -> list[Outcome]:
    stored = _existing([record for record in records if record is not None and key_of_record(record) not in fresh])
    seen: Counter[Key] = Counter()
    outcomes = []
    for record in records:
        if record is None:
            outcomes.append(Outcome.NO_ORIGINAL)
            continue
        key = key_of_record(record)
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


def told_of_archived(
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
    archived = archived_among({*map(key_of_record, missing), *named})
    sent = {key: fingerprint(*content) for key, content in _existing(missing).items()}
    sent |= {key: kept.content for key, kept in archived.items()}
    refusing = {*held_back} | {key for key, kept in archived.items() if kept.counts}
    told = []
    for record, outcome in zip(records, outcomes, strict=True):
        if outcome is Outcome.NO_ORIGINAL and key_of_record(record) in sent:
            is_same = fingerprint(*_content(record)) == sent[key_of_record(record)]
            outcome = Outcome.DUPLICATE if is_same else Outcome.CONFLICT
        elif outcome is Outcome.NO_ORIGINAL and (record.organization_id, record.corrects) in refusing:
            outcome = Outcome.ARCHIVED
        told.append(outcome)
    return told


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
