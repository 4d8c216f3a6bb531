"""Signing in and out, and what a person chooses for themselves: the organization they look at, the theme."""

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import EmailField, PasswordField, SelectField, StringField
from wtforms.validators import InputRequired, Length

from portal.config import Settings
from portal.core.errors import NotFound
from portal.core.saying import Said
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.languages import LANGUAGES
from portal.infra.pages import policy
from portal.organizations import sessions
from portal.organizations.attempts import count_password_try, give_password_try_back, note_refused_sign_in
from portal.organizations.second_steps import begin_second_step
from portal.organizations.sessions import CodeNeeded, SignInRefused
from portal.signed_in import cookie_name, guard_page, identify, me, safe_next
from portal.web.cookies import keep_half_sign_in, keep_language, keep_session
from portal.web.waiting import too_many_tries

bp = Blueprint("session", __name__)
bp.before_request(guard_page)


class SignInForm(FlaskForm):
    """What a person types to sign in. The lengths only keep nonsense away from the password hash."""

    email = EmailField(Said("E-mail"), [InputRequired(Said("Enter your e-mail address.")), Length(max=320)])
    password = PasswordField(Said("Password"), [InputRequired(Said("Enter your password.")), Length(max=1024)])


class OrganizationForm(FlaskForm):
    """Which organization to look at."""

    slug = StringField(validators=[InputRequired(), Length(max=200)])


class ThemeForm(FlaskForm):
    """Light or dark pages, or as the system says."""

    theme = SelectField(choices=["system", "light", "dark"])


@bp.get("/sign-in")
@policy("public")
def sign_in() -> ResponseReturnValue:
    """The form; somebody who is signed in already goes on."""
    if identify() is not None:
        return redirect(safe_next(request.args.get("next")), 303)
    return _sign_in_page(SignInForm(), has_ended=cookie_name() in request.cookies)


@bp.post("/sign-in")
@policy("public")
def open_session() -> ResponseReturnValue:
    """Check the password, open a session and go on to the page that was asked for, or to the second step."""
    form = SignInForm()
    if not form.validate_on_submit():
        return _sign_in_page(form), 422
    settings: Settings = current_app.config["SETTINGS"]
    email, address, now = form.email.data or "", request.remote_addr, clock.now()
    with acting_as(SYSTEM), transaction():
        wait = count_password_try(email, address, now=now)
    if wait is not None:
        return too_many_tries(wait)
    try:
        with acting_as(SYSTEM), transaction():
            token = sessions.sign_in(
                email,
                form.password.data or "",
                now=now,
                days=settings.session_days,
                address=address,
                user_agent=request.user_agent.string,
            )
            give_password_try_back(email, address, now=now)
    except CodeNeeded as needed:
        with acting_as(SYSTEM), transaction():
            half = begin_second_step(needed.user_id, now=now)
            give_password_try_back(email, address, now=now)
        response = redirect(url_for("signing_in.code", next=safe_next(request.form.get("next"))), 303)
        keep_half_sign_in(response, half)
        return response
    except SignInRefused as refusal:
        with acting_as(SYSTEM), transaction():
            note_refused_sign_in(email)
        return _sign_in_page(form, refusal.sentence), 422
    response = redirect(safe_next(request.form.get("next")), 303)
    keep_session(response, token, days=settings.session_days)
    return response


@bp.post("/sign-out")
@policy("signed in")
def sign_out() -> ResponseReturnValue:
    """End the session here and on the server."""
    with acting_as(SYSTEM), transaction():
        sessions.sign_out(request.cookies[cookie_name()])
    response = redirect(url_for(".sign_in"), 303)
    keep_session(response, "", days=0)
    return response


@bp.post("/organization")
@policy("signed in")
def choose_organization() -> ResponseReturnValue:
    """Look at another of one's organizations, from its start page on."""
    form = OrganizationForm()
    if form.validate_on_submit():
        with acting_as(SYSTEM), transaction():
            sessions.choose_organization(request.cookies[cookie_name()], form.slug.data or "", me())
    return redirect("/", 303)


@bp.post("/theme")
@policy("signed in")
def choose_theme() -> ResponseReturnValue:
    """Remember the theme and go back to the page."""
    form = ThemeForm()
    if form.validate_on_submit():
        with acting_as(SYSTEM), transaction():
            sessions.choose_theme(me().user_id, form.theme.data)
    return redirect(safe_next(request.form.get("next")), 303)


@bp.get("/language/<language>")
@policy("public")
def speak(language: str) -> ResponseReturnValue:
    """Remember in this browser the language of pages for everybody, and go back to the page."""
    if language not in LANGUAGES:
        raise NotFound("There is no such language here.")
    response = redirect(safe_next(request.args.get("next")), 303)
    keep_language(response, language)
    return response


@bp.post("/language")
@policy("signed in")
def choose_language() -> ResponseReturnValue:
    """Remember a person's own language, or that it is the browser's to say, and go back to the account."""
    language = request.form.get("language")
    with acting_as(SYSTEM), transaction():
        sessions.choose_language(me().user_id, language if language in LANGUAGES else None)
    return redirect(url_for("account.show"), 303)


def _sign_in_page(form: SignInForm, sentence: str | None = None, *, has_ended: bool = False) -> str:
    target = safe_next(request.values.get("next"))
    settings: Settings = current_app.config["SETTINGS"]
    provider = settings.oidc_name if settings.oidc_issuer else None
    return render_template(
        "web/session/sign_in.html",
        form=form,
        next=target,
        sentence=sentence,
        provider=provider,
        has_ended=has_ended,
    )
