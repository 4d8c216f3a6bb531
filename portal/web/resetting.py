"""Pages for whoever is not signed in: a forgotten password, and the links in mails about an account.

What a page says never depends on whether there is such an account. Opening a link changes nothing, because mail
programs open links by themselves; a button does.
"""

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import EmailField, HiddenField, PasswordField
from wtforms.validators import InputRequired, Length

from portal.core.errors import InvalidInput
from portal.core.saying import Said
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.languages import _
from portal.infra.pages import policy
from portal.organizations import account
from portal.organizations.attempts import count_mail_wish
from portal.organizations.letters import LetterKind, is_good
from portal.organizations.passwords import SHORTEST_PASSWORD
from portal.signed_in import guard_page
from portal.web.waiting import too_many_tries

bp = Blueprint("resetting", __name__)
bp.before_request(guard_page)


class ForgottenForm(FlaskForm):
    """Whose password is forgotten."""

    email = EmailField(Said("E-mail"), [InputRequired(Said("Enter your e-mail address.")), Length(max=320)])


class ResetForm(FlaskForm):
    """The link's token and the new password."""

    token = HiddenField(validators=[Length(max=200)])
    password = PasswordField(Said("New password"), [InputRequired(Said("Enter a new password.")), Length(max=1024)])


class ConfirmForm(FlaskForm):
    """The link's token."""

    token = HiddenField(validators=[Length(max=200)])


@bp.get("/forgot-password")
@policy("public")
def forgotten() -> ResponseReturnValue:
    """Ask for the address."""
    return _forgotten_page(ForgottenForm(), is_done=False)


@bp.post("/forgot-password")
@policy("public")
def ask() -> ResponseReturnValue:
    """Mail a link, if there is such an account; the answer is the same if there is none."""
    form = ForgottenForm()
    if not form.validate_on_submit():
        return _forgotten_page(form, is_done=False), 422
    email, now = form.email.data or "", clock.now()
    with acting_as(SYSTEM), transaction():
        wait = count_mail_wish(email, request.remote_addr, now=now)
        if wait is None:
            account.ask_to_reset(email, now=now)
    return too_many_tries(wait) if wait else _forgotten_page(form, is_done=True)


@bp.get("/reset-password")
@policy("public")
def reset() -> ResponseReturnValue:
    """The form behind the link of the mail."""
    form = ResetForm(formdata=None, token=request.args.get("token", ""))
    with acting_as(SYSTEM):
        works = is_good(LetterKind.RESET_PASSWORD, form.token.data or "", now=clock.now())
    return _reset_page(form) if works else (_spent_page(), 410)


@bp.post("/reset-password")
@policy("public")
def set_password() -> ResponseReturnValue:
    """Take the new password; every session ends."""
    form = ResetForm()
    if not form.validate_on_submit():
        return _reset_page(form), 422
    try:
        with acting_as(SYSTEM), transaction():
            account.reset_password(form.token.data or "", form.password.data or "", now=clock.now())
    except InvalidInput as refusal:
        if refusal.field == "token":
            return _spent_page(), 410
        form.password.errors = [refusal.sentence]
        return _reset_page(form), 422
    flash(_("Your new password is set, and all sessions have ended. Sign in with it."), "success")
    return redirect(url_for("session.sign_in"), 303)


@bp.get("/confirm-email")
@policy("public")
def confirm() -> ResponseReturnValue:
    """The button behind the link of the mail."""
    form = ConfirmForm(formdata=None, token=request.args.get("token", ""))
    with acting_as(SYSTEM):
        works = is_good(LetterKind.CONFIRM_EMAIL, form.token.data or "", now=clock.now())
    return render_template("web/session/confirm_email.html", form=form) if works else (_spent_page(), 410)


@bp.post("/confirm-email")
@policy("public")
def confirm_email() -> ResponseReturnValue:
    """Change the address."""
    form = ConfirmForm()
    try:
        with acting_as(SYSTEM), transaction():
            address = account.confirm_email(form.token.data or "", now=clock.now())
    except InvalidInput as refusal:
        return _spent_page(refusal.sentence), 410
    flash(_("The address of your account is %(address)s now.", address=address), "success")
    return redirect("/", 303)


def _forgotten_page(form: ForgottenForm, *, is_done: bool) -> str:
    sends = current_app.config["SETTINGS"].smtp_url is not None
    return render_template("web/session/forgotten.html", form=form, is_done=is_done, sends=sends)


def _reset_page(form: ResetForm) -> str:
    return render_template("web/session/reset.html", form=form, shortest=SHORTEST_PASSWORD)


def _spent_page(sentence: str = Said("This link was used already, or is too old.")) -> str:
    return render_template("web/session/spent.html", sentence=sentence)
