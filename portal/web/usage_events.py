"""The events themselves, as they were sent: a day's, newest first, or one by its id; and a day's as a file."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from itertools import islice
from typing import Any

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue

from portal.catalog.queries import meters_by_code
from portal.core.keys import DEFAULT_SOURCE
from portal.core.periods import Month
from portal.exports.of_usage import EVENTS_HEAD, event_row
from portal.infra import clock
from portal.infra.pages import csv_streamed, policy
from portal.signed_in import guard_page, my_seat
from portal.usage.archived import archive_sentence
from portal.usage.fields import LONGEST_TEXT
from portal.usage.heard import sources_of
from portal.usage.raw_events import (
    MOST_IN_A_FILE,
    EventFilter,
    RawEvent,
    event_by_id,
    events_of_day,
    newest_day,
    read_place,
    read_series,
    write_place,
)
from portal.web.usage_periods import chosen_day

PAGE = 50
bp = Blueprint("usage_events", __name__)
bp.before_request(guard_page)


@bp.get("/usage/events")
@policy("view usage")
def show() -> ResponseReturnValue:
    """Events of one day, page by page; with an id, that event, whatever its day."""
    organization_id, now = my_seat().organization_id, clock.now()
    chosen = _chosen(organization_id, now)
    event_id = request.args.get("id", "").strip()[:LONGEST_TEXT] or None
    if event_id is not None:
        found = event_by_id(organization_id, event_id, chosen.source or DEFAULT_SOURCE)
        events, has_more = [found] if found else [], False
    else:
        after = read_place(request.args.get("after"))
        read = list(events_of_day(organization_id, chosen, most=PAGE + 1, after=after))
        events, has_more = read[:PAGE], len(read) > PAGE
    address = _address(chosen)
    older = url_for("usage_events.show", **address, after=write_place(events[-1].place)) if has_more else None
    return render_template(
        "web/usage/events.html",
        chosen=chosen,
        event_id=event_id,
        events=events,
        address=address,
        older=older,
        newest=url_for("usage_events.show", **address) if request.args.get("after") else None,
        meters=meters_by_code().values(),
        sources=sources_of(organization_id),
        default_source=DEFAULT_SOURCE,
        most_in_a_file=MOST_IN_A_FILE,
        archived=archive_sentence(Month.of(chosen.day)),
    )


@bp.get("/usage/events.csv")
@policy("view usage")
def download() -> ResponseReturnValue:
    """The events of the day with the same filters; says in its last line if it ends before the day does."""
    organization_id = my_seat().organization_id
    chosen = _chosen(organization_id, clock.now())
    events = events_of_day(organization_id, chosen, most=MOST_IN_A_FILE + 1)
    return csv_streamed(f"usage-events-{chosen.day}", EVENTS_HEAD, _rows(events))


def _rows(events: Iterator[RawEvent]) -> Iterator[Sequence[Any]]:
    yield from islice(map(event_row, events), MOST_IN_A_FILE)
    if next(events, None) is not None:
        yield (f"Only the newest {MOST_IN_A_FILE} events are in this file; choose a meter or a source for the others.",)


def _chosen(organization_id: int, now: datetime) -> EventFilter:
    day: date = chosen_day(now) or newest_day(organization_id) or now.date()
    return EventFilter(
        day,
        meter=request.args.get("meter") or None,
        series_id=read_series(request.args.get("series")),
        source=request.args.get("source") or None,
    )


def _address(chosen: EventFilter) -> dict[str, Any]:
    given = {"meter": chosen.meter, "series": chosen.series_id, "source": chosen.source}
    return {"day": chosen.day.isoformat(), **{name: value for name, value in given.items() if value is not None}}
