"""All years of a customer's invoices: a picture of the months, sums by year and month, and a file of them."""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from portal.charts import Chart, bars_per_month
from portal.core.money import round_to_minor, to_major
from portal.core.periods import Month
from portal.infra.formats import money
from portal.infra.languages import _
from portal.infra.pages import csv_response, policy
from portal.invoicing.month_totals import FILE_HEAD, CurrencyTotals, by_currency, file_rows, months_of
from portal.signed_in import guard_page, my_seat

bp = Blueprint("totals", __name__)
bp.before_request(guard_page)


@bp.get("/totals")
@policy("view invoices")
def show() -> ResponseReturnValue:
    """What I was invoiced, since the first invoice."""
    currencies = by_currency(months_of(my_seat().organization_id))
    return render_template("web/totals/show.html", charted=[(each, _chart(each)) for each in currencies])


@bp.get("/totals.csv")
@policy("view invoices")
def download() -> ResponseReturnValue:
    """The months as a file."""
    return csv_response("totals", FILE_HEAD, file_rows(months_of(my_seat().organization_id)))


def _chart(of_currency: CurrencyTotals) -> Chart:
    """The months from the first to the last one, those without an invoice too; the tax apart, if there is any."""
    months, currency = of_currency.months, of_currency.currency
    parts = {_("Net"): "net", _("Tax"): "tax"} if any(each.totals.tax for each in months) else {_("Total"): "total"}
    series = [
        (name, {each.month.first_day: to_major(getattr(each.totals, part), currency) for each in months})
        for name, part in parts.items()
    ]
    return bars_per_month(
        _("Invoiced per month (%(currency)s)", currency=currency),
        [month.first_day for month in _from_to(months[-1].month, months[0].month)],
        series,
        lambda value: money(round_to_minor(value, currency), currency),
    )


def _from_to(first: Month, last: Month) -> list[Month]:
    months = (last.year - first.year) * 12 + last.month - first.month + 1
    return [first.plus(ahead) for ahead in range(months)]
