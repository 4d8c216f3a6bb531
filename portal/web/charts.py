"""The geometry of charts: stacked bars per day or month on a zero baseline, ready to be drawn as SVG by a template."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal

from portal.infra.formats import compact, quantity

WIDTH, HEIGHT = 960, 240
LEFT, TOP, BOTTOM = 72, 16, 26
GRID_LINES = 4
SERIES_COLOURS = 3
MOST_MONTH_NAMES = 13
OTHER = "Other"
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
    """One day or month of the table below a chart."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that the template draws."""

    title: str
    head: str
    finding: str
    series: tuple[str, ...]
    bars: tuple[Bar, ...]
    grid: tuple[Mark, ...]
    ticks: tuple[Mark, ...]
    rows: tuple[Row, ...]
    bar_width: Decimal
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT


@dataclass(frozen=True, slots=True)
class _Axis:
    """What the places along a chart are called; `short` and `long` are formats of dates, `tick` stands below a bar."""

    unit: str
    preposition: str
    short: str
    long: str
    tick: Callable[[date], str]


Values = Mapping[date, Decimal]


def bars_per_day(
    title: str, days: Sequence[date], series: Sequence[tuple[str, Values]], say: Callable[[Decimal], str]
) -> Chart:
    """Stack the largest series of each day, the rest together as "Other"; `say` writes a value for people.

    Credits (values below zero) stand in the table and not in the picture, whose baseline is always zero.
    """
    axis = _Axis("day", "on", "%-d %b", "%-d %b %Y", lambda day: str(day.day) if day.day % 7 == 1 else "")
    return _bars(title, axis, days, series, say)


def bars_per_month(
    title: str, months: Sequence[date], series: Sequence[tuple[str, Values]], say: Callable[[Decimal], str]
) -> Chart:
    """The same per month, by its first day: below the bars the months of one year, or of more the years."""
    by_year = len(months) > MOST_MONTH_NAMES
    axis = _Axis(
        "month",
        "in",
        "%b %Y",
        "%B %Y",
        lambda month: f"{month:%b}" if not by_year else f"{month:%Y}" if month.month == 1 else "",
    )
    return _bars(title, axis, months, series, say)


def _bars(
    title: str,
    axis: _Axis,
    days: Sequence[date],
    series: Sequence[tuple[str, Values]],
    say: Callable[[Decimal], str],
) -> Chart:
    shown = _largest(series)
    step = Decimal(WIDTH - LEFT) / len(days)
    top = _round_number(max(_heights(days, shown), default=Decimal(0)))
    scale = Decimal(HEIGHT - TOP - BOTTOM) / top
    bars = []
    for index, day in enumerate(days):
        base = Decimal(HEIGHT - BOTTOM)
        for number, (name, values) in enumerate(shown, 1):
            height = max(values.get(day, Decimal(0)), Decimal(0)) * scale
            if height:
                base -= height
                says = f"{day:{axis.short}}, {name}: {say(values[day])}"
                bars.append(Bar(number, _tenths(LEFT + step * index + step / 10), _tenths(base), _tenths(height), says))
    levels = [top * level / GRID_LINES for level in range(GRID_LINES + 1)]
    return Chart(
        title=title,
        head=f"{axis.unit.capitalize()} (UTC)",
        finding=_finding(axis, days, shown, say),
        series=tuple(name for name, _ in shown),
        bars=tuple(bars),
        grid=tuple(Mark(Decimal(0), _tenths(HEIGHT - BOTTOM - level * scale), _short(level)) for level in levels),
        ticks=tuple(
            Mark(_tenths(LEFT + step * index + step / 2), Decimal(0), axis.tick(day))
            for index, day in enumerate(days)
            if axis.tick(day)
        ),
        rows=tuple(
            Row(f"{day:{axis.long}}", tuple(say(values.get(day, Decimal(0))) for _, values in shown))
            for day in days
            if any(day in values for _, values in shown)
        ),
        bar_width=_tenths(step * 8 / 10),
    )


def _largest(series: Sequence[tuple[str, Values]]) -> list[tuple[str, Values]]:
    """The largest series; those that have no name of their own are among the others, however large."""
    ordered = sorted(series, key=lambda each: (each[0] == OTHER, -sum(each[1].values(), Decimal(0)), each[0]))
    named = sum(name != OTHER for name, _ in ordered[:SERIES_COLOURS])
    shown, rest = ordered[:named], ordered[named:]
    other: dict[date, Decimal] = {}
    for _, values in rest:
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
    axis: _Axis, days: Sequence[date], shown: Sequence[tuple[str, Values]], say: Callable[[Decimal], str]
) -> str:
    heights = dict(zip(days, _heights(days, shown), strict=True))
    highest = max(days, key=lambda day: (heights[day], day))
    if not heights[highest]:
        return f"Nothing {axis.preposition} any {axis.unit}."
    return f"Highest {axis.preposition} {highest:{axis.long}}: {say(heights[highest])}."


def _short(value: Decimal) -> str:
    """A label of the axis, whose unit the title says: 2.5M."""
    if value < _SHORTENED_FROM:
        return quantity(value)
    return compact(value)


def _tenths(value: Decimal) -> Decimal:
    return value.quantize(_TENTH)
