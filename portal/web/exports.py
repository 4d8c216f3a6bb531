"""Exports: usage, events and charges as files. Small ones are the answer; a worker makes the large ones."""

from typing import Any
from uuid import UUID

from flask import Blueprint, Response, flash, redirect, render_template, stream_with_context, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import DateField, Field, SelectField, StringField, ValidationError
from wtforms.fields import SelectChoice
from wtforms.validators import Length

from portal.catalog.queries import meters_by_code
from portal.core.errors import NotFound, PortalError
from portal.core.periods import Month
from portal.core.saying import Said
from portal.exports.keeping import ask_for, cancel, content_of, export_of, exports_of, note_asked, progress_of
from portal.exports.making import MAKERS, is_small, made_at_once, wish_of
from portal.exports.models import Export, ExportKind, ExportState
from portal.exports.wishes import Wish, check_wish
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.languages import _
from portal.infra.pages import csv_response, policy
from portal.invoicing.exporting.year import years_issued
from portal.organizations.roles import Permission
from portal.signed_in import guard_page, me, my_seat

KINDS = {
    ExportKind.USAGE_CSV: Said("Usage by day, meter and property (CSV)"),
    ExportKind.EVENTS_CSV: Said("Usage events as they were sent (CSV)"),
    ExportKind.EVENTS_JSONL: Said("Usage events as they were sent (JSON lines)"),
    ExportKind.FOCUS_CSV: Said("Billed charges (FOCUS 1.2, CSV)"),
    ExportKind.INVOICES_JSONL: Said("Invoices as documents (JSON lines)"),
}
CSV_HEAD = (
    *("Kind", "First day", "Last day", "Meter", "Property", "State", "Rows", "Bytes", "Asked by", "Asked at"),
    *("Finished at", "Expires at"),
)
YEARS_SHOWN = 5
bp = Blueprint("exports", __name__)
bp.before_request(guard_page)


class ExportForm(FlaskForm):
    """What is wanted in a file."""

    kind = SelectField(Said("What"))
    first_day = DateField(Said("First day (UTC)"))
    last_day = DateField(Said("Last day (UTC)"))
    meter = SelectField(Said("Meter, of usage"))
    where = StringField(Said("Property, of usage"), [Length(max=300)])

    def validate_where(self, field: Field) -> None:
        """A dimension and its value."""
        name, between, value = (field.data or "").partition(":")
        if field.data and not (name and between and value):
            raise ValidationError(Said("Write a dimension and its value, like region:fra."))


@bp.get("/exports")
@policy("view usage")
def index() -> str:
    """What has been made, what is being made, and a form for more."""
    last_month = Month.of(clock.now()).previous
    form = _form(formdata=None, first_day=last_month.first_day, last_day=last_month.last_day)
    return _page(form)


@bp.get("/exports.csv")
@policy("view usage")
def listed_csv() -> Response:
    """The list of exports as a file."""
    rows = (
        (
            *(each.kind, each.first_day, each.last_day, each.meter, each.where, each.state, each.rows, each.size),
            *(each.asked_by, each.created_at, each.finished_at, each.expires_at),
        )
        for each in _mine()
    )
    return csv_response("exports", CSV_HEAD, rows)


@bp.get("/exports/list")
@policy("view usage")
def progress() -> str:
    """The list alone, which loads itself again while something is being made."""
    return render_template("web/exports/_list.html", **_listed())


@bp.post("/exports")
@policy("view usage")
def create() -> ResponseReturnValue:
    """Answer with the file if it is small, else have it made."""
    form, organization_id, now = _form(), my_seat().organization_id, clock.now()
    if not form.validate_on_submit():
        return _page(form), 422
    wish = Wish(
        ExportKind(form.kind.data),
        form.first_day.data,
        form.last_day.data,
        form.meter.data or None,
        (form.where.data or "").strip() or None,
    )
    try:
        check_wish(wish, now=now)
        units = MAKERS[wish.kind].units(organization_id, wish)
        body = made_at_once(organization_id, wish) if is_small(wish, units) else None
        with acting_as(SYSTEM), transaction():
            if body is None:
                ask_for(organization_id, wish, units=units, by=me().name, now=now)
            else:
                note_asked(organization_id, wish, export_id=None)
    except PortalError as refusal:
        return _page(form, sentence=refusal.sentence), refusal.status
    if body is not None:
        return _attached(Response(body, mimetype=wish.kind.mimetype), wish)
    flash(_("The export is being made. This page shows how far it is; you need not stay."), "success")
    return redirect(url_for(".index"), 303)


@bp.get("/exports/<uuid:public_id>/file")
@policy("view usage")
def download(public_id: UUID) -> Response:
    """The file of an export that is done, streamed."""
    export = _one(public_id)
    if export.state != ExportState.DONE:
        raise NotFound("There is no file of this export.")
    wish = wish_of(export)
    response = _attached(Response(stream_with_context(content_of(export)), mimetype=wish.kind.mimetype), wish)
    response.content_length = export.size
    return response


@bp.post("/exports/<uuid:public_id>/cancel")
@policy("view usage")
def stop(public_id: UUID) -> ResponseReturnValue:
    """Stop making an export, or delete its file."""
    export = _one(public_id)
    with acting_as(SYSTEM), transaction():
        cancel(export.organization_id, public_id, now=clock.now())
    flash(_("The export is cancelled; its file is deleted."), "success")
    return redirect(url_for(".index"), 303)


def _attached(response: Response, wish: Wish) -> Response:
    response.headers["Content-Disposition"] = f'attachment; filename="{wish.file_name}"'
    return response


def _form(**values: Any) -> ExportForm:
    form = ExportForm(**values)
    form.kind.choices = [SelectChoice(kind.value, _(label)) for kind, label in KINDS.items() if _may(kind)]
    meters = sorted(meters_by_code().values(), key=lambda meter: meter.name)
    form.meter.choices = [SelectChoice("", _("All meters")), *(SelectChoice(each.code, each.name) for each in meters)]
    return form


def _may(kind: ExportKind) -> bool:
    """Charges and invoices are for those who may see invoices."""
    return kind.is_of_usage or me().may(Permission.VIEW_INVOICES)


def _mine() -> list[Export]:
    return [each for each in exports_of(my_seat().organization_id) if _may(ExportKind(each.kind))]


def _one(public_id: UUID) -> Export:
    export = export_of(my_seat().organization_id, public_id)
    if not _may(ExportKind(export.kind)):
        raise NotFound("There is no such export; it may have expired.")
    return export


def _listed() -> dict[str, Any]:
    now = clock.now()
    exports = [(each, progress_of(each, now=now)) for each in _mine()]
    return {
        "exports": exports,
        "kinds": KINDS,
        "moving": any(ExportState(each.state).is_open for each, _ in exports),
    }


def _page(form: ExportForm, *, sentence: str | None = None) -> str:
    years = years_issued(my_seat().organization_id)[:YEARS_SHOWN] if me().may(Permission.VIEW_INVOICES) else []
    return render_template("web/exports/index.html", form=form, sentence=sentence, years=years, **_listed())
