"""A draft through time: what was known of it at a day's end or an instant, and what has changed since, by events.

The end of a day is told at once. An instant within a day has to be counted from the events, which a worker does when
somebody asks for it; until then the page says how far it is.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from portal.core.errors import InvalidInput
from portal.core.lifecycle import InvoiceState
from portal.core.money import major_text
from portal.core.periods import Month, midnight
from portal.core.saying import Said
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.pages import csv_response, policy
from portal.invoicing.as_of import DraftAsOf, ask, draft_as_of, require_settled
from portal.invoicing.changes import Changes, changes_since
from portal.invoicing.queries import invoice_for_month
from portal.organizations.models import Organization
from portal.organizations.queries import organization_by_id
from portal.signed_in import guard_page, my_seat
from portal.usage.archived import archive_sentence
from portal.usage.heard_since import heard_since
from portal.web.months import EARLIEST, chosen_month

MOST_EVENTS = 20
LOOK_AGAIN_SECONDS = 2
# Who has waited for longer may ask once more.
PATIENCE = timedelta(minutes=1)
CSV_HEAD = ("Item", "Currency", "Amount then", "Amount now", "Change")
bp = Blueprint("draft_changes", __name__, url_prefix="/invoices/draft")
bp.before_request(guard_page)


@bp.get("/changes")
@policy("view invoices")
def show() -> ResponseReturnValue:
    """What has changed since the end of a day (?since=2026-11-21), by default yesterday's, or since a time of it."""
    now = clock.now()
    month, organization = chosen_month(now), organization_by_id(my_seat().organization_id)
    if _is_frozen(organization, month):
        return redirect(url_for("drafts.show", month=month), 303)
    instant = chosen_instant(now)
    since = chosen_day(now) if instant is None else instant.date()
    page = {"month": month, "currency": organization.currency, "since": since, "instant": instant, "now": now}
    known_on: date | DraftAsOf = since
    if instant is not None:
        asked = draft_as_of(organization.id, month, instant)
        if asked is None or not asked.is_computed:
            return _asked(asked, page)
        known_on = asked
    return render_template(
        "web/invoices/changes.html",
        **page,
        changes=changes_since(organization, month, known_on),
        events=heard_since(organization.id, month, _from_then_on(since, instant), most=MOST_EVENTS),
        most_events=MOST_EVENTS,
    )


def _asked(asked: DraftAsOf | None, page: dict[str, Any]) -> str:
    """The page of an instant that is not computed: what may be done, or how far it is."""
    return render_template(
        "web/invoices/changes_asked.html",
        **page,
        asked=asked,
        refusal=archive_sentence(page["month"]) or (asked.refusal if asked else None),
        is_late=asked is not None and page["now"] > asked.asked_at + PATIENCE,
        look_again_seconds=LOOK_AGAIN_SECONDS,
    )


@bp.post("/changes")
@policy("view invoices")
def compute() -> ResponseReturnValue:
    """Have the draft of an instant computed, and go on to the page that shows it. Idempotent."""
    now = clock.now()
    month, organization = chosen_month(now), organization_by_id(my_seat().organization_id)
    instant = chosen_instant(now)
    if instant is None:
        raise InvalidInput("Choose a time; the ends of days are there already.", field="time")
    with acting_as(SYSTEM), transaction():
        ask(organization.id, month, instant, now=now)
    return redirect(url_for(".show", month=month, since=instant.date(), time=time_text(instant)), 303)


@bp.get("/changes.csv")
@policy("view invoices")
def download() -> ResponseReturnValue:
    """The lines that have changed, as a file."""
    now = clock.now()
    month, organization = chosen_month(now), organization_by_id(my_seat().organization_id)
    if _is_frozen(organization, month):
        return redirect(url_for("drafts.download", month=month), 303)
    instant = chosen_instant(now)
    if instant is None:
        known_on: date | DraftAsOf = chosen_day(now)
        name = f"changes-{month}-since-{known_on}"
    else:
        asked = draft_as_of(organization.id, month, instant)
        if asked is None or not asked.is_computed:
            raise InvalidInput("The draft of that time is not computed yet; ask for it on the page.", field="time")
        known_on, name = asked, f"changes-{month}-since-{instant:%Y-%m-%dT%H%M%SZ}"
    return csv_response(name, CSV_HEAD, _rows(changes_since(organization, month, known_on), organization.currency))


def chosen_instant(now: datetime) -> datetime | None:
    """The time of a day (UTC) that people want to know the draft at (?since=…&time=14:30); None without a time.

    A day's last microsecond is its end, which needs no time. Raises InvalidInput.
    """
    text = request.args.get("time")
    if not text:
        return None
    day = _day_of(request.args.get("since") or now.date().isoformat(), now)
    try:
        moment = time.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is not None:
        raise InvalidInput(
            Said("“%(text)s” is not a time of a day (UTC); write it like 14:30.", text=text[:20]), field="time"
        )
    instant = datetime.combine(day, moment, UTC)
    if instant < EARLIEST.start:
        raise InvalidInput(Said("Choose a day from %(first_day)s on.", first_day=EARLIEST.first_day), field="since")
    if instant.time() == time.max:
        return None
    require_settled(instant, now=now)
    return instant


def time_text(instant: datetime) -> str:
    """A time of a day as the form writes it: with seconds only if there are any."""
    return instant.time().isoformat("auto" if instant.second or instant.microsecond else "minutes")


def _from_then_on(since: date, instant: datetime | None) -> datetime:
    """The first moment after what is compared with."""
    if instant is None:
        return midnight(since + timedelta(days=1))
    return instant + timedelta(microseconds=1)


def chosen_day(now: datetime) -> date:
    """The day at whose end people want to know the draft (?since=…): yesterday or earlier. Raises InvalidInput."""
    yesterday = now.date() - timedelta(days=1)
    text = request.args.get("since")
    if not text:
        return yesterday
    day = _day_of(text, now)
    if not EARLIEST.first_day <= day <= yesterday:
        raise InvalidInput(Said("Choose a day that is over: up to %(yesterday)s.", yesterday=yesterday), field="since")
    return day


def _day_of(text: str, now: datetime) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        example = now.date() - timedelta(days=1)
        raise InvalidInput(
            Said("“%(text)s” is not a day; write it like %(example)s.", text=text[:20], example=example), field="since"
        ) from None


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
