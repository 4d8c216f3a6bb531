"""The change log of a draft by day, as a page and as a file."""

from collections.abc import Iterator
from typing import Any

from flask import Blueprint, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from portal.core.lifecycle import InvoiceState
from portal.core.money import major_text
from portal.core.periods import Month
from portal.infra import clock
from portal.infra.pages import csv_response, policy
from portal.invoicing.change_log import DayChange, change_log
from portal.invoicing.drafting import draft_of
from portal.invoicing.queries import invoice_for_month
from portal.organizations.models import Organization
from portal.organizations.queries import organization_by_id
from portal.signed_in import guard_page, my_seat
from portal.web.months import chosen_month

CSV_HEAD = ("Day", "Item", "Currency", "Amount before", "Amount after", "Change", "Total at the day's end")
bp = Blueprint("change_log", __name__, url_prefix="/invoices/draft")
bp.before_request(guard_page)


@bp.get("/log")
@policy("view invoices")
def show() -> ResponseReturnValue:
    """Every day on which something came, newest first."""
    now = clock.now()
    month, organization = chosen_month(now), organization_by_id(my_seat().organization_id)
    if _is_frozen(organization, month):
        return redirect(url_for("drafts.show", month=month), 303)
    return render_template(
        "web/invoices/change_log.html",
        month=month,
        currency=organization.currency,
        log=_log(organization, month),
        today=now.date(),
    )


@bp.get("/log.csv")
@policy("view invoices")
def download() -> ResponseReturnValue:
    """One row for every line that changed on a day."""
    month, organization = chosen_month(clock.now()), organization_by_id(my_seat().organization_id)
    if _is_frozen(organization, month):
        return redirect(url_for("drafts.download", month=month), 303)
    return csv_response(f"change-log-{month}", CSV_HEAD, list(_rows(_log(organization, month), organization.currency)))


def _log(organization: Organization, month: Month) -> list[DayChange]:
    return change_log(organization, month, draft_of(organization, month))


def _is_frozen(organization: Organization, month: Month) -> bool:
    """Whether the month's figures no longer change."""
    invoice = invoice_for_month(organization.id, month)
    return invoice is not None and invoice.state != InvoiceState.DRAFT


def _rows(log: list[DayChange], currency: str) -> Iterator[tuple[Any, ...]]:
    for each in log:
        for line in each.lines:
            amounts = (line.before, line.after, line.change, each.total)
            yield (each.day, line.description, currency, *(major_text(amount, currency) for amount in amounts))
