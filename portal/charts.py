"""The geometry of charts, ready to be drawn as SVG by a template: stacked bars in time, and a waterfall."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_CEILING, Decimal
from itertools import accumulate, pairwise

from portal.core.saying import Said
from portal.infra.formats import compact, dated, month_name, quantity
from portal.infra.formats import day as day_name
from portal.infra.languages import _, told

WIDTH, HEIGHT = 960, 240
LEFT, TOP, BOTTOM = 72, 16, 26
GRID_LINES = 4
LABEL_ABOVE = 5
SERIES_COLOURS = 3
# Below so many bars stand months, below more of them years.
MOST_MONTH_NAMES = 13
OTHER = Said("Other")
_TENTH = Decimal("0.1")
_SHORTENED_FROM = 10_000


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle; `series` counts from 1 and picks the colour."""

    series: int
    x: Decimal
    y: Decimal
    height: Decimal
    says: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A label at a place of an axis."""

    x: Decimal
    y: Decimal
    label: str


@dataclass(frozen=True, slots=True)
class Row:
    """One day, hour or month of the table below a chart."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that the template draws."""

    title: str
    finding: str
    head: str
    series: tuple[str, ...]
    bars: tuple[Bar, ...]
    grid: tuple[Mark, ...]
    ticks: tuple[Mark, ...]
    rows: tuple[Row, ...]
    bar_width: Decimal
    labels: tuple[Mark, ...] = ()
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT


@dataclass(frozen=True, slots=True)
class Axis:
    """How the places of the time axis are written: beside a value, in the table, below the picture ("" for most).

    `highest` is the sentence about the highest place, `none` the one when there is none.
    """

    head: str
    highest: str
    none: str
    short: Callable[[date], str]
    name: Callable[[date], str]
    tick: Callable[[date], str]


DAYS = Axis(
    Said("Day (UTC)"),
    Said("Highest on %(place)s: %(value)s."),
    Said("Nothing on any day."),
    lambda day: dated(day, "%-d %b", "MMMd"),
    day_name,
    lambda day: str(day.day) if day.day % 7 == 1 else "",
)
# Hours are moments, and a moment is a date too.
HOURS = Axis(
    Said("Hour from (UTC)"),
    Said("Highest in the hour from %(place)s: %(value)s."),
    Said("Nothing in any hour."),
    lambda hour: f"{dated(hour, '%-d %b', 'MMMd')}, {hour:%H:%M}",
    lambda hour: f"{day_name(hour)}, {hour:%H:%M}",
    lambda hour: f"{hour:%H:%M}" if int(f"{hour:%H}") % 3 == 0 else "",
)
MONTHS = Axis(
    Said("Month (UTC)"),
    Said("Highest in %(place)s: %(value)s."),
    Said("Nothing in any month."),
    lambda month: dated(month, "%b %Y", "yMMM"),
    month_name,
    lambda month: dated(month, "%b", "MMM"),
)
Values = Mapping[date, Decimal]


def bars_per_day(
    title: str, days: Sequence[date], series: Sequence[tuple[str, Values]], say: Callable[[Decimal], str]
) -> Chart:
    """Stack the largest series of each day; see `bars`."""
    return bars(title, days, series, say, DAYS)


def bars_per_month(
    title: str, months: Sequence[date], series: Sequence[tuple[str, Values]], say: Callable[[Decimal], str]
) -> Chart:
    """The same per month, by its first day: below the bars the months of one year, or of more the years."""
    axis = MONTHS
    if len(months) > MOST_MONTH_NAMES:
        axis = replace(MONTHS, tick=lambda month: f"{month:%Y}" if month.month == 1 else "")
    return bars(title, months, series, say, axis)


def bars(
    title: str,
    days: Sequence[date],
    series: Sequence[tuple[str, Values]],
    say: Callable[[Decimal], str],
    axis: Axis,
) -> Chart:
    """Stack the largest series of each place, the rest together as "Other"; `say` writes a value for people.

    Credits (values below zero) stand in the table and not in the picture, whose baseline is always zero.
    """
    shown = _largest(series)
    step = Decimal(WIDTH - LEFT) / len(days)
    top = _round_number(max(_heights(days, shown), default=Decimal(0)))
    scale = Decimal(HEIGHT - TOP - BOTTOM) / top
    drawn = []
    for index, day in enumerate(days):
        base = Decimal(HEIGHT - BOTTOM)
        for number, (name, values) in enumerate(shown, 1):
            height = max(values.get(day, Decimal(0)), Decimal(0)) * scale
            if height:
                base -= height
                says = f"{axis.short(day)}, {told(name)}: {say(values[day])}"
                drawn.append(Bar(number, tenths(LEFT + step * index + step / 10), tenths(base), tenths(height), says))
    levels = [top * level / GRID_LINES for level in range(GRID_LINES + 1)]
    return Chart(
        title=title,
        finding=_finding(days, shown, say, axis),
        head=axis.head,
        series=tuple(name for name, _ in shown),
        bars=tuple(drawn),
        grid=tuple(Mark(Decimal(0), tenths(HEIGHT - BOTTOM - level * scale), _short(level)) for level in levels),
        ticks=tuple(
            Mark(tenths(LEFT + step * index + step / 2), Decimal(0), axis.tick(day))
            for index, day in enumerate(days)
            if axis.tick(day)
        ),
        rows=tuple(
            Row(axis.name(day), tuple(say(values.get(day, Decimal(0))) for _, values in shown))
            for day in days
            if any(day in values for _, values in shown)
        ),
        bar_width=tenths(step * 8 / 10),
    )


