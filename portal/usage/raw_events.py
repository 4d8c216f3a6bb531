"""Events as they were sent: those of one day, newest first, page by page, and one by its id.

There is no index by time but a summary of block ranges: a day is found without reading the whole table, a moment within
it is not. So everything here asks for one day, or for one event.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import text

from portal.core.errors import InvalidInput
from portal.core.keys import event_key
from portal.core.periods import midnight
from portal.infra.db import db

MOST_IN_A_FILE = 100_000
_READ_AT_ONCE = 1_000
_SERIES = re.compile("-?[0-9]{1,19}")
# Where a page ends: the moment and key of its last event.
Place = tuple[datetime, UUID]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """The day, and what else must hold; `series_id` is the key of a series."""

    day: date
    meter: str | None = None
    series_id: int | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class RawEvent:
    """One event. `corrects` names the event that it amends or cancels, `corrected_by` the one that did that to it."""

    event_key: UUID
    event_id: str
    source: str
    meter_code: str
    meter_name: str
    unit: str
    series_id: int
    dimensions: Mapping[str, str]
    properties: Mapping[str, Any] | None
    quantity: Decimal
    occurred_at: datetime
    recorded_at: datetime
    counts: bool
    corrects: str | None
    corrected_by: str | None
    is_cancelled: bool

    @property
    def state(self) -> str:
        """What became of it, in a word: "counts", "amended", "cancelled", or of a cancellation "cancels"."""
        if self.corrected_by is not None:
            return "cancelled" if self.is_cancelled else "amended"
        return "counts" if self.counts else "cancels"

    @property
    def place(self) -> Place:
        """Where it stands in the order of pages."""
        return self.occurred_at, self.event_key


# What is to be shown of the events of `found`; corrections are named by an index of few rows, originals by their key.
_SHOWN = """
    SELECT found.event_key, found.event_id, found.source, meters.code AS meter_code, meters.name AS meter_name,
           meters.unit, found.series_id, usage_series.dimensions, found.properties, found.quantity, found.occurred_at,
           found.recorded_at, found.counts, original.event_id AS corrects, correction.event_id AS corrected_by,
           coalesce(NOT correction.counts, false) AS is_cancelled
    FROM ({found}) AS found
    JOIN meters ON meters.id = found.meter_id
    JOIN usage_series ON usage_series.organization_id = :organization_id AND usage_series.series_id = found.series_id
    LEFT JOIN LATERAL (
        SELECT event_id FROM usage_events
        WHERE organization_id = :organization_id AND event_key = found.corrects OFFSET 0
    ) AS original ON found.corrects IS NOT NULL
    LEFT JOIN LATERAL (
        SELECT event_id, counts FROM usage_events
        WHERE organization_id = :organization_id AND corrects = found.event_key OFFSET 0
    ) AS correction ON true
    ORDER BY found.occurred_at DESC, found.event_key DESC
"""
_CONDITIONS = {
    "meter": "meter_id = (SELECT id FROM meters WHERE code = :meter)",
    "series_id": "series_id = :series_id",
    "source": "source = :source",
    "place": "(occurred_at, event_key) < (:moment, :event_key)",
}
_NEWEST_DAY = text("""
    SELECT day FROM usage_daily WHERE organization_id = :organization_id AND events <> 0 ORDER BY day DESC LIMIT 1
""")


def newest_day(organization_id: int) -> date | None:
    """The newest day with usage; None if there never was any."""
    day: date | None = db.session.scalar(_NEWEST_DAY, {"organization_id": organization_id})
    return day


def events_of_day(
    organization_id: int, chosen: EventFilter, *, most: int, after: Place | None = None
) -> Iterator[RawEvent]:
    """The events of a day, newest first, behind a place; read from the database as they are taken."""
    values: dict[str, Any] = {
        "organization_id": organization_id,
        "start": midnight(chosen.day),
        "end": midnight(chosen.day + timedelta(days=1)),
        "most": most,
    }
    given = {"meter": chosen.meter, "series_id": chosen.series_id, "source": chosen.source}
    values |= {name: value for name, value in given.items() if value is not None}
    conditions = [_CONDITIONS[name] for name, value in given.items() if value is not None]
    if after is not None:
        values |= {"moment": after[0], "event_key": after[1]}
        conditions.append(_CONDITIONS["place"])
    found = f"""
        SELECT * FROM usage_events
        WHERE {
        " AND ".join(
            ["organization_id = :organization_id AND occurred_at >= :start AND occurred_at < :end", *conditions]
        )
    }
        ORDER BY occurred_at DESC, event_key DESC LIMIT :most
    """
    options = {"yield_per": _READ_AT_ONCE} if most > _READ_AT_ONCE else {}
    rows = db.session.execute(text(_SHOWN.format(found=found)), values, execution_options=options)
    for row in rows:
        yield RawEvent(**row._mapping)


def event_by_id(organization_id: int, event_id: str, source: str) -> RawEvent | None:
    """One event by its id and source, whatever its day; None if there is none."""
    found = "SELECT * FROM usage_events WHERE organization_id = :organization_id AND event_key = :event_key"
    values = {"organization_id": organization_id, "event_key": event_key(event_id, source)}
    row = db.session.execute(text(_SHOWN.format(found=found)), values).one_or_none()
    return None if row is None else RawEvent(**row._mapping)


def write_place(place: Place) -> str:
    """A place as a text that only `read_place` has to understand."""
    moment, key = place
    return base64.urlsafe_b64encode(f"{moment.isoformat()} {key}".encode()).decode().rstrip("=")


def read_series(written: str | None) -> int | None:
    """The key of a series from an address. Raises InvalidInput."""
    if not written:
        return None
    if not _SERIES.fullmatch(written) or not -(2**63) <= int(written) < 2**63:
        raise InvalidInput("series is the key of a series, a whole number.", field="series")
    return int(written)


def read_place(written: str | None) -> Place | None:
    """What `write_place` wrote. Raises InvalidInput for anything else."""
    if not written:
        return None
    try:
        padded = written.encode() + b"=" * (-len(written) % 4)
        moment, _, key = base64.urlsafe_b64decode(padded).decode().rpartition(" ")
        place = datetime.fromisoformat(moment), UUID(key)
        if place[0].tzinfo is None:
            raise ValueError("a moment without its zone")
    except (ValueError, binascii.Error):
        raise InvalidInput("This is not where a page ended; begin with the first page.", field="after") from None
    return place
