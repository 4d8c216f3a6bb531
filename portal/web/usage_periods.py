"""The period that the usage page shows, from its address: a month, a year, one day, or the last 24 hours."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from flask import request

from portal.core.errors import InvalidInput
from portal.core.periods import Month, midnight
from portal.core.saying import Said
from portal.infra.formats import day as day_name
from portal.infra.formats import month_name
from portal.infra.languages import _
from portal.usage.exploring import Resolution, Span
from portal.web.months import EARLIEST, chosen_month, latest_months

LAST_24_HOURS, ONE_DAY = "24h", "day"
YEARS_SHOWN = 3
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Period:
    """What is shown. `value` is that of the form's choice, `file` the name in files, `phrase` stands behind "Usage"."""

    span: Span
    value: str
    file: str
    phrase: str

    @property
    def address(self) -> dict[str, str]:
        """What an address says of it."""
        more = {"day": self.span.first_day.isoformat()} if self.value == ONE_DAY else {}
        return {"period": self.value, **more}


def chosen_period(now: datetime) -> Period:
    """The period that the address names (?period=2026-10, 2026, 24h, or day and &day=2026-10-31): else this month.

    Raises InvalidInput for a text that is none, and for a time that no usage can have.
    """
    chosen = request.args.get("period", "")[:20]
    if chosen == LAST_24_HOURS:
        return _last_24_hours(now)
    if chosen == ONE_DAY:
        return _day(chosen_day(now) or now.date())
    if len(chosen) == 4 and chosen.isdecimal() and chosen.isascii():
        return _year(int(chosen), now)
    return _month(_checked(Month.parse(chosen), now) if chosen else chosen_month(now))


def chosen_day(now: datetime) -> date | None:
    """The day that the address names (?day=2026-10-31). Raises InvalidInput for one that no usage can have."""
    written = request.args.get("day")
    if not written:
        return None
    try:
        day = date.fromisoformat(written if len(written) == 10 else "")
    except ValueError:
        raise InvalidInput(
            Said("“%(written)s” is not a day; write it like 2026-10-31.", written=written[:20]), field="day"
        ) from None
    latest = now.date() + _DAY
    if not EARLIEST.first_day <= day <= latest:
        raise InvalidInput(
            Said("There is no usage of %(day)s; choose a day up to %(latest)s.", day=day, latest=latest), field="day"
        )
    return day


def choices(now: datetime, period: Period) -> list[tuple[str, list[tuple[str, str]]]]:
    """What the form offers, in groups of (value, name)."""
    month = Month.of(period.span.start)
    months = latest_months(now, chosen=month if period.value == str(month) else Month.of(now))
    years = {*(now.year - back for back in range(YEARS_SHOWN)), *([month.year] if period.value.isdecimal() else [])}
    return [
        (_("Hours"), [(LAST_24_HOURS, _("Last 24 hours")), (ONE_DAY, _("One day"))]),
        (_("Months"), [(str(each), month_name(each.first_day)) for each in months]),
        (_("Years"), [(f"{each:04d}", f"{each:04d}") for each in sorted(years, reverse=True)]),
    ]


def _last_24_hours(now: datetime) -> Period:
    """Hours as they stand on the clock: the current one and the 23 before it."""
    end = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    span = Span(end - _DAY, end, Resolution.HOUR)
    return Period(span, LAST_24_HOURS, f"{span.start:%Y-%m-%d-%H}h", _("in the last 24 hours"))


def _day(day: date) -> Period:
    span = Span(midnight(day), midnight(day + _DAY), Resolution.HOUR)
    return Period(span, ONE_DAY, day.isoformat(), _("on %(day)s", day=day_name(day)))


def _month(month: Month) -> Period:
    span = Span(month.start, month.end, Resolution.DAY)
    return Period(span, str(month), str(month), _("in %(month)s", month=month_name(month.first_day)))


def _year(year: int, now: datetime) -> Period:
    if not EARLIEST.year <= year <= now.year + 1:
        raise InvalidInput(
            Said("There is no usage of %(year)s; choose a year up to %(latest)s.", year=year, latest=now.year),
            field="period",
        )
    span = Span(Month(year, 1).start, Month(year, 12).end, Resolution.MONTH)
    return Period(span, f"{year:04d}", f"{year:04d}", _("in %(year)s", year=year))


def _checked(month: Month, now: datetime) -> Month:
    current = Month.of(now)
    if not EARLIEST <= month <= current.next:
        raise InvalidInput(
            Said("There is no usage of %(month)s; choose a month up to %(current)s.", month=month, current=current),
            field="period",
        )
    return month
