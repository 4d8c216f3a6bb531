"""What a month costs by app, region, product or whatever its meters tell apart: a picture, a table, and a file."""

from datetime import datetime

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue

from portal.charts import OTHER, SERIES_COLOURS, Chart, bars_per_day
from portal.core.money import round_to_minor
from portal.infra import clock
from portal.infra.formats import money
from portal.infra.languages import _
from portal.infra.pages import csv_response, policy
from portal.invoicing.cost_days import cost_by_day
from portal.invoicing.cost_table import CSV_HEAD, CostTable, cost_table, csv_rows, month_asked
from portal.organizations.queries import organization_by_id
from portal.signed_in import guard_page, my_seat
from portal.usage.queries import usage_complete_up_to
from portal.web.months import latest_months

bp = Blueprint("costs", __name__)
bp.before_request(guard_page)


@bp.get("/costs")
@policy("view invoices")
def show() -> ResponseReturnValue:
    """The costs of a month, live or final, by one thing."""
    now = clock.now()
    table = _asked_table(now)
    bill = table.costs.bill
    return render_template(
        "web/costs/show.html",
        table=table,
        months=latest_months(now, chosen=bill.month),
        bill_address=_bill_address(table),
        chart=_picture(table),
        heard_of_at=usage_complete_up_to(bill.organization.id, bill.month),
        is_over=now >= bill.month.end,
    )


@bp.get("/costs.csv")
@policy("view invoices")
def download() -> ResponseReturnValue:
    """The table of the page, all rows."""
    table = _asked_table(clock.now())
    question, month = table.costs.question, table.costs.bill.month
    return csv_response(f"costs-{month}-by-{question.by}", CSV_HEAD, csv_rows(table))


def _asked_table(now: datetime) -> CostTable:
    """What the address asks for (?month=2026-10&by=app&meter=…). Raises InvalidInput."""
    return cost_table(
        organization_by_id(my_seat().organization_id),
        month_asked(request.args.get("month"), now),
        by=request.args.get("by") or None,
        meter=request.args.get("meter") or None,
    )


def _bill_address(table: CostTable) -> str:
    """The page whose total the table adds up to."""
    bill = table.costs.bill
    if bill.is_final and bill.invoice is not None:
        return url_for("invoices.show", public_id=bill.invoice.public_id)
    return url_for("drafts.show", month=bill.month)


def _picture(table: CostTable) -> Chart | None:
    """The days of the groups whose usage costs most, and of the others together; None if no usage costs anything."""
    costs, currency = table.costs, table.costs.bill.currency
    days = cost_by_day(costs, most=SERIES_COLOURS)
    if not days:
        return None
    labels = {group.value: group.label for group in costs.groups if group.value is not None}
    return bars_per_day(
        _("Usage cost per day (%(currency)s)", currency=currency),
        costs.bill.month.days(),
        [(labels[value] if value is not None else OTHER, of_day) for value, of_day in days.items()],
        lambda value: money(round_to_minor(value, currency), currency),
    )
