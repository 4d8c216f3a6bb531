"""Staff and roles: who works here, what each role may do, and signing somebody out; for admins."""

from collections.abc import Callable
from uuid import UUID

from flask import current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug import Response
from wtforms import EmailField, SelectField, StringField
from wtforms.fields import SelectChoice

from portal import stepping_up
from portal.admin.staff import staff_blueprint
from portal.billing_form import RefusableForm
from portal.core.errors import InvalidInput, NotFound
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.pages import csv_response, policy
from portal.organizations import staffing
from portal.organizations.roles import STAFF_PERMISSIONS, STAFF_ROLES
from portal.signed_in import me

bp = staff_blueprint("admin_people")


class NewStaffForm(RefusableForm):
    """Somebody who is to work here."""

    name = StringField("Name", render_kw={"autocomplete": "off"})
    email = EmailField("E-mail", render_kw={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"})
    role = SelectField("Role", choices=[SelectChoice(role, role.replace("_", " ")) for role in STAFF_ROLES])


@bp.get("/staff")
@policy("manage staff")
def index() -> str:
    """Everybody who works here, and what each role may do."""
    return _page()


@bp.get("/staff.csv")
@policy("manage staff")
def as_csv() -> Response:
    """The staff as a file."""
    with acting_as(SYSTEM):
        rows = [
            (each.name, each.email, each.role, each.has_two_factors, each.last_seen_at, each.disabled_at)
            for each in staffing.staff()
        ]
    return csv_response("staff", ("name", "email", "role", "two_factors", "last_seen_at", "disabled_at"), rows)


@bp.post("/staff")
@policy("manage staff")
def add() -> ResponseReturnValue:
    """Make an account and mail a link to set its password."""
    form = NewStaffForm()
    if not form.validate():
        return _page(form), 422
    question = stepping_up.ask()
    if question is not None:
        return _page(form, question=question), 422
    try:
        with acting_as(SYSTEM), transaction():
            staffing.add_staff(form.email.data or "", form.name.data or "", form.role.data, now=clock.now())
    except InvalidInput as refusal:
        form.take(refusal)
        return _page(form), 422
    flash(f"{form.email.data} is on the staff, and gets a mail with a link to set a password.", "success")
    return redirect(url_for(".index"), 303)


@bp.get("/staff/<uuid:public_id>")
@policy("manage staff")
def show(public_id: UUID) -> str:
    """One person, and what can be changed."""
    return _person_page(public_id)


@bp.post("/staff/<uuid:public_id>")
@policy("manage staff")
def change(public_id: UUID) -> ResponseReturnValue:
    """Give them another role, disable or enable the account, or sign them out, as the button says."""
    verb = _VERBS.get(request.form.get("do", ""))
    if verb is None:
        return _person_page(public_id, sentence="Choose one of the buttons."), 422
    question = stepping_up.ask()
    if question is not None:
        return _person_page(public_id, question=question), 422
    try:
        with acting_as(SYSTEM), transaction():
            done = verb(public_id)
    except InvalidInput as refusal:
        return _person_page(public_id, sentence=refusal.sentence), 422
    flash(done, "success")
    return redirect(url_for(".show", public_id=public_id), 303)


def _change_role(public_id: UUID) -> str:
    staffing.change_staff_role(public_id, request.form.get("role", ""), by_id=me().user_id)
    return "The role is changed."


def _disable(public_id: UUID) -> str:
    staffing.disable_staff(public_id, by_id=me().user_id, now=clock.now())
    return "The account is disabled, and signed out everywhere."


def _enable(public_id: UUID) -> str:
    staffing.enable_staff(public_id, by_id=me().user_id)
    return "The account works again."


def _sign_out(public_id: UUID) -> str:
    ended = staffing.sign_staff_out(public_id, by_id=me().user_id)
    return "They are signed out everywhere." if ended else "They were not signed in anywhere."


_VERBS: dict[str, Callable[[UUID], str]] = {
    "role": _change_role,
    "disable": _disable,
    "enable": _enable,
    "sign-out": _sign_out,
}


def _page(form: NewStaffForm | None = None, *, question: stepping_up.Question | None = None) -> str:
    with acting_as(SYSTEM):
        found = staffing.staff()
    return render_template(
        "admin/people/index.html",
        form=form or NewStaffForm(formdata=None, role="support"),
        question=question or stepping_up.question(),
        staff=found,
        roles=STAFF_ROLES,
        permissions_of_staff=STAFF_PERMISSIONS,
        sends=current_app.config["SETTINGS"].smtp_url is not None,
    )


def _person_page(public_id: UUID, *, sentence: str | None = None, question: stepping_up.Question | None = None) -> str:
    with acting_as(SYSTEM):
        person = next((each for each in staffing.staff() if each.public_id == public_id), None)
    if person is None:
        raise NotFound("There is no such member of staff.")
    return render_template(
        "admin/people/show.html",
        person=person,
        sentence=sentence,
        question=question or stepping_up.question(),
        roles=STAFF_ROLES,
    )
