"""What the running month is expected to come to: a range, how it is made, how wrong it was, and what if."""

from dataclasses import dataclass
from datetime import UTC, date
from decimal import Decimal

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from portal.catalog.queries import meters_by_code
from portal.charts import Chart, bars_per_day
from portal.core.errors import InvalidInput
from portal.core.money import major_text, round_to_minor, to_major
from portal.core.periods import Month
from portal.core.saying import Said
from portal.core.statement import Statement
from portal.forecasting.making import forecast_beside
from portal.forecasting.reading import Outlook, comparisons, spread
from portal.infra import clock
from portal.infra.formats import money
from portal.infra.languages import _
from portal.infra.pages import csv_response, policy
from portal.invoicing.changes import LineChange, line_changes
from portal.invoicing.drafting import Draft, draft_of
from portal.organizations.queries import organization_by_id
from portal.signed_in import guard_page, my_seat
from portal.usage.projecting import days_left
from portal.usage.queries import usage_complete_up_to
from portal.web.daily_costs import daily_costs

LARGEST_PERCENT = 1_000
SO_FAR, TO_COME = Said("So far"), Said("Expected")
CSV_HEAD = ("line", "so_far", "expected", "currency")
bp = Blueprint("forecast", __name__)
bp.before_request(guard_page)


@dataclass(frozen=True, slots=True)
class Wish:
    """A meter of the month, and by how many percent its usage is supposed to change from now on."""

    code: str
    name: str
    percent: int


@bp.get("/forecast")
@policy("view invoices")
def show() -> ResponseReturnValue:
    """The month's expected end, line by line; ?change.egress_gb=50 supposes half as much egress again from now on."""
    now = clock.now()
    today = now.astimezone(UTC).date()
    month, organization = Month.of(today), organization_by_id(my_seat().organization_id)
    draft = draft_of(organization, month)
    usual = forecast_beside(organization, draft, today=today)
    wishes = _wishes(draft, usual)
    factors = {each.code: Decimal(100 + each.percent) / 100 for each in wishes if each.percent}
    supposed = forecast_beside(organization, draft, today=today, factors=factors) if factors else usual
    compared = comparisons(organization.id, today)
    low, high = spread(supposed.statement.total, compared)
    return render_template(
        "web/forecast/show.html",
        month=month,
        days_left=days_left(month, today),
        outlook=Outlook(supposed.statement.total, low, high, draft.statement.total, now, tuple(compared)),
        usual=usual.statement.total,
        currency=organization.currency,
        lines=_lines(draft.statement, supposed.statement),
        wishes=wishes,
        is_supposed=bool(factors),
        chart=_picture(organization.id, month, today, draft.statement, supposed.statement),
        heard_of_at=usage_complete_up_to(organization.id, month),
        has_unpriced=bool(draft.unpriced),
    )


@bp.get("/forecast.csv")
@policy("view invoices")
def download() -> ResponseReturnValue:
    """The lines, so far and as they are expected to be."""
    today = clock.now().astimezone(UTC).date()
    month, organization = Month.of(today), organization_by_id(my_seat().organization_id)
    draft = draft_of(organization, month)
    lines = _lines(draft.statement, forecast_beside(organization, draft, today=today).statement)
    currency = organization.currency
    rows = [
        (each.description, major_text(each.before, currency), major_text(each.after, currency), currency)
        for each in lines
    ]
    return csv_response(f"forecast-{month}", CSV_HEAD, rows)


def _lines(so_far: Statement, expected: Statement) -> list[LineChange]:
    """All lines of both, the largest expected first."""
    rising = {each.description: each for each in line_changes(so_far, expected)}
    same: dict[str, int] = {}
    for line in so_far.lines:
        same[line.description] = same.get(line.description, 0) + line.amount
    lines = [rising.pop(name, LineChange(name, amount, amount)) for name, amount in same.items()]
    return sorted([*lines, *rising.values()], key=lambda each: (-each.after, each.description))


def _wishes(draft: Draft, usual: Draft) -> list[Wish]:
    """The meters on the bill, with what the address supposes of them. Raises InvalidInput."""
    on_bill = {line.meter for each in (draft, usual) for line in each.statement.lines if line.meter}
    meters = meters_by_code()
    return [Wish(code, meters[code].name, _percent(code)) for code in sorted(on_bill) if code in meters]


def _percent(code: str) -> int:
    text = request.args.get(f"change.{code}", "").strip().replace("\N{MINUS SIGN}", "-")
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if not digits and not text:
        return 0
    if not (digits.isdecimal() and digits.isascii() and len(digits) <= 4):
        raise InvalidInput("A change is a whole number of percent, such as 50 or -20.", field=f"change.{code}")
    percent = sign * int(digits)
    if not -100 <= percent <= LARGEST_PERCENT:
        raise InvalidInput(
            Said("A change lies between -100 and %(largest)s percent.", largest=f"{LARGEST_PERCENT:,}"),
            field=f"change.{code}",
        )
    return percent


def _picture(organization_id: int, month: Month, today: date, so_far: Statement, expected: Statement) -> Chart | None:
    """Each day's usage cost, and what is expected of the days that are left, spread evenly over them."""
    currency = so_far.currency
    used: dict[date, Decimal] = {}
    for of_day in daily_costs(organization_id, month, so_far.lines, currency).values():
        for day, cost in of_day.items():
            used[day] = used.get(day, Decimal(0)) + cost
    if not used:
        return None
    rest = to_major(expected.total - so_far.total, currency) / days_left(month, today)
    ahead = {day: max(rest, Decimal(0)) for day in month.days() if day >= today}
    return bars_per_day(
        _("Cost per day (%(currency)s)", currency=currency),
        month.days(),
        [(_(SO_FAR), used), (_(TO_COME), ahead)],
        lambda value: money(round_to_minor(value, currency), currency),
    )
