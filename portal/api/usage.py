"""GET /api/v1/usage: quantities by meter, group and time. GET /api/v1/usage/events: the events behind them."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, g, jsonify, request

from portal.api.guard import require_key
from portal.api.limiting import add_limit_headers, count_request
from portal.catalog.queries import meters_by_code
from portal.core.errors import InvalidInput
from portal.core.exact import plain
from portal.core.keys import DEFAULT_SOURCE
from portal.core.periods import Month, midnight
from portal.core.sentences import counting_in_words
from portal.infra import clock
from portal.infra.db import SYSTEM, act_as, acting_as, tenant
from portal.infra.pages import policy
from portal.organizations.api_keys import KeyHolder
from portal.organizations.queries import ids_by_slug
from portal.usage.exploring import MeterFacts, Point, Resolution, Span, points, totals
from portal.usage.folding import folded_up_to
from portal.usage.grouping import BY_METER, BY_SERIES, Choice, Group, grouped, read_where
from portal.usage.heard import HeardSource, heard_sources
from portal.usage.raw_events import (
    EventFilter,
    RawEvent,
    event_by_id,
    events_of_day,
    newest_day,
    read_place,
    read_series,
    write_place,
)

LONGEST = {
    Resolution.HOUR: timedelta(days=31),
    Resolution.DAY: timedelta(days=366),
    Resolution.MONTH: timedelta(days=3_660),
}
MOST_POINTS = 50_000
DEFAULT_PAGE, LARGEST_PAGE = 100, 1_000
EARLIEST = date(2000, 1, 1)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:00(:00)?(Z|[+-]00:00)")
_WHOLE = {
    Resolution.HOUR: "whole hours, like 2026-11-22T14:00Z, or days",
    Resolution.DAY: "days, like 2026-11-22",
    Resolution.MONTH: "first days of months, like 2026-11-01",
}
bp = Blueprint("usage_api", __name__, url_prefix="/api/v1")
bp.before_request(require_key)
bp.after_request(add_limit_headers)


@bp.get("/usage")
@policy("api key: read")
def get_usage() -> Response:
    """Quantities of a time by meter and group, with their points, up to when they are complete, and gaps."""
    count_request()
    organization_id, now = _organization_id(), clock.now()
    span, choice = _span(now), _choice()
    with acting_as(SYSTEM):
        hours_complete_up_to = folded_up_to(now=now)
    act_as(tenant(organization_id))
    groups = grouped(totals(organization_id, span), choice)
    if len(groups) * len(span.points()) > MOST_POINTS:
        raise InvalidInput(
            f"{len(groups)} groups over this time are more than {MOST_POINTS} points: ask for less time, a coarser"
            " resolution, one meter, or other groups.",
            field="resolution",
        )
    of_groups = points(organization_id, span, [(each.meter, each.series) for each in groups], now=now)
    return jsonify(
        {
            "from": _moment(span.start),
            "to": _moment(span.end),
            "resolution": span.resolution,
            "group_by": choice.group_by,
            "hours_complete_up_to": _moment(hours_complete_up_to),
            "sources": [_source(each) for each in heard_sources(organization_id, span.start, span.end)],
            "data": [_group(group, found) for group, found in zip(groups, of_groups, strict=True)],
        }
    )


@bp.get("/usage/events")
@policy("api key: read")
def list_events() -> Response:
    """The events of one day, newest first, page by page; with an id, that one."""
    count_request()
    organization_id = _organization_id()
    act_as(tenant(organization_id))
    day = _day_of(request.args["day"], "day") if request.args.get("day") else newest_day(organization_id)
    source, event_id = request.args.get("source") or None, request.args.get("id") or None
    if event_id is not None:
        found = event_by_id(organization_id, event_id, source or DEFAULT_SOURCE)
        return jsonify({"day": None, "data": [_event(found)] if found else [], "next": None})
    size = _page_size()
    chosen = EventFilter(
        day or clock.now().date(), request.args.get("meter") or None, read_series(request.args.get("series")), source
    )
    read = list(events_of_day(organization_id, chosen, most=size + 1, after=read_place(request.args.get("after"))))
    more = write_place(read[size - 1].place) if len(read) > size else None
    return jsonify({"day": chosen.day.isoformat(), "data": [_event(each) for each in read[:size]], "next": more})


def _organization_id() -> int:
    """The key's own organization, or the one that a key of the platform names."""
    holder: KeyHolder = g.key_holder
    named = request.args.get("organization")
    with acting_as(SYSTEM):
        organization_id = ids_by_slug({named}).get(named) if named else None
    if holder.organization_id is not None:
        if named is not None and organization_id != holder.organization_id:
            raise InvalidInput("This key is for its own organization only; leave the field out.", field="organization")
        return holder.organization_id
    if not named:
        raise InvalidInput("Say whose usage you mean: organization is missing.", field="organization")
    if organization_id is None:
        raise InvalidInput(f"There is no active organization “{named[:60]}”.", field="organization")
    return organization_id


