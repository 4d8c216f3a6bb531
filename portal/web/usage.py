"""What was used: a month's meters and series, one meter's days as a picture, all of it as a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from flask import Blueprint, current_app, render_template, request
from flask.typing import ResponseReturnValue

from portal.core.periods import Month
from portal.infra import clock
from portal.infra.formats import quantity
from portal.infra.pages import csv_response, policy
from portal.signed_in import guard_page, my_seat
from portal.usage.queries import SeriesQuantity, usage_by_group_and_day, usage_by_series, usage_complete_up_to
from portal.web.charts import OTHER, SERIES_COLOURS, Chart, bars_per_day
from portal.web.months import chosen_month, latest_months

MOST_ROWS = 200
CSV_HEAD = ("Month", "Product", "Meter", "Meter code", "Dimensions", "Quantity", "Unit", "Events")
bp = Blueprint("usage", __name__)
bp.before_request(guard_page)


@dataclass(frozen=True, slots=True)
class MeterTotal:
    """One meter of the month, for the filter and the sums."""

    code: str
    name: str
    unit: str
    quantity: Decimal
    events: int


@bp.get("/usage")
@policy("view usage")
def show() -> ResponseReturnValue:
    """The explorer: filter by month and meter, a chart, a table."""
    organization_id, now = my_seat().organization_id, clock.now()
    month = chosen_month(now)
    used = usage_by_series(organization_id, month)
    meters = _meters(used)
    code = _chosen_meter()
    shown = _of_meter(used, code)
    # Quantities of different meters do not add up, so the picture is always of one: the chosen or the first one.
    pictured = code if code in meters else next(iter(meters), None)
    return render_template(
        "web/usage/show.html",
        month=month,
        months=latest_months(now, chosen=month),
        meters=meters,
        chosen=code,
        series=shown[:MOST_ROWS],
        left_out=len(shown) - MOST_ROWS,
        chart=_picture(organization_id, month, meters[pictured], _of_meter(used, pictured)) if pictured else None,
        heard_of_at=usage_complete_up_to(organization_id, month),
        portal_url=current_app.config["SETTINGS"].portal_url,
        now=now,
    )


@bp.get("/usage.csv")
@policy("view usage")
def download() -> ResponseReturnValue:
    """The table of the page with the same filter, all rows."""
    month = chosen_month(clock.now())
    shown = _of_meter(usage_by_series(my_seat().organization_id, month), _chosen_meter())
    return csv_response(f"usage-{month}", CSV_HEAD, [_csv_row(month, series) for series in shown])


def _chosen_meter() -> str | None:
    return request.args.get("meter") or None


def _of_meter(used: Sequence[SeriesQuantity], code: str | None) -> list[SeriesQuantity]:
    return [series for series in used if code is None or series.meter_code == code]


def _meters(used: Sequence[SeriesQuantity]) -> dict[str, MeterTotal]:
    meters: dict[str, MeterTotal] = {}
    for series in used:
        before = meters.get(series.meter_code)
        meters[series.meter_code] = MeterTotal(
            series.meter_code,
            series.meter_name,
            series.unit,
            series.quantity + (before.quantity if before else 0),
            series.events + (before.events if before else 0),
        )
    return meters


def _picture(organization_id: int, month: Month, meter: MeterTotal, used: Sequence[SeriesQuantity]) -> Chart:
    """The days of one meter; its largest series by name, the others together."""
    ordered = sorted(used, key=lambda series: (-series.quantity, series.series_id))
    names = [series_name(series) for series in ordered[:SERIES_COLOURS]]
    spans = [
        (min(place, SERIES_COLOURS), series.series_id, month.first_day, month.last_day)
        for place, series in enumerate(ordered)
    ]
    days: dict[int, dict[Any, Decimal]] = {}
    for place, day, of_day in usage_by_group_and_day(organization_id, month, spans):
        days.setdefault(place, {})[day] = of_day
    stacks = [(names[place] if place < len(names) else OTHER, values) for place, values in days.items()]
    return bars_per_day(
        f"{meter.name} per day ({meter.unit})", month.days(), stacks, lambda value: f"{quantity(value)} {meter.unit}"
    )


def series_name(series: SeriesQuantity) -> str:
    """The values of a series' dimensions, or the meter's name if it has none."""
    return " · ".join(series.dimensions.values()) or series.meter_name


def _csv_row(month: Month, series: SeriesQuantity) -> tuple[Any, ...]:
    dimensions = "; ".join(f"{name}={value}" for name, value in series.dimensions.items())
    return (
        str(month),
        series.product,
        series.meter_name,
        series.meter_code,
        dimensions,
        series.quantity,
        series.unit,
        series.events,
    )
