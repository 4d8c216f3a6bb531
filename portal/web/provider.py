"""Signing in by the provider of OIDC_ISSUER: going there, and coming back."""

from flask import Blueprint, current_app, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from portal.config import Settings
from portal.core.errors import InvalidInput, NotFound
from portal.core.saying import Said
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.oidc import Provider, ProviderFailed, address_to_go_to, find_provider, redeem
from portal.infra.pages import policy
from portal.organizations import provider_sign_ins
from portal.organizations.attempts import count_provider_try
from portal.organizations.provider_sign_ins import Expected, note_refused_provider_sign_in, sign_in_by_provider
from portal.organizations.second_steps import begin_second_step
from portal.organizations.sessions import CodeNeeded, SignInRefused
from portal.signed_in import guard_page, safe_next
from portal.web.cookies import keep_half_sign_in, keep_provider_sign_in, keep_session, provider_sign_in_token
from portal.web.waiting import too_many_tries

_ERROR = Said("The provider could not sign you in. Begin again; if it stays, tell us.")
bp = Blueprint("provider", __name__)
bp.before_request(guard_page)


@bp.post("/sign-in/provider")
@policy("public")
def begin() -> ResponseReturnValue:
    """Send the browser to the provider.

    A page that goes on by itself, and no redirect: the security policy binds where a form may lead, redirects included.
    """
    settings, now = _settings(), clock.now()
    with acting_as(SYSTEM), transaction():
        wait = count_provider_try(request.remote_addr, now=now)
    if wait is not None:
        return too_many_tries(wait)
    try:
        provider = _provider(settings)
    except ProviderFailed as failure:
        return _failed(settings, failure.sentence, failure.why)
    journey = provider_sign_ins.new_journey()
    with acting_as(SYSTEM), transaction():
        provider_sign_ins.set_out(journey, safe_next(request.form.get("next")), now=now)
    address = address_to_go_to(provider, state=journey.state, nonce=journey.nonce, verifier=journey.verifier)
    page = render_template("web/session/to_provider.html", provider=settings.oidc_name, address=address)
    response = make_response(page)
    response.headers["Refresh"] = f"0; url={address}"
    keep_provider_sign_in(response, journey.token)
    return response


@bp.get("/sign-in/provider/back")
@policy("public")
def back() -> ResponseReturnValue:
    """Take the provider's answer, open a session and go on to the page that was asked for, or to the second step."""
    settings, now = _settings(), clock.now()
    try:
        with acting_as(SYSTEM), transaction():
            expected = provider_sign_ins.come_back(provider_sign_in_token(), request.args.get("state", ""), now=now)
    except InvalidInput as refusal:
        # Anybody can open this address: that alone must not fill the audit log.
        return _failed(settings, refusal.sentence, None)
    if "error" in request.args:
        was_denied = request.args["error"] == "access_denied"
        sentence = Said("You did not sign in at the provider, or it did not let you.") if was_denied else _ERROR
        return _failed(settings, sentence, f"its error {request.args['error'][:100]}")
    if request.args.get("iss", settings.oidc_issuer) != settings.oidc_issuer:
        return _failed(settings, _ERROR, "the answer names another issuer")
    try:
        return _go_on(settings, expected, request.args.get("code", ""))
    except ProviderFailed as failure:
        return _failed(settings, failure.sentence, failure.why)
    except SignInRefused as refusal:
        return _failed(settings, refusal.sentence, refusal.sentence)


def _go_on(settings: Settings, expected: Expected, code: str) -> ResponseReturnValue:
    # No transaction is open while the provider is asked.
    now = clock.now()
    person = redeem(_provider(settings), code, nonce=expected.nonce, verifier=expected.verifier, now=now)
    address, user_agent = request.remote_addr, request.user_agent.string
    domains, days = settings.oidc_mail_domains, settings.session_days
    needed, token = None, ""
    with acting_as(SYSTEM), transaction():
        try:
            token = sign_in_by_provider(
                person, domains=domains, now=now, days=days, address=address, user_agent=user_agent
            )
        except CodeNeeded as refusal:
            # Caught inside, so that a link that was just made is kept.
            needed = begin_second_step(refusal.user_id, now=now)
    if needed is not None:
        response = redirect(url_for("signing_in.code", next=expected.next_path), 303)
        keep_half_sign_in(response, needed)
    else:
        response = redirect(expected.next_path, 303)
        keep_session(response, token, days=days)
    keep_provider_sign_in(response, None)
    return response


def _settings() -> Settings:
    settings: Settings = current_app.config["SETTINGS"]
    if settings.oidc_issuer is None:
        raise NotFound("There is no such page.")
    return settings


def _provider(settings: Settings) -> Provider:
    return find_provider(settings, back_to=settings.portal_url + url_for("provider.back"))


def _failed(settings: Settings, sentence: str, why: str | None) -> ResponseReturnValue:
    """The sentence, and the way back to the sign-in page; `why` goes into the audit log."""
    if why is not None:
        with acting_as(SYSTEM), transaction():
            note_refused_provider_sign_in(settings.oidc_issuer or "", why)
    page = render_template("web/session/provider_failed.html", provider=settings.oidc_name, sentence=sentence)
    response = make_response(page, 422)
    keep_provider_sign_in(response, None)
    return response
