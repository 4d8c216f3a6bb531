"""Reads of usage that waits for a meter, and of what was discarded of it.

An event that is stored as usage too does not wait: its sender has sent it again with a meter that exists.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Row, exists, func, select, text

from portal.core.periods import Month
from portal.infra.db import db
from portal.usage.models import UsageEvent
from portal.usage.waiting_models import WaitingUsage

MOST_SHOWN = 200
_UNCOUNTED = """
    NOT EXISTS (SELECT FROM usage_events AS e
                WHERE e.organization_id = w.organization_id AND e.event_key = w.event_key)
"""
_WAITS = f"w.discarded_at IS NULL AND {_UNCOUNTED}"
_WHOSE = "o.public_id, o.slug, o.name, w.meter_code AS meter"
_SUMS = """
    count(*) AS events, min(w.occurred_at) AS first_at, max(w.occurred_at) AS last_at,
    sum(CAST(w.document ->> 'quantity' AS numeric)) AS quantity
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Events of one organization (public_id, slug, name) and meter code that wait; if there is such a meter, why.

    `quantity` is the sum of what they say, None if none of them says anything.
    """

    public_id: UUID
    slug: str
    name: str
    meter: str
    reason: str | None
    events: int
    first_at: datetime
    last_at: datetime
    quantity: Decimal | None


@dataclass(frozen=True, slots=True)
class Discarded:
    """Events of one organization and meter code that were discarded for one reason; by nobody if a sender cancelled."""

    public_id: UUID
    slug: str
    name: str
    meter: str
    discarded_reason: str
    discarded_by: str | None
    discarded_at: datetime
    cancelled: bool
    events: int
    first_at: datetime
    last_at: datetime
    quantity: Decimal | None


_WAITING = text(f"""
    SELECT {_WHOSE}, w.reason, {_SUMS}
    FROM waiting_events AS w JOIN organizations AS o ON o.id = w.organization_id
    WHERE {_WAITS} AND w.organization_id = coalesce(CAST(:organization_id AS bigint), w.organization_id)
    GROUP BY o.id, w.meter_code, w.reason
    ORDER BY events DESC, o.slug, meter, w.reason
    LIMIT CAST(:most AS bigint)
""")
_DISCARDED = text(f"""
    SELECT {_WHOSE}, w.discarded_reason, w.discarded_by, max(w.discarded_at) AS discarded_at,
           w.cancelled_by IS NOT NULL AS cancelled, {_SUMS}
    FROM waiting_events AS w JOIN organizations AS o ON o.id = w.organization_id
    WHERE w.discarded_at IS NOT NULL AND {_UNCOUNTED}
    GROUP BY o.id, w.meter_code, w.discarded_reason, w.discarded_by, cancelled
    ORDER BY discarded_at DESC, o.slug, meter
    LIMIT CAST(:most AS bigint)
""")
_OF_MONTH = text(f"""
    SELECT w.organization_id, w.meter_code, w.reason IS NOT NULL AS refused, count(*) AS events
    FROM waiting_events AS w
    WHERE {_WAITS} AND w.organization_id = ANY(:organization_ids) AND w.occurred_at >= :start AND w.occurred_at < :end
    GROUP BY w.organization_id, w.meter_code, refused
    ORDER BY refused, events DESC, w.meter_code
""")
MOST_NAMED = 5


def waiting_usage(*, organization_id: int | None = None, limit: int | None = None) -> list[Waiting]:
    """What waits, by organization and meter code, the most events first; of one organization on wish."""
    rows = db.session.execute(_WAITING, {"organization_id": organization_id, "most": limit})
    return [Waiting(**row._mapping) for row in rows]


def discarded_usage(*, limit: int | None = None) -> list[Discarded]:
    """What was discarded, the latest first."""
    return [Discarded(**row._mapping) for row in db.session.execute(_DISCARDED, {"most": limit})]


def count_waiting() -> int:
    """How many events wait."""
    counted = exists().where(
        UsageEvent.organization_id == WaitingUsage.organization_id, UsageEvent.event_key == WaitingUsage.event_key
    )
    query = select(func.count()).select_from(WaitingUsage).where(WaitingUsage.discarded_at.is_(None), ~counted)
    return db.session.scalar(query) or 0


def waiting_sentences(organization_id: int, month: Month) -> list[str]:
    """That usage of a month waits, in sentences that name the meters with the most events; none if none does."""
    return waiting_sentences_of_many([organization_id], month).get(organization_id, [])


def waiting_sentences_of_many(organization_ids: Sequence[int], month: Month) -> dict[int, list[str]]:
    """The same of many organizations, in one query; those of which nothing waits are missing."""
    values = {"organization_ids": list(organization_ids), "start": month.start, "end": month.end}
    waiting: dict[int, list[Row[Any]]] = {}
    for row in db.session.execute(_OF_MONTH, values):
        waiting.setdefault(row.organization_id, []).append(row)
    return {organization_id: _sentences(rows) for organization_id, rows in waiting.items()}


def _sentences(rows: Sequence[Row[Any]]) -> list[str]:
    missing = [(row.meter_code, row.events) for row in rows if not row.refused]
    refused = [(row.meter_code, row.events) for row in rows if row.refused]
    return [
        f"{what}: {_named(counts)}."
        for what, counts in (
            ("Usage of meters that do not exist waits", missing),
            ("Usage waits that its meter does not take", refused),
        )
        if counts
    ]


def _named(counts: list[tuple[str, int]]) -> str:
    named = [f"“{code}” ({events:,} event{'' if events == 1 else 's'})" for code, events in counts[:MOST_NAMED]]
    return ", ".join(named) + (f" and {len(counts) - MOST_NAMED:,} more" if len(counts) > MOST_NAMED else "")
