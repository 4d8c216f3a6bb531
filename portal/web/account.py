"""A person's own account, for customers and staff alike: password, e-mail address, and where they are signed in."""

from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from werkzeug import Response
from wtforms import EmailField, PasswordField
from wtforms.validators import InputRequired, Length

from portal import stepping_up
from portal.core.errors import InvalidInput
from portal.core.saying import Said
from portal.infra import audit, clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.languages import _, ngettext
from portal.infra.pages import csv_response, policy
from portal.organizations import account, sessions
from portal.organizations.models import User
from portal.organizations.passwords import SHORTEST_PASSWORD
from portal.organizations.session_list import SignedIn, end_other_sessions, end_session, sessions_of
from portal.personal_export import personal_json
from portal.signed_in import cookie_name, guard_page, me
from portal.web.tries import count_password_try, give_password_try_back

bp = Blueprint("account", __name__)
bp.before_request(guard_page)


class PasswordForm(FlaskForm):
    """The password that is, and the one that is to be."""

    current = PasswordField(
        Said("Current password"), [InputRequired(Said("Enter your current password.")), Length(max=1024)]
    )
    password = PasswordField(Said("New password"), [InputRequired(Said("Enter a new password.")), Length(max=1024)])


class EmailForm(FlaskForm):
    """The new address, and the password: whoever can change the address can take the account."""

    email = EmailField(Said("New e-mail address"), [InputRequired(Said("Enter the new address.")), Length(max=320)])
    current = PasswordField(
        Said("Current password"), [InputRequired(Said("Enter your current password.")), Length(max=1024)]
    )


@bp.get("/settings/account")
@policy("signed in")
def show() -> ResponseReturnValue:
    """What there is to change, and where I am signed in."""
    return render_template("web/account/show.html", sessions=_sessions())


@bp.get("/settings/account/sessions.csv")
@policy("signed in")
def download_sessions() -> Response:
    """Where I am signed in, as a file."""
    header = ("Device", "Address", "Signed in", "Last seen", "Ends", "This one")
    rows = [
        (
            each.device,
            each.address,
            each.created_at,
            each.last_seen_at,
            each.expires_at,
            "yes" if each.is_this else "no",
        )
        for each in _sessions()
    ]
    return csv_response("sessions", header, rows)


@bp.post("/settings/account/data.json")
@policy("signed in")
def download_data() -> Response:
    """What the portal holds about me, as a file; the audit log keeps that it was asked for."""
    with acting_as(SYSTEM), transaction() as session:
        user = session.get_one(User, me().user_id)
        audit.record("exported personal data", subject="user", subject_id=user.id, organization_id=None)
        document = "".join(personal_json(user))
    attached = {"Content-Disposition": 'attachment; filename="your-data.json"'}
    return Response(document, mimetype="application/json", headers=attached)


@bp.get("/settings/account/password")
@policy("signed in")
def password() -> ResponseReturnValue:
    """The form for a new password."""
    return _password_page(PasswordForm())


@bp.post("/settings/account/password")
@policy("signed in")
def change_password() -> ResponseReturnValue:
    """Take the new password; all other sessions end."""
    form = PasswordForm()
    if not form.validate_on_submit():
        return _password_page(form), 422
    wait = count_password_try()
    if wait is not None:
        return wait
    try:
        with acting_as(SYSTEM), transaction():
            account.change_password(
                me().user_id,
                form.current.data or "",
                form.password.data or "",
                keep_token=request.cookies[cookie_name()],
                now=clock.now(),
            )
    except InvalidInput as refusal:
        _refuse(form, refusal)
        return _password_page(form), 422
    give_password_try_back()
    flash(_("Your password is changed. You are signed out everywhere else."), "success")
    return redirect(url_for(".show"), 303)


@bp.get("/settings/account/email")
@policy("signed in")
def email() -> ResponseReturnValue:
    """The form for another address."""
    return _email_page(EmailForm(), stepping_up.question() if me().has_two_factors else None)


@bp.post("/settings/account/email")
@policy("signed in")
def change_email() -> ResponseReturnValue:
    """Mail a link to the new address; nothing changes before it is followed."""
    form = EmailForm()
    if not form.validate_on_submit():
        return _email_page(form), 422
    # The password is in the form; with two factors a code besides.
    question = stepping_up.ask() if me().has_two_factors else None
    if question is not None:
        return _email_page(form, question), 422
    wait = count_password_try()
    if wait is not None:
        return wait
    try:
        with acting_as(SYSTEM), transaction():
            account.ask_to_change_email(me().user_id, form.current.data or "", form.email.data or "", now=clock.now())
    except InvalidInput as refusal:
        _refuse(form, refusal)
        return _email_page(form), 422
    give_password_try_back()
    flash(_("Follow the link in the mail to your new address. Until then you sign in with the old one."), "success")
    return redirect(url_for(".show"), 303)


@bp.post("/settings/account/sessions/<uuid:public_id>/end")
@policy("signed in")
def end_one(public_id: UUID) -> ResponseReturnValue:
    """Sign one other browser out."""
    with acting_as(SYSTEM), transaction():
        end_session(me().user_id, public_id)
    flash(_("That session has ended."), "success")
    return redirect(url_for(".show"), 303)


@bp.post("/settings/account/sessions/end-others")
@policy("signed in")
def end_others() -> ResponseReturnValue:
    """Sign out everywhere but here."""
    with acting_as(SYSTEM), transaction():
        ended = end_other_sessions(me().user_id, request.cookies[cookie_name()])
    flash(ngettext("Ended %(num)s other session.", "Ended %(num)s other sessions.", ended), "success")
    return redirect(url_for(".show"), 303)


@bp.post("/settings/account/shortcuts")
@policy("signed in")
def choose_shortcuts() -> ResponseReturnValue:
    """Switch keyboard shortcuts on or off."""
    wanted = request.form.get("shortcuts") == "on"
    with acting_as(SYSTEM), transaction():
        sessions.choose_shortcuts(me().user_id, wanted=wanted)
    flash(f"Keyboard shortcuts are {'on' if wanted else 'off'}.", "success")
    return redirect(url_for(".show"), 303)


def _sessions() -> list[SignedIn]:
    with acting_as(SYSTEM):
        return sessions_of(me().user_id, request.cookies[cookie_name()], now=clock.now())


def _refuse(form: FlaskForm, refusal: InvalidInput) -> None:
    """At its field; what is wrong with the new value was only looked at after the current password was right."""
    form[refusal.field].errors = [refusal.sentence]
    if refusal.field != "current":
        give_password_try_back()


def _email_page(form: EmailForm, question: stepping_up.Question | None = None) -> str:
    return render_template("web/account/email.html", form=form, question=question)


def _password_page(form: PasswordForm) -> str:
    return render_template("web/account/password.html", form=form, shortest=SHORTEST_PASSWORD)
