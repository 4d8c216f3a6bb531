"""The organization's API keys: make, rotate and revoke them. A key's text is on one page, once."""

from datetime import timedelta
from uuid import UUID

from flask import Blueprint, Response, current_app, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import SelectField, StringField
from wtforms.fields import SelectChoice
from wtforms.validators import DataRequired, Length

from portal.core.errors import PortalError
from portal.core.saying import Said
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.languages import _
from portal.infra.pages import csv_response, policy
from portal.organizations.api_keys import (
    LONGEST_NAME,
    ROTATION_OVERLAP,
    is_usable,
    issue_key,
    keys_of,
    revoke_key,
    rotate_key,
)
from portal.organizations.models import ApiKey
from portal.signed_in import guard_page, me, my_seat

CSV_HEAD = ("Name", "Begins with", "May", "State", "Made", "Last used", "Ends")
SCOPES_OF = {"ingest": ("ingest",), "read": ("read",), "both": ("ingest", "read")}
bp = Blueprint("api_keys", __name__)
bp.before_request(guard_page)


class KeyForm(FlaskForm):
    """A new key: what it is called, what it may do, and when it ends by itself."""

    name = StringField(
        Said("Name"), [DataRequired(Said("Name the key after the machine that uses it.")), Length(max=LONGEST_NAME)]
    )
    scopes = SelectField(
        Said("May"),
        choices=lambda: [
            SelectChoice("ingest", _("Send usage")),
            SelectChoice("read", _("Read usage and invoices")),
            SelectChoice("both", _("Both")),
        ],
    )
    days = SelectField(
        Said("Ends"),
        choices=lambda: [
            SelectChoice("90", _("In 90 days")),
            SelectChoice("30", _("In 30 days")),
            SelectChoice("365", _("In a year")),
            SelectChoice("0", _("Never")),
        ],
    )


@bp.get("/settings/api-keys")
@policy("manage API keys")
def show() -> ResponseReturnValue:
    """All keys, and the form for a new one."""
    return _page(KeyForm(formdata=None))


@bp.get("/settings/api-keys.csv")
@policy("manage API keys")
def listed_csv() -> Response:
    """All keys as a file; none of them could be used with it."""
    rows = (
        (key.name, key.prefix, " ".join(key.scopes), state_of(key), key.created_at, key.last_used_at, key.expires_at)
        for key in keys_of(my_seat().organization_id)
    )
    return csv_response("api-keys", CSV_HEAD, rows)


@bp.post("/settings/api-keys")
@policy("manage API keys")
def create() -> ResponseReturnValue:
    """Make a key and show its text."""
    form, seat, now = KeyForm(), my_seat(), clock.now()
    if not form.validate_on_submit():
        return _page(form), 422
    days = int(form.days.data)
    try:
        with acting_as(SYSTEM), transaction():
            text = issue_key(
                seat.organization_id,
                name=form.name.data or "",
                scopes=SCOPES_OF[form.scopes.data],
                live=current_app.config["SETTINGS"].is_production,
                created_by_id=me().user_id,
                expires_at=now + timedelta(days=days) if days else None,
                now=now,
            )
    except PortalError as refusal:
        return _page(form, sentence=refusal.sentence), refusal.status
    return render_template("web/api_keys/made.html", text=text, overlap=None)


@bp.post("/settings/api-keys/<uuid:public_id>/rotate")
@policy("manage API keys")
def rotate(public_id: UUID) -> ResponseReturnValue:
    """Make a key like this one, show its text, and let the old one work for a day."""
    with acting_as(SYSTEM), transaction():
        text = rotate_key(my_seat().organization_id, public_id, created_by_id=me().user_id, now=clock.now())
    return render_template("web/api_keys/made.html", text=text, overlap=clock.now() + ROTATION_OVERLAP)


@bp.post("/settings/api-keys/<uuid:public_id>/revoke")
@policy("manage API keys")
def revoke(public_id: UUID) -> ResponseReturnValue:
    """End a key at once."""
    with acting_as(SYSTEM), transaction():
        revoke_key(my_seat().organization_id, public_id, now=clock.now())
    flash(_("The key is revoked. The API refuses it from now on."), "success")
    return redirect(url_for(".show"), 303)


def state_of(key: ApiKey) -> str:
    """A key's state in a word."""
    if key.revoked_at is not None:
        return Said("Revoked")
    return Said("Works") if is_usable(key, now=clock.now()) else Said("Ended")


def _page(form: KeyForm, *, sentence: str | None = None) -> str:
    keys = [(key, state_of(key)) for key in keys_of(my_seat().organization_id)]
    return render_template("web/api_keys/show.html", form=form, keys=keys, sentence=sentence)
