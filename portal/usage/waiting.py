"""Keeping events whose meter does not exist: exactly once like all usage, and counting nowhere until it does.

A row waits for its meter (usage.adopting), or has been discarded: by the staff (usage.discarding), or by a cancellation
that its sender has sent. Where usage has an event of the same key, because the sender has sent it again with a meter
that exists, that one counts and the row does not.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text

from portal.core.exact import plain
from portal.core.keys import canonical_json, event_key
from portal.infra.db import db
from portal.usage.events import UsageRecord
from portal.usage.ingesting import ingest
from portal.usage.outcomes import Outcome
from portal.usage.unknown import WaitingEvent
from portal.usage.writing import Key, array, array_of_texts, quoted

CANCELLED = "cancelled by its sender"
_INSERT = text("""
    INSERT INTO waiting_events (organization_id, event_key, meter_code, event_id, source, occurred_at, recorded_at,
                                document)
    SELECT organization_id, event_key, meter_code, event_id, source, occurred_at, :now, document
    FROM unnest(CAST(:organizations AS bigint[]), CAST(:event_keys AS uuid[]), CAST(:meters AS text[]),
                CAST(:event_ids AS text[]), CAST(:sources AS text[]), CAST(:moments AS timestamptz[]),
                CAST(:documents AS jsonb[]))
         AS sent(organization_id, event_key, meter_code, event_id, source, occurred_at, document)
    ON CONFLICT DO NOTHING
    RETURNING organization_id, event_key
""")
_NAMED = """
    (organization_id, event_key) IN (
        SELECT * FROM unnest(CAST(:organizations AS bigint[]), CAST(:event_keys AS uuid[])))
"""
_KEPT = text(f"SELECT organization_id, event_key, document FROM waiting_events WHERE {_NAMED}")
# Of usage that is stored, what its document said; the dimensions of a series stood among the properties.
_COUNTED = text(f"""
    SELECT e.organization_id, e.event_key, e.event_id, e.source, e.occurred_at, e.quantity, e.correction, e.corrects,
           m.code,
           coalesce(e.properties, '{{}}') || coalesce(s.dimensions, '{{}}') AS properties
    FROM (SELECT * FROM usage_events WHERE {_NAMED}) AS e
    JOIN meters AS m ON m.id = e.meter_id
    LEFT JOIN usage_series AS s ON s.organization_id = e.organization_id AND s.series_id = e.series_id
""")
_CANCEL = text("""
    UPDATE waiting_events AS w
    SET cancelled_by = sent.event_key, discarded_at = coalesce(w.discarded_at, :now),
        discarded_reason = coalesce(w.discarded_reason, :reason)
    FROM unnest(CAST(:organizations AS bigint[]), CAST(:originals AS uuid[]), CAST(:event_keys AS uuid[]))
         AS sent(organization_id, original, event_key)
    WHERE w.organization_id = sent.organization_id AND w.event_key = sent.original AND w.cancelled_by IS NULL
    RETURNING w.organization_id, w.cancelled_by
""")
_CANCELLED_BY = text(f"""
    SELECT organization_id, event_key, cancelled_by FROM waiting_events
    WHERE cancelled_by IS NOT NULL AND {_NAMED}
