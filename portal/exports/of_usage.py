"""Files of usage: what every series came to by the day, from the rollups; and the events as they were sent."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy import text

from portal.core.errors import NotReady
from portal.core.exact import plain
from portal.core.periods import Month, midnight
from portal.core.saying import Said
from portal.exports.wishes import Piece, Wish
from portal.infra.db import db
from portal.infra.pages import csv_text
from portal.usage.archived import archive_sentence
from portal.usage.exploring import Resolution, SeriesTotal, Span, totals
from portal.usage.raw_events import EventFilter, RawEvent, events_of_day, read_place, write_place

USAGE_HEAD = ("Day", "Product", "Meter", "Meter code", "Dimensions", "Quantity", "Unit", "Events")
EVENTS_HEAD = (
    *("Time", "Heard of at", "Meter code", "Quantity", "Unit", "Dimensions", "Properties", "Source", "Id", "Series"),
    *("Corrects", "Corrected by", "State"),
)
# A day is sorted anew for each piece of it, so a piece is as large as memory allows with ease.
EVENTS_IN_A_PIECE = 20_000
_DAY = timedelta(days=1)
_MARK = "\ufeff"
_COUNT = """
    SELECT coalesce(sum({what}), 0) FROM usage_daily AS daily JOIN meters ON meters.id = daily.meter_id
    WHERE daily.organization_id = :organization_id AND daily.day BETWEEN :first AND :last
      AND (CAST(:meter AS text) IS NULL OR meters.code = :meter)
"""


def _count(what: str, organization_id: int, wish: Wish) -> int:
    days = {"first": wish.first_day, "last": wish.last_day}
    query = text(_COUNT.format(what=what))
    return int(db.session.scalar(query, {"organization_id": organization_id, "meter": wish.meter, **days}) or 0)


class UsageByDay:
    """One row for every series and day; of a running value (a month's largest or latest) what the month had reached."""

    def head(self) -> str:
        """The mark of its encoding, for spreadsheets, and the names of the columns."""
        return _MARK + csv_text([USAGE_HEAD])

    def units(self, organization_id: int, wish: Wish) -> int:
        """Series-days with usage."""
        return _count("1", organization_id, wish)

    def piece(self, organization_id: int, wish: Wish, reached: str) -> Piece:
        """One day."""
        day = date.fromisoformat(reached) if reached else wish.first_day
        span = Span(midnight(day), midnight(day + _DAY), Resolution.DAY)
        found = [each for each in totals(organization_id, span) if wish.choice.holds(each)]
        rows = csv_text(_usage_row(day, each) for each in found)
        return Piece(rows, len(found), len(found), str(day + _DAY) if day < wish.last_day else None)


def _usage_row(day: date, total: SeriesTotal) -> tuple[Any, ...]:
    meter = total.meter
    pairs = _pairs(total.dimensions)
    return (day, meter.product, meter.name, meter.code, pairs, total.quantity, meter.unit, total.events)


@dataclass(frozen=True, slots=True)
class Events:
    """The events as they were sent, day by day, the newest of a day first; as CSV, or an object a line."""

    as_json: bool

    def head(self) -> str:
        """As of UsageByDay; lines of JSON have none."""
        return "" if self.as_json else _MARK + csv_text([EVENTS_HEAD])

    def units(self, organization_id: int, wish: Wish) -> int:
        """Usage reports."""
        return _count("daily.events", organization_id, wish)

    def piece(self, organization_id: int, wish: Wish, reached: str) -> Piece:
        """Up to so many events of a day. Raises NotReady for a day whose events are archived."""
        written, _, place = reached.partition(" ")
        day = date.fromisoformat(written) if written else wish.first_day
        archived = archive_sentence(Month.of(day))
        if archived is not None:
            raise NotReady(Said("%(archived)s Choose other days, or usage by the day.", archived=archived))
        chosen = EventFilter(day, meter=wish.meter)
        found = list(events_of_day(organization_id, chosen, most=EVENTS_IN_A_PIECE, after=read_place(place)))
        where = wish.choice.where
        kept = [each for each in found if where is None or each.dimensions.get(where[0]) == where[1]]
        following: str | None
        if len(found) == EVENTS_IN_A_PIECE:
            following = f"{day} {write_place(found[-1].place)}"
        else:
            following = str(day + _DAY) if day < wish.last_day else None
        return Piece(self._written(kept), len(kept), len(found), following)

    def _written(self, events: Iterable[RawEvent]) -> str:
        if self.as_json:
            return "".join(json.dumps(_event_facts(each), ensure_ascii=False) + "\n" for each in events)
        return csv_text(map(event_row, events))


def _event_facts(event: RawEvent) -> dict[str, Any]:
    """Named as the API names them; numbers with decimals are strings."""
    return {
        "id": event.event_id,
        "source": event.source,
        "meter": event.meter_code,
        "quantity": plain(event.quantity),
        "unit": event.unit,
        "time": event.occurred_at.isoformat(),
        "heard_at": event.recorded_at.isoformat(),
        "dimensions": dict(event.dimensions),
        "properties": dict(event.properties or {}),
        "series": str(event.series_id),
        "state": event.state,
        "corrects": event.corrects,
        "corrected_by": event.corrected_by,
    }


def event_row(event: RawEvent) -> tuple[Any, ...]:
    """An event below EVENTS_HEAD."""
    return (
        event.occurred_at.isoformat(),
        event.recorded_at.isoformat(),
        event.meter_code,
        event.quantity,
        event.unit,
        _pairs(event.dimensions),
        _pairs(event.properties or {}),
        event.source,
        event.event_id,
        event.series_id,
        event.corrects,
        event.corrected_by,
        event.state,
    )


def _pairs(texts: Mapping[str, Any]) -> str:
    return "; ".join(f"{name}={value}" for name, value in texts.items())
