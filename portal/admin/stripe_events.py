"""What Stripe has told us: all events, and the button that has one applied again."""

from flask import Response, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as Answer

from portal.admin.staff import staff_blueprint
from portal.infra.blocks import rows_of
from portal.infra.db import transaction
from portal.infra.pages import csv_streamed, policy
from portal.organizations.queries import LONGEST_ID
from portal.payments.models import StripeEvent
from portal.payments.replaying import list_events, replay

PER_PAGE = 50
HEAD = ("event", "type", "about", "received_at", "state", "note", "applied_at")
bp = staff_blueprint("admin_stripe_events")


@bp.get("/sync/events")
@policy("view organizations")
def index() -> str:
    """One page of events, newest first."""
    after = request.args.get("after", "")
    is_id = after.isdecimal() and after.isascii() and len(after) <= LONGEST_ID
    found = list_events(before=int(after) if is_id else None, limit=PER_PAGE + 1)
    shown = found[:PER_PAGE]
    more = shown[-1].id if len(found) > PER_PAGE else None
    return render_template("admin/drift/events.html", events=shown, more=more, paged=bool(after))


@bp.get("/sync/events.csv")
@policy("view organizations")
def as_csv() -> Response:
    """All events, without what they carry."""

    def read(last: StripeEvent | None, limit: int) -> list[StripeEvent]:
        return list_events(before=last.id if last else None, limit=limit)

    rows = (
        (
            event.event_id,
            event.type,
            event.object_id,
            event.received_at.isoformat(),
            event.state,
            event.note,
            event.applied_at.isoformat() if event.applied_at else None,
        )
        for event in rows_of(read)
    )
    return csv_streamed("stripe-events", HEAD, rows)


@bp.post("/sync/events/<event_id>/replay")
@policy("repair the Stripe sync")
def apply_again(event_id: str) -> Answer:
    """Have one event applied again: its invoice is read at Stripe once more."""
    with transaction():
        event = replay(event_id)
    flash(f"{event.type} is applied again: its invoice is read at Stripe once more.", "success")
    return redirect(url_for(".index"), 303)
