"""What was used: meters over a period, put together as one likes; a picture, a table, and both as files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from flask import Blueprint, current_app, render_template, request
from flask.typing import ResponseReturnValue

from portal.charts import DAYS, HOURS, MONTHS, OTHER, SERIES_COLOURS, Chart, bars
from portal.core.sentences import counting_in_words
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as
from portal.infra.formats import quantity
from portal.infra.languages import _
from portal.infra.pages import csv_response, policy
from portal.signed_in import guard_page, my_seat
from portal.usage.exploring import MeterFacts, Resolution, SeriesTotal, points, totals
from portal.usage.folding import folded_up_to
from portal.usage.grouping import BY_METER, BY_SERIES, Choice, Group, grouped, read_where
from portal.usage.heard import heard_sources
from portal.usage.queries import usage_heard_of_at
from portal.usage.waiting_queries import waiting_usage
from portal.web.usage_periods import Period, choices, chosen_period

MOST_ROWS, MOST_VALUES, MOST_WAITING = 200, 200, 20
CSV_HEAD = ("Period", "Product", "Meter", "Meter code", "Dimensions", "Quantity", "Unit", "Events")
_AXES = {Resolution.HOUR: HOURS, Resolution.DAY: DAYS, Resolution.MONTH: MONTHS}
bp = Blueprint("usage", __name__)
bp.before_request(guard_page)


@dataclass(frozen=True, slots=True)
class Explored:
    """A period's usage as the address wants it."""

    period: Period
    choice: Choice
    found: list[SeriesTotal]
    groups: list[Group]

    @property
    def address(self) -> dict[str, str]:
        """What an address says of all of it."""
        chosen = {"meter": self.choice.meter or "", "where": self.choice.where_text, "group_by": self.choice.group_by}
        return {**self.period.address, **{name: value for name, value in chosen.items() if value}}


@bp.get("/usage")
@policy("view usage")
def show() -> ResponseReturnValue:
    """The explorer: filters, a chart, a table with sums, where the figures come from."""
    organization_id, now = my_seat().organization_id, clock.now()
    # Before the figures themselves, which may be newer.
    with acting_as(SYSTEM):
        hours_complete_up_to = folded_up_to(now=now)
    explored = _explored(organization_id, now)
    span = explored.period.span
    return render_template(
        "web/usage/show.html",
        period=explored.period,
        periods=choices(now, explored.period),
        choice=explored.choice,
        address=explored.address,
        meters=_facts(explored.found),
        dimensions=_dimensions(explored),
        groups=explored.groups[:MOST_ROWS],
        left_out=len(explored.groups) - MOST_ROWS,
        sums=grouped(explored.found, Choice(explored.choice.meter, explored.choice.where)),
        counting=[(each, _counting(each, explored.period)) for each in _facts(explored.groups)],
        chart=_picture(organization_id, explored, now),
        sources=heard_sources(organization_id, span.start, span.end),
        heard_of_at=usage_heard_of_at(organization_id, span.first_day, span.last_day),
        hours_complete_up_to=hours_complete_up_to if span.resolution is Resolution.HOUR else None,
        waiting=waiting_usage(organization_id=organization_id, limit=MOST_WAITING),
        portal_url=current_app.config["SETTINGS"].portal_url,
        now=now,
    )


@bp.get("/usage.csv")
@policy("view usage")
def download() -> ResponseReturnValue:
    """The table of the page with the same filters, all rows."""
    explored = _explored(my_seat().organization_id, clock.now())
    name = explored.period.file
    rows = [_csv_row(name, group, group.quantity, group.events) for group in explored.groups]
    return csv_response(f"usage-{name}", CSV_HEAD, rows)


@bp.get("/usage/points.csv")
@policy("view usage")
def download_points() -> ResponseReturnValue:
    """What the picture shows, of every row of the table: by the hour, day or month."""
    now = clock.now()
    explored = _explored(my_seat().organization_id, now)
    span, shown = explored.period.span, explored.groups
    of_groups = points(my_seat().organization_id, span, [(each.meter, each.series) for each in shown], now=now)
    written = {Resolution.HOUR: "%Y-%m-%d %H:00", Resolution.DAY: "%Y-%m-%d", Resolution.MONTH: "%Y-%m"}
    rows = [
        _csv_row(f"{point.start:{written[span.resolution]}}", group, point.quantity, point.events)
        for group, found in zip(shown, of_groups, strict=True)
        for point in found
    ]
    return csv_response(f"usage-{explored.period.file}-by-{span.resolution}", CSV_HEAD, rows)