""")


def store_usage(
    records: Sequence[UsageRecord], unknown: Sequence[WaitingEvent], *, now: datetime
) -> tuple[list[Outcome], list[Outcome]]:
    """Store a batch in the current transaction, and keep those of its events whose meter does not exist.

    Returns the outcomes of both. Idempotent. Where every meter exists, and every event that is corrected, this does no
    more than ingest().
    """
    outcomes = ingest(records, now=now)
    kept = keep(unknown, now=now) if unknown else []
    if Outcome.NO_ORIGINAL in outcomes:
        outcomes = _cancel(records, outcomes, now=now)
    return outcomes, kept


def keep(events: Sequence[WaitingEvent], *, now: datetime) -> list[Outcome]:
    """Keep events in the current transaction and say of each whether it waits, or is there already. Idempotent.

    After the usage of the same batch has been stored: adoption takes its locks in that order too.
    """
    counted = _counted([_key(each) for each in events])
    first: dict[Key, WaitingEvent] = {}
    for each in events:
        if _key(each) not in counted:
            first.setdefault(_key(each), each)
    fresh = _insert([first[key] for key in sorted(first)], now)
    there = _kept(sorted(first.keys() - fresh))
    # What was there a moment ago and is not any more has been adopted.
    known = counted | there | _counted(sorted(first.keys() - fresh - there.keys()))
    known |= {key: _content(first[key].document) for key in fresh}
    outcomes = []
    for each in events:
        if _key(each) in fresh:
            fresh.remove(_key(each))
            outcomes.append(Outcome.WAITING)
        else:
            same = known.get(_key(each)) == _content(each.document)
            outcomes.append(Outcome.DUPLICATE if same else Outcome.CONFLICT)
    return outcomes


def _key(event: WaitingEvent) -> Key:
    return event.organization_id, event.event_key


def _insert(events: Sequence[WaitingEvent], now: datetime) -> set[Key]:
    """Insert events, sorted by key. Returns the keys of those that were new."""
    if not events:
        return set()
    values = {
        "now": now,
        **_keys([_key(each) for each in events]),
        "meters": array_of_texts(each.meter for each in events),
        "event_ids": array_of_texts(each.document["id"] for each in events),
        "sources": array_of_texts(each.document["source"] for each in events),
        "moments": array(each.occurred_at.isoformat() for each in events),
        "documents": array(quoted(canonical_json(each.document)) for each in events),
    }
    return {(row[0], row[1].bytes) for row in db.session.execute(_INSERT, values)}


def _keys(keys: Sequence[Key]) -> dict[str, Any]:
    return {"organizations": [key[0] for key in keys], "event_keys": array(key[1].hex() for key in keys)}


def _kept(keys: Sequence[Key]) -> dict[Key, str]:
    """The content of the waiting (or discarded) events that have these keys."""
    rows = db.session.execute(_KEPT, _keys(keys)) if keys else ()
    return {(row[0], row[1].bytes): _content(row.document) for row in rows}


def _counted(keys: Sequence[Key]) -> dict[Key, str]:
    """The content of the usage that has these keys, as its document said it."""
    rows = db.session.execute(_COUNTED, _keys(keys)) if keys else ()
    return {
        (row.organization_id, row.event_key.bytes): _content(
            {
                "id": row.event_id,
                "source": row.source,
                "meter": row.code,
                "quantity": plain(row.quantity),
                "time": row.occurred_at.astimezone(UTC).isoformat(),
                "properties": row.properties,
                "correction": row.correction,
                "corrects": row.corrects and row.corrects.hex,
            }
        )
        for row in rows
    }


def _content(document: Mapping[str, Any]) -> str:
    """What must be equal for the same id to be the same event."""
    content: dict[str, Any] = {"quantity": "1", "properties": {}, "correction": False, "corrects": None} | dict(
        document
    )
    amends = content.pop("amends", None)
    if amends is not None:
        content["corrects"] = event_key(amends, document["source"]).hex
    return canonical_json(content)


def _cancel(records: Sequence[UsageRecord], outcomes: Sequence[Outcome], *, now: datetime) -> list[Outcome]:
    """The outcomes, with those of cancellations that name a waiting event instead of usage; it is discarded.

    ingest() holds the corrections of these organizations, so nothing that they name is being adopted meanwhile.
    """
    named: dict[Key, bytes] = {}
    for record, outcome in zip(records, outcomes, strict=True):
        if outcome is Outcome.NO_ORIGINAL and not record.counts and record.corrects not in (None, record.event_key):
            assert record.corrects is not None
            named.setdefault((record.organization_id, record.corrects), record.event_key)
    if not named:
        return list(outcomes)
    keys = sorted(named)
    sent = {
        "organizations": [key[0] for key in keys],
        "originals": array(key[1].hex() for key in keys),
        "event_keys": array(named[key].hex() for key in keys),
        "now": now,
        "reason": CANCELLED,
    }
    new = {(row[0], row[1].bytes) for row in db.session.execute(_CANCEL, sent)}
    stored = db.session.execute(_CANCELLED_BY, _keys(keys))
    cancelled = {(row[0], row[1].bytes): row[2].bytes for row in stored}
    return [
        _outcome_of_cancellation(record, cancelled, new) if outcome is Outcome.NO_ORIGINAL else outcome
        for record, outcome in zip(records, outcomes, strict=True)
    ]


def _outcome_of_cancellation(record: UsageRecord, cancelled: Mapping[Key, bytes], new: set[Key]) -> Outcome:
    """Of one that names no usage; `new` are the keys of cancellations that have just taken effect, each told once."""
    original = record.corrects and cancelled.get((record.organization_id, record.corrects))
    if not original or record.counts:
        return Outcome.NO_ORIGINAL
    if original != record.event_key:
        return Outcome.CORRECTED_BEFORE
    key = record.organization_id, record.event_key
    if key in new:
        new.remove(key)
        return Outcome.ACCEPTED
    return Outcome.DUPLICATE
