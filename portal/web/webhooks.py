"""Webhooks: where an organization's programs are told what happens; each secret is on one page, once."""

from typing import Any
from uuid import UUID

from flask import Blueprint, Response, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import SelectMultipleField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import DataRequired, Length
from wtforms.widgets import CheckboxInput, ListWidget

from portal.core.errors import InvalidInput, PortalError
from portal.core.saying import Said
from portal.infra import clock
from portal.infra.calling import LONGEST_URL
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.languages import _, told
from portal.infra.pages import csv_response, policy
from portal.signed_in import guard_page, me, my_seat
from portal.webhooks.endpoints import (
    MOST_LISTED,
    ROTATION_OVERLAP,
    add_endpoint,
    deliveries_of,
    disable_by_hand,
    enable_endpoint,
    endpoints_of,
    remove_endpoint,
    replay,
    rotate_secret,
    send_test,
)
from portal.webhooks.models import EventType

EVENTS = {
    EventType.FINALIZED: Said("an invoice is final"),
    EventType.PAID: Said("an invoice is paid"),
    EventType.PAYMENT_FAILED: Said("a payment failed"),
    EventType.VOIDED: Said("an invoice is void"),
    EventType.CREDITED: Said("a credit note is final"),
    EventType.BUDGET: Said("a budget has passed a threshold"),
}
CSV_HEAD = (
    *("Event id", "Type", "Happened at", "Endpoint", "State", "Attempts", "Last attempt at", "Status"),
    *("Milliseconds", "Answer", "Error", "Next attempt at", "Delivered at"),
)
MOST_IN_A_FILE = 10_000
bp = Blueprint("webhook_pages", __name__)
bp.before_request(guard_page)


class EndpointForm(FlaskForm):
    """A new endpoint: its address, and of what it wants to be told."""

    url = StringField(
        Said("Address"), [DataRequired(Said("Enter the address of your program.")), Length(max=LONGEST_URL)]
    )
    events = SelectMultipleField(
        Said("Tell it when"),
        choices=lambda: [SelectChoice(kind.value, f"{_(words)} ({kind})") for kind, words in EVENTS.items()],
        default=[kind.value for kind in EVENTS],
        widget=ListWidget(prefix_label=False),
        option_widget=CheckboxInput(),
    )


@bp.get("/webhooks")
@policy("manage webhooks")
def show() -> str:
    """The endpoints, the latest deliveries, and a form for one more endpoint."""
    return _page(EndpointForm(formdata=None))


@bp.get("/webhooks.csv")
@policy("manage webhooks")
def download() -> Response:
    """The deliveries as a file."""
    rows = (
        (
            *(each.event_id, each.type, each.created_at, each.endpoint.url, each.state, each.attempts),
            *(each.last_attempt_at, each.last_status, each.last_milliseconds, each.last_answer, each.last_error),
            *(each.next_attempt_at, each.delivered_at),
        )
        for each in deliveries_of(my_seat().organization_id, limit=MOST_IN_A_FILE)
    )
    return csv_response("webhook-deliveries", CSV_HEAD, rows)


@bp.post("/webhooks")
@policy("manage webhooks")
def create() -> ResponseReturnValue:
    """Register an endpoint and show its secret."""
    form, settings = EndpointForm(), current_app.config["SETTINGS"]
    if not form.validate_on_submit():
        return _page(form), 422
    try:
        with acting_as(SYSTEM), transaction():
            _, secret = add_endpoint(
                my_seat().organization_id,
                (form.url.data or "").strip(),
                form.events.data or [],
                keys=settings.secret_keys,
                private_too=settings.webhook_private_addresses,
                now=clock.now(),
            )
    except InvalidInput as refusal:
        if refusal.field not in form:
            return _page(form, sentence=refusal.sentence), refusal.status
        form[refusal.field].errors = [refusal.sentence]
        return _page(form), refusal.status
    return render_template("web/webhooks/made.html", secret=secret, overlap=None)


@bp.post("/webhooks/<uuid:public_id>/rotate")
@policy("manage webhooks")
def rotate(public_id: UUID) -> str:
    """Make a new secret, show it, and let the old one sign too for a day."""
    keys, now = current_app.config["SETTINGS"].secret_keys, clock.now()
    with acting_as(SYSTEM), transaction():
        secret = rotate_secret(my_seat().organization_id, public_id, keys=keys, now=now)
    return render_template("web/webhooks/made.html", secret=secret, overlap=now + ROTATION_OVERLAP)


@bp.post("/webhooks/<uuid:public_id>/test")
@policy("manage webhooks")
def test(public_id: UUID) -> ResponseReturnValue:
    """Send a test event."""
    with acting_as(SYSTEM), transaction():
        send_test(my_seat().organization_id, public_id, now=clock.now())
    return _done(_("A test event is on its way; see below what the endpoint answers."))


@bp.post("/webhooks/<uuid:public_id>/disable")
@policy("manage webhooks")
def disable(public_id: UUID) -> ResponseReturnValue:
    """Send nothing to an endpoint any more."""
    with acting_as(SYSTEM), transaction():
        disable_by_hand(my_seat().organization_id, public_id, by=me().name, now=clock.now())
    return _done(_("The endpoint is disabled. What happens now is not kept for it."))


@bp.post("/webhooks/<uuid:public_id>/enable")
@policy("manage webhooks")
def enable(public_id: UUID) -> ResponseReturnValue:
    """Send to an endpoint again."""
    with acting_as(SYSTEM), transaction():
        enable_endpoint(my_seat().organization_id, public_id)
    return _done(_("The endpoint is enabled. It is told of what happens from now on."))


@bp.post("/webhooks/<uuid:public_id>/remove")
@policy("manage webhooks")
def remove(public_id: UUID) -> ResponseReturnValue:
    """Forget an endpoint."""
    with acting_as(SYSTEM), transaction():
        remove_endpoint(my_seat().organization_id, public_id, now=clock.now())
    return _done(_("The endpoint is removed."))


@bp.post("/webhooks/deliveries/<uuid:public_id>/replay")
@policy("manage webhooks")
def again(public_id: UUID) -> ResponseReturnValue:
    """Send a delivery again."""
    try:
        with acting_as(SYSTEM), transaction():
            replay(my_seat().organization_id, public_id, now=clock.now())
    except PortalError as refusal:
        if refusal.status == 404:
            raise
        return _done(told(refusal.sentence), "error")
    return _done(_("The delivery is sent again, under the same id."))


def _done(sentence: str, category: str = "success") -> ResponseReturnValue:
    flash(sentence, category)
    return redirect(url_for(".show"), 303)


def _page(form: EndpointForm, *, sentence: str | None = None) -> str:
    organization_id, before = my_seat().organization_id, _before()
    found = deliveries_of(organization_id, before=before, limit=MOST_LISTED + 1)
    shown = found[:MOST_LISTED]
    values: dict[str, Any] = {
        "form": form,
        "sentence": sentence,
        "endpoints": endpoints_of(organization_id),
        "deliveries": shown,
        "older": url_for(".show", before=shown[-1].public_id) if len(found) > MOST_LISTED else None,
        "newest": url_for(".show") if before else None,
    }
    return render_template("web/webhooks/show.html", **values)


def _before() -> UUID | None:
    """Where the page before ended. Raises InvalidInput for what is no id."""
    try:
        return UUID(request.args["before"]) if request.args.get("before") else None
    except ValueError:
        raise InvalidInput("This is not where a page ended; begin with the first page.", field="before") from None
