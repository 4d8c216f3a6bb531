"""The page behind the link of an invitation. What it says does not depend on whether the address has an account."""

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import HiddenField, PasswordField, StringField
from wtforms.validators import InputRequired, Length

from portal.core.errors import InvalidInput
from portal.core.saying import Said
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.languages import _
from portal.infra.pages import policy
from portal.organizations import invitations
from portal.organizations.passwords import SHORTEST_PASSWORD
from portal.signed_in import guard_page, identify, me

DONE = Said(
    "If this address had no account, it has one now: sign in. If it had one, its password is as before: sign in, and"
    " open the link of the invitation once more."
)
bp = Blueprint("joining", __name__)
bp.before_request(guard_page)


class TokenForm(FlaskForm):
    """The link's token."""

    token = HiddenField(validators=[Length(max=200)])


class NewPersonForm(TokenForm):
    """Who joins, if they have no account yet."""

    name = StringField(Said("Your name"), [InputRequired(Said("Enter your name.")), Length(max=200)])
    password = PasswordField(Said("Password"), [InputRequired(Said("Enter a password.")), Length(max=1024)])


@bp.get("/invitation")
@policy("public")
def show() -> ResponseReturnValue:
    """Who invites to what, and the ways to accept."""
    return _page(NewPersonForm(formdata=None, token=request.args.get("token", "")))


@bp.post("/invitation")
@policy("public")
def accept_as_new() -> ResponseReturnValue:
    """Make an account and join."""
    form = NewPersonForm()
    if not form.validate_on_submit():
        return _page(form, 422)
    try:
        with acting_as(SYSTEM), transaction():
            invitations.accept_as_new(
                form.token.data or "", form.name.data or "", form.password.data or "", now=clock.now()
            )
    except InvalidInput as refusal:
        if refusal.field != "token":
            form[refusal.field].errors = [refusal.sentence]
        return _page(form, 422)
    flash(DONE, "success")
    return redirect(url_for("session.sign_in"), 303)


@bp.post("/invitation/join")
@policy("signed in")
def join() -> ResponseReturnValue:
    """Join as whoever is signed in."""
    form = TokenForm()
    try:
        with acting_as(SYSTEM), transaction():
            name = invitations.accept_as(me().user_id, form.token.data or "", now=clock.now())
    except InvalidInput as refusal:
        return render_template("web/session/spent.html", sentence=refusal.sentence), 410
    flash(_("You belong to %(name)s now.", name=name), "success")
    return redirect("/", 303)


def _page(form: NewPersonForm, status: int = 200) -> ResponseReturnValue:
    with acting_as(SYSTEM):
        found = invitations.invitation_of(form.token.data or "", now=clock.now())
        if found is None:
            return render_template("web/session/spent.html", sentence=invitations.SPENT), 410
        page = render_template(
            "web/session/invitation.html",
            form=form,
            invitation=found,
            organization=found.organization.name,
            identity=identify(),
            shortest=SHORTEST_PASSWORD,
        )
    return page, status
