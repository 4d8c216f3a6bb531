"""Announcements to customers: the list, writing one, and taking it back."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from flask import Response, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import DateTimeLocalField, HiddenField, SelectField, StringField, TextAreaField
from wtforms.fields import SelectChoice
from wtforms.validators import UUID as IsUuid
from wtforms.validators import DataRequired, InputRequired, Length

from portal.admin.staff import staff_blueprint
from portal.announcements.models import Severity
from portal.announcements.queries import list_announcements
from portal.announcements.writing import LONGEST_TEXT, announce, take_back
from portal.core.errors import InvalidInput
from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.ids import uuid7
from portal.infra.pages import csv_response, policy
from portal.organizations.models import Organization
from portal.organizations.registering import organization_by_slug
from portal.signed_in import me

CSV_HEAD = ("text", "severity", "organization", "from", "until", "written_by", "written_at")
USUAL_TIME = timedelta(days=1)
bp = staff_blueprint("admin_announcements")


class AnnouncementForm(FlaskForm):
    """What customers are told, how urgently, when, and who of them."""

    token = HiddenField(validators=[IsUuid("Open the form again.")])
    text = TextAreaField("Text", [DataRequired("Write what customers are to know."), Length(max=LONGEST_TEXT)])
    severity = SelectField("How urgent", choices=[SelectChoice(each, each.capitalize()) for each in Severity])
    starts_at = DateTimeLocalField("From (UTC)", [InputRequired("Enter from when it is shown.")])
    ends_at = DateTimeLocalField("Until (UTC)", [InputRequired("Enter until when it is shown.")])
    organization = StringField("Short name of the organization", [Length(max=63)])


@bp.get("/announcements")
@policy("view organizations")
def index() -> str:
    """What is, was and will be announced."""
    return render_template("admin/announcements/index.html", announcements=list_announcements(), now=clock.now())


@bp.get("/announcements.csv")
@policy("view organizations")
def as_csv() -> Response:
    """The same as a file."""
    rows = [
        (
            each.text,
            each.severity,
            each.organization.name if each.organization else "all",
            each.starts_at.isoformat(),
            each.ends_at.isoformat(),
            each.created_by,
            each.created_at.isoformat(),
        )
        for each in list_announcements()
    ]
    return csv_response("announcements", CSV_HEAD, rows)


@bp.route("/announcements/new", methods=["GET", "POST"])
@policy("manage organizations")
def new() -> ResponseReturnValue:
    """Write one. The same form sent twice announces once."""
    now = clock.now().replace(second=0, microsecond=0)
    form = AnnouncementForm(data={"token": uuid7(), "starts_at": now, "ends_at": now + USUAL_TIME})
    if not form.is_submitted():
        return _page(form)
    if not form.validate():
        return _page(form), 422
    try:
        with transaction():
            announce(
                UUID(form.token.data),
                text=form.text.data or "",
                severity=form.severity.data,
                starts_at=_in_utc(form.starts_at.data),
                ends_at=_in_utc(form.ends_at.data),
                organization=_organization(form.organization.data or ""),
                by=me().name,
                now=clock.now(),
            )
    except InvalidInput as refusal:
        form[refusal.field].errors = [refusal.sentence]
        return _page(form), 422
    flash("It is announced.", "success")
    return redirect(url_for(".index"), 303)


@bp.post("/announcements/<uuid:public_id>/take-back")
@policy("manage organizations")
def end(public_id: UUID) -> ResponseReturnValue:
    """Show it no more."""
    with transaction():
        take_back(public_id, now=clock.now())
    flash("Customers see it no more.", "success")
    return redirect(url_for(".index"), 303)


def _in_utc(moment: datetime | None) -> datetime:
    assert moment is not None
    return moment.replace(tzinfo=UTC)


def _organization(slug: str) -> Organization | None:
    """The organization that is named; None for all of them. Raises InvalidInput."""
    slug = slug.strip()
    if not slug:
        return None
    organization = organization_by_slug(slug)
    if organization is None:
        raise InvalidInput(f"There is no organization with the short name “{slug}”.", field="organization")
    return organization


def _page(form: AnnouncementForm) -> str:
    return render_template("admin/announcements/new.html", form=form)