def _span(now: datetime) -> Span:
    """The time that is asked for, by default this month by days. Raises InvalidInput, naming the field."""
    written = request.args.get("resolution") or Resolution.DAY
    if written not in list(Resolution):
        raise InvalidInput("resolution is hour, day or month.", field="resolution")
    resolution, month = Resolution(written), Month.of(now)
    start = _start(request.args.get("from"), resolution, "from") or month.start
    end = _start(request.args.get("to"), resolution, "to") or month.end
    if not midnight(EARLIEST) <= start < end <= month.plus(12).end:
        raise InvalidInput("to lies behind from, from not before the year 2000, to within a year ahead.", field="to")
    if end - start > LONGEST[resolution]:
        days = LONGEST[resolution].days
        raise InvalidInput(f"By the {resolution} ask for at most {days} days.", field="resolution")
    return Span(start, end, resolution)


def _start(written: str | None, resolution: Resolution, field: str) -> datetime | None:
    if not written:
        return None
    try:
        if resolution is Resolution.HOUR and _MOMENT.fullmatch(written):
            return datetime.fromisoformat(written).astimezone(UTC)
        day = date.fromisoformat(written if _DAY.fullmatch(written) else "")
    except ValueError:
        day = None
    if day is None or (resolution is Resolution.MONTH and day.day != 1):
        raise InvalidInput(f"By the {resolution}, {field} is one of {_WHOLE[resolution]}.", field=field)
    return midnight(day)


def _day_of(written: str, field: str) -> date:
    try:
        day = date.fromisoformat(written if _DAY.fullmatch(written) else "")
    except ValueError:
        raise InvalidInput(f"{field} is a day like 2026-11-22.", field=field) from None
    if not EARLIEST <= day < date.max:
        raise InvalidInput(f"{field} lies in the year 2000 or after it.", field=field)
    return day


def _choice() -> Choice:
    """What is looked at, and the groups. Raises InvalidInput for meters and dimensions that there are not."""
    meters = meters_by_code()
    code = request.args.get("meter") or None
    if code is not None and code not in meters:
        raise InvalidInput("There is no such meter. GET /api/v1/meters lists those that there are.", field="meter")
    where, group_by = read_where(request.args.get("where")), request.args.get("group_by") or BY_METER
    dimensions = {name for meter in meters.values() for name in meter.dimensions}
    for field, name in (("where", where[0] if where else None), ("group_by", group_by)):
        if name is not None and name not in dimensions | {BY_METER, BY_SERIES}:
            raise InvalidInput(f"No meter has the dimension “{name[:60]}”.", field=field)
    return Choice(code, where, group_by)


def _group(group: Group, found: list[Point]) -> dict[str, Any]:
    return {
        **_meter(group.meter),
        "dimensions": group.dimensions,
        "quantity": plain(group.quantity),
        "events": group.events,
        "points": [
            {"start": _moment(point.start), "quantity": plain(point.quantity), "events": point.events}
            for point in found
        ],
    }


def _meter(meter: MeterFacts) -> dict[str, Any]:
    counted = counting_in_words(meter.counting)
    return {"meter": meter.code, "name": meter.name, "unit": meter.unit, "counted": counted}


def _source(each: HeardSource) -> dict[str, Any]:
    return {
        "source": each.source,
        "complete_up_to": _moment(each.complete_up_to),
        "heard_at": _moment(each.heard_at),
        "events": each.events,
        "gaps": [{"from": _moment(gap.start), "to": _moment(gap.end)} for gap in each.gaps],
    }


def _event(event: RawEvent) -> dict[str, Any]:
    return {
        "id": event.event_id,
        "source": event.source,
        "meter": event.meter_code,
        "quantity": plain(event.quantity),
        "time": _moment(event.occurred_at),
        "heard_at": _moment(event.recorded_at),
        "dimensions": event.dimensions,
        "properties": event.properties or {},
        "series": str(event.series_id),
        "state": event.state,
        "corrects": event.corrects,
        "corrected_by": event.corrected_by,
    }


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _page_size() -> int:
    asked = request.args.get("limit", str(DEFAULT_PAGE))
    if not (asked.isdecimal() and asked.isascii() and len(asked) <= 4 and 1 <= int(asked) <= LARGEST_PAGE):
        raise InvalidInput(f"limit is a whole number from 1 to {LARGEST_PAGE}.", field="limit")
    return int(asked)
