"""The distribution of a simulation as bars: the geometry that components/chart.html draws."""

from collections.abc import Sequence
from decimal import Decimal

from portal.charts import BOTTOM, GRID_LINES, HEIGHT, LEFT, TOP, WIDTH, Bar, Chart, Mark, Row, tenths
from portal.infra.formats import quantity
from portal.simulating.queries import Place

_FALL, _NEITHER, _RISE = 1, 2, 3


def picture_of(places: Sequence[Place]) -> Chart:
    """A bar for every place, on a baseline of zero. The axis ends at a multiple of four, so its labels are whole."""
    highest = max(places, key=lambda place: place.organizations)
    top = max(-(-highest.organizations // GRID_LINES), 1) * GRID_LINES
    scale = Decimal(HEIGHT - TOP - BOTTOM) / top
    step = Decimal(WIDTH - LEFT) / len(places)
    base = Decimal(HEIGHT - BOTTOM)
    return Chart(
        title="How many organizations by how many percent",
        finding=f"Most organizations, {quantity(highest.organizations)}, are at “{highest.label}”.",
        head="Change of an organization’s sum, in percent",
        series=("Organizations",),
        bars=tuple(
            Bar(
                _RISE if place.rises else _NEITHER if place.rises is None else _FALL,
                tenths(LEFT + step * index + step / 10),
                tenths(base - place.organizations * scale),
                tenths(place.organizations * scale),
                f"{place.label}: {quantity(place.organizations)}",
            )
            for index, place in enumerate(places)
            if place.organizations
        ),
        grid=tuple(
            Mark(Decimal(0), tenths(base - level * scale), quantity(level))
            for level in range(0, top + 1, top // GRID_LINES)
        ),
        ticks=tuple(
            Mark(tenths(LEFT + step * index + step / 2), Decimal(0), place.short) for index, place in enumerate(places)
        ),
        rows=tuple(Row(place.label, (quantity(place.organizations),)) for place in places),
        bar_width=tenths(step * 8 / 10),
    )
