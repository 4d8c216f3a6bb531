"""Usage that waits for a meter: what there is, discarding what will never have one, and taking that back."""

from typing import Any
from uuid import UUID

from flask import Response, flash, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response as Redirect
from wtforms import TextAreaField
from wtforms.validators import DataRequired, Length

from portal.admin.staff import staff_blueprint
from portal.core.errors import NotFound
from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.formats import quantity
from portal.infra.pages import csv_response, policy
from portal.organizations.models import Organization
from portal.organizations.queries import organization_of
from portal.signed_in import me
from portal.usage.discarding import LONGEST_REASON, discard_waiting, take_back_discarded
from portal.usage.waiting_queries import MOST_SHOWN, count_waiting, discarded_usage, waiting_usage

CSV_HEAD = ("organization", "meter", "state", "events", "quantity", "first_at", "last_at", "reason", "by")
bp = staff_blueprint("admin_waiting")


class DiscardForm(FlaskForm):
    """Why usage will never be billed."""

    reason = TextAreaField(
        "Reason",
        [
            DataRequired("Say why it will never be billed; the reason is kept in the audit log."),
            Length(max=LONGEST_REASON, message=f"A reason has at most {LONGEST_REASON} characters."),
        ],
        description="Kept in the audit log, with the ticket if there is one.",
    )


@bp.get("/usage/waiting")
@policy("view organizations")
def index() -> str:
    """What waits and what was discarded, by organization and meter code."""
    return render_template(
        "admin/waiting/index.html",
        waiting=waiting_usage(limit=MOST_SHOWN),
        count=count_waiting(),
        discarded=discarded_usage(limit=MOST_SHOWN),
        most_shown=MOST_SHOWN,
    )


@bp.get("/usage/waiting.csv")
@policy("view organizations")
def as_csv() -> Response:
    """Both tables of the page, with all rows."""
    rows: list[tuple[Any, ...]] = [
        (each.slug, each.meter, "waiting", each.events, each.quantity, each.first_at, each.last_at, each.reason, None)
        for each in waiting_usage()
    ]
    rows += [
        (each.slug, each.meter, "cancelled" if each.cancelled else "discarded", each.events, each.quantity)
        + (each.first_at, each.last_at, each.discarded_reason, each.discarded_by)
        for each in discarded_usage()
    ]
    return csv_response("waiting-usage", CSV_HEAD, rows)


@bp.get("/usage/waiting/discard")
@policy("finalize invoices")
def confirm() -> str:
    """What discarding does, and the form that asks why."""
    return _confirm(DiscardForm(formdata=None))


@bp.post("/usage/waiting/discard")
@policy("finalize invoices")
def discard() -> Redirect | tuple[str, int]:
    """Discard what an organization's events for one meter code say."""
    form = DiscardForm()
    if not form.validate():
        return _confirm(form), 422
    organization, meter = _named()
    with transaction():
        events = discard_waiting(
            organization.id, meter, reason=form.reason.data or "", by=me().actor.name, now=clock.now()
        )
    flash(f"{_events(events)} of {organization.name} for “{meter}” will not be billed.", "success")
    return redirect(url_for("admin_waiting.index"), 303)


@bp.post("/usage/waiting/take-back")
@policy("finalize invoices")
def take_back() -> Redirect:
    """Let what was discarded wait again."""
    organization, meter = _named()
    with transaction():
        events = take_back_discarded(organization.id, meter)
    flash(f"{_events(events)} of {organization.name} for “{meter}” wait again.", "success")
    return redirect(url_for("admin_waiting.index"), 303)


def _confirm(form: DiscardForm) -> str:
    organization, meter = _named()
    found = [each for each in waiting_usage(organization_id=organization.id) if each.meter == meter]
    if not found:
        raise NotFound("No event of this organization waits for this meter.")
    events = sum(each.events for each in found)
    return render_template(
        "admin/waiting/discard.html", form=form, organization=organization, meter=meter, found=found, events=events
    )


def _named() -> tuple[Organization, str]:
    """The organization and the meter code that the form or the address names. Raises NotFound."""
    try:
        public_id = UUID(request.values.get("organization", ""))
    except ValueError:
        raise NotFound("There is no such organization.") from None
    return organization_of(public_id), request.values.get("meter", "")


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{quantity(count)} events"
