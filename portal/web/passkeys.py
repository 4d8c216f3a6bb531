"""Passkeys: adding, listing and removing one's own, and signing in with one, after the password or instead of it.

A form asks for the challenge and gets a page, whose script asks the device and sends the answer as a form again.
"""

import secrets
from uuid import UUID

from flask import Blueprint, current_app, flash, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import HiddenField, StringField
from wtforms.validators import InputRequired, Length

from portal import stepping_up
from portal.config import Settings
from portal.core.errors import InvalidInput
from portal.core.saying import Said
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.languages import _
from portal.infra.pages import policy
from portal.organizations import attempts, passkeys
from portal.organizations.second_steps import finish_with_passkey, half_signed_in, sign_in_with_passkey
from portal.organizations.sessions import SignInRefused
from portal.signed_in import guard_page, me, safe_next
from portal.web.cookies import (
    half_sign_in_token,
    keep_half_sign_in,
    keep_passkey_sign_in,
    keep_session,
    passkey_sign_in_token,
)
from portal.web.waiting import too_many_tries

bp = Blueprint("passkeys", __name__)
bp.before_request(guard_page)


class NameForm(FlaskForm):
    """What a person calls a passkey."""

    name = StringField(Said("Name"), [InputRequired(Said("Give it a name.")), Length(max=60)])


class NewForm(NameForm):
    """The name, and what the device answered."""

    credential = HiddenField(validators=[Length(max=20_000)])


class UseForm(FlaskForm):
    """What the device answered."""

    credential = HiddenField(validators=[Length(max=20_000)])


@bp.get("/settings/account/passkeys")
@policy("signed in")
def show() -> ResponseReturnValue:
    """My passkeys, and the form for one more."""
    return _list_page(NameForm())


@bp.post("/settings/account/passkeys")
@policy("signed in")
def begin() -> ResponseReturnValue:
    """Ask "is it you?", then the device for a new passkey."""
    form = NameForm()
    if not form.validate_on_submit():
        return _list_page(form), 422
    asked = stepping_up.ask()
    if asked is not None:
        return _list_page(form, asked), 422
    try:
        with acting_as(SYSTEM), transaction():
            options = passkeys.begin_registering(me().user_id, site=stepping_up.site(), now=clock.now())
    except InvalidInput as refusal:
        form.name.errors = [refusal.sentence]
        return _list_page(form), 422
    return render_template("web/passkeys/new.html", form=NewForm(), options=options)


@bp.post("/settings/account/passkeys/new")
@policy("signed in")
def add() -> ResponseReturnValue:
    """Keep the new passkey."""
    form = NewForm()
    if not form.validate_on_submit():
        return _list_page(NameForm()), 422
    name, credential = form.name.data or "", form.credential.data or ""
    try:
        with acting_as(SYSTEM), transaction():
            passkeys.register(me().user_id, name, credential, site=stepping_up.site(), now=clock.now())
    except InvalidInput as refusal:
        again = NameForm()
        again.name.errors = [refusal.sentence]
        return _list_page(again), 422
    flash(_("The passkey is added."), "success")
    return redirect(url_for(".show"), 303)


@bp.post("/settings/account/passkeys/<uuid:public_id>/remove")
@policy("signed in")
def remove(public_id: UUID) -> ResponseReturnValue:
    """Forget one of my passkeys."""
    with acting_as(SYSTEM), transaction():
        passkeys.remove_passkey(me().user_id, public_id, now=clock.now())
    flash(_("The passkey is removed. Remove it from the device too."), "success")
    return redirect(url_for(".show"), 303)


@bp.post("/sign-in/passkey")
@policy("public")
def ask() -> ResponseReturnValue:
    """After the password: ask the device."""
    with acting_as(SYSTEM):
        half = half_signed_in(half_sign_in_token(), now=clock.now())
    if half is None:
        return _begin_again()
    try:
        with acting_as(SYSTEM), transaction():
            options = passkeys.begin_using(half.user_id, site=stepping_up.site(), now=clock.now())
    except InvalidInput as refusal:
        return _use_page(None, refusal.sentence), 422
    return _use_page(options)


