"""Reading forecasts: the latest as a range, which is as wide as forecasts from the same day have been wrong before."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

from sqlalchemy import select

from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month
from portal.forecasting.making import COMPARED_MONTHS, same_day
from portal.forecasting.models import Forecast
from portal.infra.db import db
from portal.invoicing.models import Invoice


@dataclass(frozen=True, slots=True)
class Comparison:
    """A closed month: what was expected of it on a day, and what its invoice came to, in minor units."""

    month: Month
    day: date
    expected: int
    total: int

    @property
    def error(self) -> Fraction | None:
        """By how much of the expected amount the invoice was above it; below zero if it was less."""
        return Fraction(self.total - self.expected, self.expected) if self.expected > 0 else None

    @property
    def percent(self) -> Decimal | None:
        """The error in percent, to a tenth of one."""
        return None if self.error is None else Decimal(round(self.error * 1000)) / 10


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a month is expected to come to: from `low` to `high`, in minor units; equal if nothing can be compared."""

    expected: int
    low: int
    high: int
    so_far: int
    made_at: datetime
    comparisons: tuple[Comparison, ...]


def outlook(organization_id: int, month: Month) -> Outlook | None:
    """The latest forecast of a running month, with the range; None before the first was made. Two queries."""
    latest = db.session.scalars(
        select(Forecast)
        .where(Forecast.organization_id == organization_id, Forecast.month == month.first_day)
        .order_by(Forecast.day.desc())
        .limit(1)
    ).one_or_none()
    if latest is None:
        return None
    compared = comparisons(organization_id, latest.day)
    low, high = spread(latest.expected, compared)
    return Outlook(latest.expected, low, high, latest.so_far, latest.made_at, tuple(compared))


def spread(expected: int, compared: list[Comparison]) -> tuple[int, int]:
    """The lowest and highest amount if the forecast is as wrong as it was in one of these months, or right."""
    errors = [each.error for each in compared if each.error is not None]
    whole = [round(expected * (1 + error)) for error in errors] if expected > 0 else []
    return min([expected, *whole]), max([expected, *whole])


def comparisons(organization_id: int, day: date) -> list[Comparison]:
    """What was expected from this day of the month, and what came, of the last closed months, the latest first."""
    rows = db.session.execute(
        select(Forecast.month, Forecast.day, Forecast.expected, Invoice.total)
        .join(
            Invoice,
            (Invoice.organization_id == Forecast.organization_id)
            & (Invoice.period_start == Forecast.month)
            & (Invoice.kind == "monthly")
            & (Invoice.state == InvoiceState.FINALIZED),
        )
        .where(Forecast.organization_id == organization_id, Forecast.month < Month.of(day).first_day)
        .order_by(Forecast.month.desc(), Forecast.day)
    )
    found = [
        Comparison(Month.of(month), made_on, expected, total)
        for month, made_on, expected, total in rows
        if made_on == same_day(Month.of(month), day)
    ]
    return found[:COMPARED_MONTHS]