def waterfall(
    title: str,
    finding: str,
    steps: Sequence[tuple[str, Decimal]],
    *,
    ends: tuple[str, str],
    say: Callable[[Decimal], str],
) -> Chart:
    """From the first value down or up, step by step, to the last. `steps` begins with the first value's own.

    `ends` names the first and the last bar. Bars of changes hang between the levels before and after them.
    """
    levels = list(accumulate(change for _, change in steps))
    names = [ends[0], *(name for name, _ in steps[1:]), ends[1]]
    spans = [(Decimal(0), levels[0]), *pairwise(levels), (Decimal(0), levels[-1])]
    top, bottom = max([Decimal(0), *levels]), min([Decimal(0), *levels])
    reach = _round_number(max(top, -bottom))
    lowest = -reach if bottom < 0 else Decimal(0)
    highest = reach if top > 0 or not bottom else Decimal(0)
    scale = Decimal(HEIGHT - TOP - BOTTOM) / (highest - lowest)
    width = Decimal(WIDTH - LEFT) / len(names)

    def y(level: Decimal) -> Decimal:
        return tenths(TOP + (highest - level) * scale)

    bars, labels = [], []
    for index, (name, (begin, end)) in enumerate(zip(names, spans, strict=True)):
        is_end = index in (0, len(names) - 1)
        series = 1 if is_end else 2 if end >= begin else 3
        x = tenths(LEFT + width * index + width / 10)
        value = end if is_end else end - begin
        height = max(y(min(begin, end)) - y(max(begin, end)), tenths(Decimal(1)))
        bars.append(Bar(series, x, y(max(begin, end)), height, f"{name}: {say(value)}"))
        middle = tenths(LEFT + width * index + width / 2)
        labels.append(Mark(middle, y(max(begin, end)) - LABEL_ABOVE, say(value)))
    grid = [lowest + (highest - lowest) * level / GRID_LINES for level in range(GRID_LINES + 1)]
    return Chart(
        title=title,
        finding=finding,
        head=_("Step"),
        series=(ends[1],),
        bars=tuple(bars),
        grid=tuple(Mark(Decimal(0), y(level), _short(level)) for level in grid),
        ticks=tuple(
            Mark(tenths(LEFT + width * index + width / 2), Decimal(0), name) for index, name in enumerate(names)
        ),
        rows=tuple(
            Row(name, (say(value),))
            for name, value in zip(names, [levels[0], *(change for _, change in steps[1:]), levels[-1]], strict=True)
        ),
        bar_width=tenths(width * 8 / 10),
        labels=tuple(labels),
    )


def _largest(series: Sequence[tuple[str, Values]]) -> list[tuple[str, Values]]:
    """The largest series; those that have no name of their own are among the others, however large."""
    ordered = sorted(series, key=lambda each: (each[0] == OTHER, -sum(each[1].values(), Decimal(0)), each[0]))
    named = sum(name != OTHER for name, _ in ordered[:SERIES_COLOURS])
    shown, rest = ordered[:named], ordered[named:]
    other: dict[date, Decimal] = {}
    for _name, values in rest:
        for day, value in values.items():
            other[day] = other.get(day, Decimal(0)) + value
    return [*shown, (OTHER, other)] if any(other.values()) else shown


def _heights(days: Sequence[date], shown: Sequence[tuple[str, Values]]) -> list[Decimal]:
    return [sum((max(values.get(day, Decimal(0)), Decimal(0)) for _, values in shown), Decimal(0)) for day in days]


def _round_number(value: Decimal) -> Decimal:
    """The next 1, 2, 4, 6 or 8 times a power of ten, so that a quarter of it is a short number too; 1 for nothing."""
    if value <= 0:
        return Decimal(1)
    power = Decimal(1).scaleb(value.adjusted())
    leading = (value / power).quantize(Decimal(1), ROUND_CEILING)
    return next(nice for nice in (1, 2, 4, 6, 8, 10) if nice >= leading) * power


def _finding(
    days: Sequence[date], shown: Sequence[tuple[str, Values]], say: Callable[[Decimal], str], axis: Axis
) -> str:
    heights = dict(zip(days, _heights(days, shown), strict=True))
    highest = max(days, key=lambda day: (heights[day], day))
    if not heights[highest]:
        return _(axis.none)
    return _(axis.highest, place=axis.name(highest), value=say(heights[highest]))


def _short(value: Decimal) -> str:
    """A label of the axis, whose unit the title says: 2.5M."""
    if value < _SHORTENED_FROM:
        return quantity(value)
    return compact(value)


def tenths(value: Decimal) -> Decimal:
    """A length of a drawing: a tenth of a unit is finer than a screen."""
    return value.quantize(_TENTH)
