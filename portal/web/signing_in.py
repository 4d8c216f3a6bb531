"""The second step of signing in, for whoever has a second factor: a code after the password."""

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import StringField
from wtforms.validators import InputRequired, Length

from portal.core.errors import InvalidInput
from portal.core.saying import Said
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.pages import policy
from portal.organizations.attempts import count_code_try, give_code_try_back
from portal.organizations.second_steps import HalfSignedIn, finish_second_step, half_signed_in
from portal.organizations.sessions import SignInRefused
from portal.signed_in import guard_page, safe_next
from portal.web.cookies import half_sign_in_token, keep_half_sign_in, keep_session
from portal.web.waiting import too_many_tries

bp = Blueprint("signing_in", __name__)
bp.before_request(guard_page)


class CodeForm(FlaskForm):
    """The app's six digits, or a recovery code."""

    code = StringField(Said("Code"), [InputRequired(Said("Enter the code.")), Length(max=40)])


@bp.get("/sign-in/code")
@policy("public")
def code() -> ResponseReturnValue:
    """Ask for the code; whoever has not given a password begins there."""
    return _code_page(CodeForm()) if _half() else redirect(url_for("session.sign_in"), 303)


@bp.post("/sign-in/code")
@policy("public")
def check() -> ResponseReturnValue:
    """Check the code, open the session and go on to the page that was asked for."""
    half, form = _half(), CodeForm()
    if half is None:
        return redirect(url_for("session.sign_in", next=safe_next(request.form.get("next"))), 303)
    if not form.validate_on_submit():
        return _code_page(form), 422
    settings, now = current_app.config["SETTINGS"], clock.now()
    with acting_as(SYSTEM), transaction():
        wait = count_code_try(half.email, request.remote_addr, now=now)
    if wait is not None:
        return too_many_tries(wait)
    try:
        with acting_as(SYSTEM), transaction():
            token = finish_second_step(
                half_sign_in_token(),
                form.code.data or "",
                keys=settings.secret_keys,
                now=now,
                days=settings.session_days,
                address=request.remote_addr,
                user_agent=request.user_agent.string,
            )
            give_code_try_back(half.email, request.remote_addr)
    except (InvalidInput, SignInRefused) as refusal:
        form.code.errors = [refusal.sentence]
        return _code_page(form), 422
    response = redirect(safe_next(request.form.get("next")), 303)
    keep_session(response, token, days=settings.session_days)
    keep_half_sign_in(response, None)
    return response


def _half() -> HalfSignedIn | None:
    with acting_as(SYSTEM):
        return half_signed_in(half_sign_in_token(), now=clock.now())


def _code_page(form: CodeForm) -> str:
    return render_template("web/session/code.html", form=form, next=safe_next(request.values.get("next")))
