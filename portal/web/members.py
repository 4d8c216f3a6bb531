"""Members: who belongs to the organization, for its owners to change, and invitations by mail."""

from uuid import UUID

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from werkzeug import Response
from wtforms import EmailField, SelectField
from wtforms.fields import SelectChoice
from wtforms.validators import InputRequired, Length

from portal.core.errors import InvalidInput
from portal.core.saying import Said
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.languages import _
from portal.infra.pages import csv_response, policy
from portal.organizations import invitations, members
from portal.organizations.attempts import count_mail_wish
from portal.organizations.roles import CUSTOMER_ROLES
from portal.signed_in import guard_page, me, my_seat
from portal.web.waiting import too_many_tries

bp = Blueprint("members", __name__)
bp.before_request(guard_page)


class RoleForm(FlaskForm):
    """A role of the one table."""

    role = SelectField(Said("Role"), choices=lambda: [SelectChoice(role, _(role)) for role in CUSTOMER_ROLES])


class InvitationForm(RoleForm):
    """Who is to join, and as what."""

    email = EmailField(Said("E-mail"), [InputRequired(Said("Enter the address.")), Length(max=320)])


@bp.get("/settings/members")
@policy("manage members")
def show() -> ResponseReturnValue:
    """Everybody who belongs to the organization, and whom it has invited."""
    return _page()


@bp.get("/settings/members.csv")
@policy("manage members")
def download() -> Response:
    """The members as a file."""
    with acting_as(SYSTEM):
        found = members.members_of(my_seat().organization_id)
    header = ("Name", "E-mail", "Role", "Member since", "Last seen")
    return csv_response("members", header, [(m.name, m.email, m.role, m.since, m.last_seen_at) for m in found])


@bp.post("/settings/members/<uuid:public_id>/role")
@policy("manage members")
def change_role(public_id: UUID) -> ResponseReturnValue:
    """Give somebody another role."""
    try:
        with acting_as(SYSTEM), transaction():
            user_id = members.change_role(my_seat().organization_id, public_id, request.form.get("role", ""))
    except InvalidInput as refusal:
        return _page(sentence=refusal.sentence), 422
    flash(_("The role is changed."), "success")
    return _back(user_id)


@bp.post("/settings/members/<uuid:public_id>/remove")
@policy("manage members")
def remove(public_id: UUID) -> ResponseReturnValue:
    """Remove somebody; their account stays theirs."""
    try:
        with acting_as(SYSTEM), transaction():
            user_id = members.remove_member(my_seat().organization_id, public_id)
    except InvalidInput as refusal:
        return _page(sentence=refusal.sentence), 422
    flash(_("That person is no member any more."), "success")
    return _back(user_id)


@bp.post("/settings/members/invitations")
@policy("manage members")
def invite() -> ResponseReturnValue:
    """Mail an invitation."""
    form = InvitationForm()
    if not form.validate_on_submit():
        return _page(form), 422
    email, now = form.email.data or "", clock.now()
    try:
        with acting_as(SYSTEM), transaction():
            wait = count_mail_wish(email, request.remote_addr, now=now)
            if wait is None:
                invitations.invite(my_seat().organization_id, email, form.role.data, by_id=me().user_id, now=now)
    except InvalidInput as refusal:
        form[refusal.field].errors = [refusal.sentence]
        return _page(form), 422
    if wait is not None:
        return too_many_tries(wait)
    flash(_("%(email)s is invited.", email=email), "success")
    return _back()


@bp.post("/settings/members/invitations/<uuid:public_id>/send")
@policy("manage members")
def send_again(public_id: UUID) -> ResponseReturnValue:
    """Mail a new link; the one before ends."""
    organization_id, now = my_seat().organization_id, clock.now()
    with acting_as(SYSTEM), transaction():
        wait = count_mail_wish(str(public_id), request.remote_addr, now=now)
        if wait is None:
            invitations.send_again(organization_id, public_id, now=now)
    if wait is not None:
        return too_many_tries(wait)
    flash(_("A new link is on its way; the one before works no more."), "success")
    return _back()


@bp.post("/settings/members/invitations/<uuid:public_id>/take-back")
@policy("manage members")
def take_back(public_id: UUID) -> ResponseReturnValue:
    """End an invitation."""
    with acting_as(SYSTEM), transaction():
        invitations.take_back(my_seat().organization_id, public_id, now=clock.now())
    flash(_("The invitation is taken back; its link works no more."), "success")
    return _back()


def _back(changed_user_id: int | None = None) -> ResponseReturnValue:
    """The list; the start page for whoever has changed themselves, for they may be no owner any more."""
    return redirect("/" if changed_user_id == me().user_id else url_for(".show"), 303)


def _page(form: InvitationForm | None = None, *, sentence: str | None = None) -> str:
    with acting_as(SYSTEM):
        found = members.members_of(my_seat().organization_id)
        invited = invitations.open_invitations(my_seat().organization_id)
        return render_template(
            "web/members/show.html",
            form=form or InvitationForm(formdata=None, role="viewer"),
            sentence=sentence,
            members=found,
            invited=invited,
            roles=list(CUSTOMER_ROLES),
            now=clock.now(),
            sends=current_app.config["SETTINGS"].smtp_url is not None,
        )
