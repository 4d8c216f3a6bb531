"""The page that sets a month beside the one before: its picture, its words and its file, for customers and staff."""

from typing import Any

from portal.charts import Chart, waterfall
from portal.core.currencies import exponent_of
from portal.core.effects import Step
from portal.core.money import major_text, to_major
from portal.core.saying import Said
from portal.infra.formats import money, month_name
from portal.infra.languages import _, told
from portal.invoicing.models import Invoice
from portal.invoicing.month_effects import Comparison, compared_with_last_month

CSV_HEAD = ("Step", "Item", "Currency", "Change")
STEPS = {
    Step.VOLUME: Said("Volume"),
    Step.PRICE: Said("Price"),
    Step.NEW: Said("New"),
    Step.GONE: Said("Gone"),
    Step.FEES: Said("Fees"),
    Step.PRORATION: Said("Proration"),
    Step.ONE_OFF: Said("One-off"),
    Step.LATE: Said("Late usage"),
    Step.TAKEN_OFF: Said("Reductions"),
    Step.TAX: Said("Tax"),
}
MEANINGS = {
    Step.VOLUME: Said("More or less of what last month had too, at last month’s average price"),
    Step.PRICE: Said("The same quantity at another average price: new prices, and tiers that were reached"),
    Step.NEW: Said("Usage that last month did not have"),
    Step.GONE: Said("Usage that this month does not have"),
    Step.FEES: Said("Subscriptions, seats and minimum commitments"),
    Step.PRORATION: Said("Fees of parts of a period: begun, changed or ended within it"),
    Step.ONE_OFF: Said("Items and credits that were added by hand"),
    Step.LATE: Said("Adjustments for earlier months"),
    Step.TAKEN_OFF: Said("Reservations, coupons and promotional credits"),
    Step.TAX: Said("Tax on all of it"),
}


def comparison_page(invoice: Invoice) -> dict[str, Any]:
    """What the template shows of an invoice beside the one of the month before."""
    compared = compared_with_last_month(invoice)
    return {
        "invoice": invoice,
        "compared": compared,
        "chart": _picture(compared),
        "steps": [(STEPS[step], MEANINGS[step], change) for step, change in compared.steps],
        "effects": [(STEPS[each.step], each.name, each.change) for each in compared.effects],
    }


def comparison_rows(invoice: Invoice) -> list[tuple[str, str, str, str]]:
    """Every effect, for a file; changes in the major unit."""
    compared = compared_with_last_month(invoice)
    currency = compared.currency
    return [(STEPS[each.step], each.name, currency, major_text(each.change, currency)) for each in compared.effects]


def _picture(compared: Comparison) -> Chart | None:
    if not compared.effects:
        return None
    currency = compared.currency
    first, last = (month_name(month.first_day) for month in (compared.month.previous, compared.month))
    largest = max(compared.effects, key=lambda each: abs(each.change))
    return waterfall(
        _("From %(first)s to %(last)s, in %(currency)s", first=first, last=last, currency=currency),
        _(
            "From %(before)s to %(after)s; %(name)s moved it most (%(step)s: %(change)s).",
            before=money(compared.before, currency),
            after=money(compared.after, currency),
            name=largest.name,
            step=_(STEPS[largest.step].lower()),
            change=money(largest.change, currency),
        ),
        [(first, to_major(compared.before, currency))]
        + [(told(STEPS[step]), to_major(change, currency)) for step, change in compared.steps],
        ends=(first, last),
        say=lambda value: money(int(value.scaleb(exponent_of(currency))), currency),
    )
