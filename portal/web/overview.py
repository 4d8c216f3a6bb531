"""The start page of a customer: how much, is it a surprise, is there something to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from flask import Blueprint, current_app, redirect, render_template
from flask.typing import ResponseReturnValue

from portal.budgets.keeping import budgets_of
from portal.catalog.queries import meters_by_code
from portal.charts import Chart, bars_per_day
from portal.core.lifecycle import InvoiceState, PaymentState
from portal.core.money import round_to_minor
from portal.core.periods import Month
from portal.core.statement import Line
from portal.forecasting.reading import outlook
from portal.infra import clock
from portal.infra.formats import money
from portal.infra.languages import _
from portal.infra.pages import policy
from portal.invoicing.drafting import draft_of
from portal.invoicing.models import Invoice
from portal.invoicing.queries import invoices_of
from portal.organizations.queries import organization_by_id
from portal.organizations.roles import Permission
from portal.payments.methods import method_of
from portal.signed_in import guard_page, me, my_seat
from portal.standing import is_overdue
from portal.usage.queries import usage_complete_up_to
from portal.web.daily_costs import daily_costs

LOOKED_THROUGH, LISTED = 12, 3
bp = Blueprint("overview", __name__)
bp.before_request(guard_page)


@dataclass(frozen=True, slots=True)
class ToDo:
    """One invoice that wants something of the customer."""

    invoice: Invoice
    sentence: str


@bp.get("/")
@policy("signed in")
def show() -> ResponseReturnValue:
    """The overview; people of the staff have their own start page."""
    if me().staff_role is not None:
        return redirect("/admin", 303)
    seat, now = my_seat(), clock.now()
    month = Month.of(now)
    invoices = invoices_of(seat.organization_id, limit=LOOKED_THROUGH)
    organization = organization_by_id(seat.organization_id)
    draft = draft_of(organization, month)
    budget = next((each for each in budgets_of(seat.organization_id) if each.by is None), None)
    past = [invoice for invoice in invoices if invoice.period_start < month.first_day]
    final = [invoice for invoice in past if invoice.state == InvoiceState.FINALIZED]
    is_new = not draft.statement.lines and not draft.unpriced and not past
    return render_template(
        "web/overview/show.html",
        month=month,
        statement=draft.statement,
        last_final=final[0] if final else None,
        invoices=past[:LISTED],
        to_do=_to_do(final, now.date()),
        chart=_cost_per_day(seat.organization_id, month, draft.statement.lines, seat.currency),
        heard_of_at=usage_complete_up_to(seat.organization_id, month),
        sees_invoices=me().may(Permission.VIEW_INVOICES),
        first_meter=next(iter(meters_by_code().values()), None) if is_new else None,
        outlook=outlook(seat.organization_id, month),
        budget=budget,
        passed_budget=budget is not None and draft.statement.total > budget.amount,
        lacks_method=organization.collection_method == "charge_automatically" and method_of(organization.id) is None,
        is_new=is_new,
        portal_url=current_app.config["SETTINGS"].portal_url,
        now=now,
    )


def _to_do(invoices: Sequence[Invoice], today: date) -> list[ToDo]:
    """The invoices that the customer has to see to, each once."""
    urgent = {
        PaymentState.FAILED: _("The payment failed."),
        PaymentState.ACTION_REQUIRED: _("Your bank wants the payment to be confirmed."),
        PaymentState.OPEN: _("Payment is overdue."),
    }
    return [
        ToDo(each, urgent[PaymentState(each.payment_state)])
        for each in invoices
        if each.payment_state in urgent and (each.payment_state != PaymentState.OPEN or is_overdue(each, today))
    ]


def _cost_per_day(organization_id: int, month: Month, lines: Sequence[Line], currency: str) -> Chart | None:
    """What each day's usage cost; None if nothing was used."""
    costs = daily_costs(organization_id, month, lines, currency)
    if not costs:
        return None
    return bars_per_day(
        _("Usage cost per day (%(currency)s)", currency=currency),
        month.days(),
        list(costs.items()),
        lambda value: money(round_to_minor(value, currency), currency),
    )
