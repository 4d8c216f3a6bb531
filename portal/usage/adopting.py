"""Waiting events become usage once there is a meter of their code: read again like any event, and stored by ingest().

What the meter does not take stays waiting with the reason, and is looked at again an hour later, because what an event
corrects may have come meanwhile.
"""

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from portal.catalog.models import Meter
from portal.catalog.queries import meters_by_code
from portal.core.errors import InvalidInput
from portal.infra import audit
from portal.infra.db import db, transaction
from portal.usage.correcting import lock_corrections
from portal.usage.events import Reader, UsageRecord
from portal.usage.ingesting import ingest
from portal.usage.outcomes import REASONS, Outcome
from portal.usage.writing import array, array_of_texts

AT_ONCE = 1_000
AGAIN_AFTER = timedelta(hours=1)
# The clock has other work: what is not reached in this time comes a minute later.
CLOCK_SECONDS = 15
_STORED = (Outcome.ACCEPTED, Outcome.DUPLICATE, Outcome.CONFLICT)
_DUE = """
    discarded_at IS NULL AND meter_code = ANY(CAST(:codes AS text[]))
    AND (looked_at IS NULL OR looked_at < :looked_before)
"""
_ORGANIZATIONS = text(f"SELECT DISTINCT organization_id FROM waiting_events WHERE {_DUE} ORDER BY organization_id")
_TAKE = text(f"""
    SELECT event_key, document FROM waiting_events
    WHERE organization_id = :organization_id AND {_DUE}
    ORDER BY recorded_at, event_key
    LIMIT :most
    FOR UPDATE
""")
_KEYED = "organization_id = :organization_id AND event_key = ANY(CAST(:event_keys AS uuid[]))"
_FORGET = text(f"DELETE FROM waiting_events WHERE {_KEYED}")
_LEAVE = text("""
    UPDATE waiting_events AS w SET looked_at = :now, reason = stays.reason
    FROM unnest(CAST(:event_keys AS uuid[]), CAST(:reasons AS text[])) AS stays(event_key, reason)
    WHERE w.organization_id = :organization_id AND w.event_key = stays.event_key
""")
_FORGET_COUNTED = text("""
    WITH counted AS (
        SELECT w.organization_id, w.event_key FROM waiting_events AS w
        WHERE EXISTS (SELECT FROM usage_events AS e
                      WHERE e.organization_id = w.organization_id AND e.event_key = w.event_key)
        FOR UPDATE SKIP LOCKED
    )
    DELETE FROM waiting_events AS w USING counted
    WHERE w.organization_id = counted.organization_id AND w.event_key = counted.event_key
""")


def adopt_waiting(*, now: datetime, seconds: int | None = None) -> int:
    """Store all waiting events whose meter is on sale, in transactions of its own; returns how many count now.

    Idempotent, also beside others who do the same and while events come in. With `seconds`, begins nothing after them.
    Rows of which usage has an event of the same key are forgotten: their sender has sent them again.
    """
    latest = None if seconds is None else time.monotonic_ns() + seconds * 1_000_000_000
    adopted = 0
    for organization_id in _organizations(now):
        found: int | None = 0
        while found is not None and (latest is None or time.monotonic_ns() < latest):
            with transaction():
                found = adopt_some(organization_id, now=now)
            adopted += found or 0
    with transaction() as session:
        session.execute(_FORGET_COUNTED)
    return adopted


def adopt_by_clock(*, now: datetime) -> None:
    """The same, for as long as the clock has time."""
    adopt_waiting(now=now, seconds=CLOCK_SECONDS)


def _organizations(now: datetime) -> list[int]:
    with transaction() as session:
        codes = _codes(meters_by_code())
        return list(session.scalars(_ORGANIZATIONS, {"codes": codes, "looked_before": now - AGAIN_AFTER}))


def adopt_some(organization_id: int, *, now: datetime) -> int | None:
    """Store the next AT_ONCE of an organization in the current transaction; returns how many count, None at the end.

    Whoever cancels one of them waits, and finds usage afterwards.
    """
    lock_corrections({organization_id})
    meters = meters_by_code()
    values = {"organization_id": organization_id, "looked_before": now - AGAIN_AFTER, "most": AT_ONCE}
    rows = db.session.execute(_TAKE, {**values, "codes": _codes(meters)}).all()
    if not rows:
        return None
    documents = {row.event_key.bytes: row.document for row in rows}
    records, left = _read(organization_id, documents, meters, now)
    outcomes = dict(zip((each.event_key for each in records), ingest(records, now=now), strict=True))
    left |= {key: REASONS[outcome] for key, outcome in outcomes.items() if outcome not in _STORED}
    _leave(organization_id, left, now)
    # Last of all, as a sender who sends one of them again waits for this.
    keys = [key for key, outcome in outcomes.items() if outcome in _STORED]
    db.session.execute(_FORGET, {"organization_id": organization_id, "event_keys": _keys(keys)})
    adopted = Counter(documents[key]["meter"] for key, outcome in outcomes.items() if outcome is Outcome.ACCEPTED)
    for code, events in sorted(adopted.items()):
        audit.record(
            "counted waiting usage",
            subject="waiting usage",
            subject_id=None,
            organization_id=organization_id,
            after={"meter": code, "events": events},
        )
    return adopted.total()


def _read(
    organization_id: int, documents: Mapping[bytes, Any], meters: Mapping[str, Meter], now: datetime
) -> tuple[list[UsageRecord], dict[bytes, str]]:
    """The documents as records, and the reasons of those that their meter does not take."""
    reader = Reader(meters, now=now, organization_id=organization_id, organizations={})
    records, refused = [], {}
    for key, document in documents.items():
        try:
            records.append(reader.read(document))
        except InvalidInput as error:
            refused[key] = error.sentence
    return records, refused


def _leave(organization_id: int, reasons: Mapping[bytes, str], now: datetime) -> None:
    if reasons:
        values = {"event_keys": _keys(list(reasons)), "reasons": array_of_texts(reasons.values()), "now": now}
        db.session.execute(_LEAVE, {"organization_id": organization_id, **values})


def _codes(meters: Collection[str]) -> str:
    return array_of_texts(sorted(meters))


def _keys(keys: Sequence[bytes]) -> str:
    return array(key.hex() for key in keys)
