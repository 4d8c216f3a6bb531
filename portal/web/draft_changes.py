"""A draft through time: what was known of it at the end of a day, and what has changed since, event by event."""

from datetime import date, datetime, timedelta

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from portal.core.errors import InvalidInput
from portal.core.lifecycle import InvoiceState
from portal.core.money import major_text
from portal.core.periods import Month, midnight
from portal.infra import clock
from portal.infra.pages import csv_response, policy
from portal.invoicing.changes import Changes, changes_since
from portal.invoicing.queries import invoice_for_month
from portal.organizations.models import Organization
from portal.organizations.queries import organization_by_id
from portal.signed_in import guard_page, my_seat
from portal.usage.heard_since import heard_since
from portal.web.months import EARLIEST, chosen_month

MOST_EVENTS = 20
CSV_HEAD = ("Item", "Currency", "Amount then", "Amount now", "Change")
bp = Blueprint("draft_changes", __name__, url_prefix="/invoices/draft")
bp.before_request(guard_page)


@bp.get("/changes")
@policy("view invoices")
def show() -> ResponseReturnValue:
    """What has changed since the end of a day (?since=2026-11-21), by default since yesterday."""
    now = clock.now()
    month, organization = chosen_month(now), organization_by_id(my_seat().organization_id)
    if _is_frozen(organization, month):
        return redirect(url_for("drafts.show", month=month), 303)
    since = chosen_day(now)
    return render_template(
        "web/invoices/changes.html",
        month=month,
        currency=organization.currency,
        since=since,
        changes=changes_since(organization, month, since),
        events=heard_since(organization.id, month, midnight(since + timedelta(days=1)), most=MOST_EVENTS),
        most_events=MOST_EVENTS,
        now=now,
    )


@bp.get("/changes.csv")
@policy("view invoices")
def download() -> ResponseReturnValue:
    """The lines that have changed, as a file."""
    now = clock.now()
    month, organization = chosen_month(now), organization_by_id(my_seat().organization_id)
    if _is_frozen(organization, month):
        return redirect(url_for("drafts.download", month=month), 303)
    since = chosen_day(now)
    changes = changes_since(organization, month, since)
    return csv_response(f"changes-{month}-since-{since}", CSV_HEAD, _rows(changes, organization.currency))


def chosen_day(now: datetime) -> date:
    """The day at whose end people want to know the draft (?since=…): yesterday or earlier. Raises InvalidInput."""
    yesterday = now.date() - timedelta(days=1)
    text = request.args.get("since")
    if not text:
        return yesterday
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"“{text[:20]}” is not a day; write it like {yesterday}.", field="since") from None
    if not EARLIEST.first_day <= day <= yesterday:
        raise InvalidInput(f"Choose a day that is over: up to {yesterday}.", field="since")
    return day


def _is_frozen(organization: Organization, month: Month) -> bool:
    """Whether the month's figures no longer change."""
    invoice = invoice_for_month(organization.id, month)
    return invoice is not None and invoice.state != InvoiceState.DRAFT


def _rows(changes: Changes, currency: str) -> list[tuple[str, ...]]:
    return [
        (
            each.description,
            currency,
            *(major_text(amount, currency) for amount in (each.before, each.after, each.change)),
        )
        for each in changes.lines
    ]
