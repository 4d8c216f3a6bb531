"""The distribution of a simulation as bars: the geometry that components/chart.html draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from portal.infra.formats import quantity
from portal.simulating.queries import Place

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 960, 240, 72, 16, 26
_FALL, _NEITHER, _RISE = 1, 2, 3
_TENTH = Decimal("0.1")
_GRID_LINES = 4


@dataclass(frozen=True, slots=True)
class _Bar:
    """One rectangle; `series` picks the colour."""

    series: int
    x: Decimal
    y: Decimal
    height: Decimal
    says: str


@dataclass(frozen=True, slots=True)
class _Mark:
    """A label at a place of an axis."""

    x: Decimal
    y: Decimal
    label: str


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the table below the picture."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that the template draws."""

    finding: str
    bars: tuple[_Bar, ...]
    grid: tuple[_Mark, ...]
    ticks: tuple[_Mark, ...]
    rows: tuple[_Row, ...]
    bar_width: Decimal
    title: str = "How many organizations by how many percent"
    head: str = "Change of an organization’s sum, in percent"
    series: tuple[str, ...] = ("Organizations",)
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT


def picture_of(places: Sequence[Place]) -> Picture:
    """A bar for every place, on a baseline of zero. The axis ends at a multiple of four, so its labels are whole."""
    highest = max(places, key=lambda place: place.organizations)
    top = max(-(-highest.organizations // _GRID_LINES), 1) * _GRID_LINES
    scale = Decimal(_HEIGHT - _TOP - _BOTTOM) / top
    step = Decimal(_WIDTH - _LEFT) / len(places)
    base = Decimal(_HEIGHT - _BOTTOM)
    return Picture(
        finding=f"Most organizations, {quantity(highest.organizations)}, are at “{highest.label}”.",
        bars=tuple(
            _Bar(
                _RISE if place.rises else _NEITHER if place.rises is None else _FALL,
                _tenths(_LEFT + step * index + step / 10),
                _tenths(base - place.organizations * scale),
                _tenths(place.organizations * scale),
                f"{place.label}: {quantity(place.organizations)}",
            )
            for index, place in enumerate(places)
            if place.organizations
        ),
        grid=tuple(
            _Mark(Decimal(0), _tenths(base - level * scale), quantity(level))
            for level in range(0, top + 1, top // _GRID_LINES)
        ),
        ticks=tuple(
            _Mark(_tenths(_LEFT + step * index + step / 2), Decimal(0), place.short)
            for index, place in enumerate(places)
        ),
        rows=tuple(_Row(place.label, (quantity(place.organizations),)) for place in places),
        bar_width=_tenths(step * 8 / 10),
    )


def _tenths(value: Decimal) -> Decimal:
    return value.quantize(_TENTH)