@bp.post("/sign-in/passkey/check")
@policy("public")
def check() -> ResponseReturnValue:
    """Check what the device signed, open the session and go on to the page that was asked for."""
    settings, now = _settings(), clock.now()
    with acting_as(SYSTEM):
        half = half_signed_in(half_sign_in_token(), now=now)
    if half is None:
        return _begin_again()
    with acting_as(SYSTEM), transaction():
        wait = attempts.count_code_try(half.email, request.remote_addr, now=now)
    if wait is not None:
        return too_many_tries(wait)
    form = UseForm()
    form.validate_on_submit()
    try:
        with acting_as(SYSTEM), transaction():
            token = finish_with_passkey(
                half_sign_in_token(),
                form.credential.data or "",
                site=stepping_up.site(),
                now=now,
                days=settings.session_days,
                address=request.remote_addr,
                user_agent=request.user_agent.string,
            )
            attempts.give_code_try_back(half.email, request.remote_addr)
    except (InvalidInput, SignInRefused) as refusal:
        return _use_page(None, refusal.sentence), 422
    response = redirect(safe_next(request.form.get("next")), 303)
    keep_session(response, token, days=settings.session_days)
    keep_half_sign_in(response, None)
    return response


@bp.post("/sign-in/passkey-alone")
@policy("public")
def ask_alone() -> ResponseReturnValue:
    """Instead of the password: ask the device whose it is."""
    token, now = secrets.token_urlsafe(32), clock.now()
    with acting_as(SYSTEM), transaction():
        wait = attempts.count_provider_try(request.remote_addr, now=now)
    if wait is not None:
        return too_many_tries(wait)
    with acting_as(SYSTEM), transaction():
        options = passkeys.begin_signing_in(token, site=stepping_up.site(), now=now)
    response = make_response(_use_page(options, check=".check_alone"))
    keep_passkey_sign_in(response, token)
    return response


@bp.post("/sign-in/passkey-alone/check")
@policy("public")
def check_alone() -> ResponseReturnValue:
    """Check what the device signed, open the session of whom it belongs to and go on."""
    settings, now, form = _settings(), clock.now(), UseForm()
    form.validate_on_submit()
    with acting_as(SYSTEM), transaction():
        wait = attempts.count_provider_try(request.remote_addr, now=now)
    if wait is not None:
        return too_many_tries(wait)
    try:
        with acting_as(SYSTEM), transaction():
            token = sign_in_with_passkey(
                passkey_sign_in_token(),
                form.credential.data or "",
                site=stepping_up.site(),
                now=now,
                days=settings.session_days,
                address=request.remote_addr,
                user_agent=request.user_agent.string,
            )
    except (InvalidInput, SignInRefused) as refusal:
        return _use_page(None, refusal.sentence, check=".check_alone"), 422
    response = redirect(safe_next(request.form.get("next")), 303)
    keep_session(response, token, days=settings.session_days)
    keep_passkey_sign_in(response, None)
    return response


def _settings() -> Settings:
    settings: Settings = current_app.config["SETTINGS"]
    return settings


def _begin_again() -> ResponseReturnValue:
    return redirect(url_for("session.sign_in", next=safe_next(request.form.get("next"))), 303)


def _list_page(form: NameForm, question: stepping_up.Question | None = None) -> str:
    # Rendered as the system too: a customer's own scope cannot read the rows of people.
    with acting_as(SYSTEM):
        mine = passkeys.passkeys_of(me().user_id)
        return render_template("web/passkeys/list.html", form=form, passkeys=mine, question=question)


def _use_page(options: str | None, sentence: str | None = None, *, check: str = ".check") -> str:
    target, form = safe_next(request.form.get("next")), UseForm()
    return render_template(
        "web/passkeys/use.html", form=form, options=options, next=target, sentence=sentence, check=check
    )