def _explored(organization_id: int, now: datetime) -> Explored:
    period = chosen_period(now)
    choice = Choice(
        request.args.get("meter") or None,
        read_where(request.args.get("where")),
        request.args.get("group_by") or BY_SERIES,
    )
    found = totals(organization_id, period.span)
    return Explored(period, choice, found, grouped(found, choice))


def _facts(found: Iterable[SeriesTotal | Group]) -> list[MeterFacts]:
    """The meters of series or groups, each once, in their order."""
    return list({each.meter.code: each.meter for each in found}.values())


def _dimensions(explored: Explored) -> dict[str, list[str]]:
    """The dimensions of the period's usage, and the values to choose from: those with the most usage reports."""
    events: dict[tuple[str, str], int] = {}
    for each in explored.found:
        for pair in each.dimensions.items():
            events[pair] = events.get(pair, 0) + each.events
    most = sorted(events, key=lambda pair: -events[pair])[:MOST_VALUES]
    chosen = [explored.choice.where] if explored.choice.where else []
    names = [name for name, _ in [*events, *chosen]]
    if explored.choice.group_by not in (BY_SERIES, BY_METER):
        names.append(explored.choice.group_by)
    return {name: sorted({value for of, value in [*most, *chosen] if of == name}) for name in sorted(set(names))}


def _counting(meter: MeterFacts, period: Period) -> str:
    """How a meter counts, and what that means for the figures of this period."""
    words = counting_in_words(meter.counting, _)
    if period.span.resolution is Resolution.HOUR and not meter.has_hours:
        return _("%(words)s; it is not told by the hour, so this is the day as a whole", words=words)
    if period.span.resolution is Resolution.DAY and meter.is_running:
        return _("%(words)s; each day shows what the month had reached by then", words=words)
    if period.span.resolution is Resolution.MONTH and not meter.has_hours:
        return _("%(words)s; the year is the sum of its months", words=words)
    return words


def _picture(organization_id: int, explored: Explored, now: datetime) -> Chart | None:
    """The points of one meter, because quantities of different meters do not add up: the chosen or the first one.

    Its largest groups by name, the others together.
    """
    span = explored.period.span
    groups = [each for each in explored.groups if each.meter.has_hours or span.resolution is not Resolution.HOUR]
    if not groups:
        return None
    meter = groups[0].meter
    of_meter = [each for each in groups if each.meter == meter]
    named, others = of_meter[:SERIES_COLOURS], of_meter[SERIES_COLOURS:]
    wanted: list[tuple[MeterFacts, Sequence[int]]] = [(meter, each.series) for each in named]
    wanted.append((meter, [series_id for each in others for series_id in each.series]))
    stacks: list[tuple[str, dict[date, Decimal]]] = []
    for place, of_group in enumerate(points(organization_id, span, wanted, now=now)):
        name = named[place].label if place < len(named) else OTHER
        stacks.append((name, {point.start: point.quantity for point in of_group}))
    is_reached = span.resolution is Resolution.DAY and meter.is_running
    title = (
        _("%(name)s, the month’s value by day", name=meter.name)
        if is_reached
        else _("%(name)s per %(resolution)s", name=meter.name, resolution=_(span.resolution))
    )
    return bars(
        f"{title} ({meter.unit})",
        span.points(),
        [stack for stack in stacks if stack[1]],
        lambda value: f"{quantity(value)} {meter.unit}",
        _AXES[span.resolution],
    )


def _csv_row(period: str, group: Group, of_period: Decimal, events: int) -> tuple[Any, ...]:
    dimensions = "; ".join(f"{name}={value or ''}" for name, value in group.dimensions.items())
    meter = group.meter
    return (period, meter.product, meter.name, meter.code, dimensions, of_period, meter.unit, events)
