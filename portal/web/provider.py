"""Signing in by a provider: that of OIDC_ISSUER, or an organization's own. Going there, and coming back."""

from datetime import datetime

from flask import Blueprint, current_app, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import StringField
from wtforms.validators import InputRequired, Length

from portal.config import Settings
from portal.core.errors import InvalidInput, NotFound
from portal.core.saying import Said
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.oidc import Client, Person, ProviderFailed, address_to_go_to, find_provider, redeem
from portal.infra.pages import policy
from portal.organizations import provider_sign_ins
from portal.organizations.attempts import count_provider_try
from portal.organizations.own_provider import own_provider, own_provider_named, sign_in_at_own_provider
from portal.organizations.provider_sign_ins import Expected, note_refused_provider_sign_in, sign_in_by_provider
from portal.organizations.second_steps import begin_second_step
from portal.organizations.sessions import CodeNeeded, SignInRefused
from portal.signed_in import guard_page, safe_next
from portal.web.cookies import keep_half_sign_in, keep_provider_sign_in, keep_session, provider_sign_in_token
from portal.web.waiting import too_many_tries

_ERROR = Said("The provider could not sign you in. Begin again; if it stays, tell us.")
bp = Blueprint("provider", __name__)
bp.before_request(guard_page)


class OrganizationForm(FlaskForm):
    """Whose own provider to go to."""

    slug = StringField(
        Said("Short name of the organization"), [InputRequired(Said("Enter the short name.")), Length(max=200)]
    )


@bp.post("/sign-in/provider")
@policy("public")
def begin() -> ResponseReturnValue:
    """Send the browser to everybody's provider."""
    if _settings().oidc_issuer is None:
        raise NotFound("There is no such page.")
    return _too_often() or _set_out(None)


@bp.get("/sign-in/organization")
@policy("public")
def choose() -> ResponseReturnValue:
    """Ask whose provider; a link may name the organization already."""
    return _choose_page(OrganizationForm(formdata=None, data={"slug": request.args.get("name", "")}))


@bp.post("/sign-in/organization")
@policy("public")
def begin_at_own() -> ResponseReturnValue:
    """Send the browser to the provider of an organization."""
    form = OrganizationForm()
    if not form.validate_on_submit():
        return _choose_page(form), 422
    if (refused := _too_often()) is not None:
        return refused
    try:
        with acting_as(SYSTEM):
            organization_id = own_provider_named(form.slug.data or "")
    except InvalidInput as refusal:
        form.slug.errors = [refusal.sentence]
        return _choose_page(form), 422
    return _set_out(organization_id)


@bp.get("/sign-in/provider/back")
@policy("public")
def back() -> ResponseReturnValue:
    """Take the provider's answer, open a session and go on to the page that was asked for, or to the second step."""
    try:
        with acting_as(SYSTEM), transaction():
            expected = provider_sign_ins.come_back(
                provider_sign_in_token(), request.args.get("state", ""), now=clock.now()
            )
    except InvalidInput as refusal:
        # Anybody can open this address: that alone must not fill the audit log.
        return _failed("", refusal.sentence, None)
    issuer = ""
    try:
        client, _ = _client(expected.organization_id)
        issuer = client.issuer
        return _go_on(expected, client)
    except ProviderFailed as failure:
        return _failed(issuer, failure.sentence, failure.why)
    except (SignInRefused, NotFound) as refusal:
        return _failed(issuer, refusal.sentence, refusal.sentence)


def _too_often() -> ResponseReturnValue | None:
    with acting_as(SYSTEM), transaction():
        wait = count_provider_try(request.remote_addr, now=clock.now())
    return None if wait is None else too_many_tries(wait)


def _set_out(organization_id: int | None) -> ResponseReturnValue:
    """A page that goes on by itself, not a redirect: the security policy binds where a form may lead, redirects too."""
    client, name = _client(organization_id)
    try:
        provider = find_provider(client)
    except ProviderFailed as failure:
        return _failed(client.issuer, failure.sentence, failure.why)
    journey = provider_sign_ins.new_journey()
    with acting_as(SYSTEM), transaction():
        next_path = safe_next(request.form.get("next"))
        provider_sign_ins.set_out(journey, next_path, organization_id=organization_id, now=clock.now())
    address = address_to_go_to(provider, state=journey.state, nonce=journey.nonce, verifier=journey.verifier)
    response = make_response(render_template("web/session/to_provider.html", provider=name, address=address))
    response.headers["Refresh"] = f"0; url={address}"
    keep_provider_sign_in(response, journey.token)
    return response


def _go_on(expected: Expected, client: Client) -> ResponseReturnValue:
    if "error" in request.args:
        was_denied = request.args["error"] == "access_denied"
        sentence = Said("You did not sign in at the provider, or it did not let you.") if was_denied else _ERROR
        raise ProviderFailed(sentence, f"its error {request.args['error'][:100]}")
    if request.args.get("iss", client.issuer) != client.issuer:
        raise ProviderFailed(_ERROR, "the answer names another issuer")
    # No transaction is open while the provider is asked.
    now = clock.now()
    code = request.args.get("code", "")
    person = redeem(find_provider(client), code, nonce=expected.nonce, verifier=expected.verifier, now=now)
    days, needed, token = _settings().session_days, None, ""
    with acting_as(SYSTEM), transaction():
        try:
            token = _open_session(expected.organization_id, person, now=now)
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


def _open_session(organization_id: int | None, person: Person, *, now: datetime) -> str:
    settings = _settings()
    browser = {"address": request.remote_addr, "user_agent": request.user_agent.string}
    if organization_id is not None:
        return sign_in_at_own_provider(organization_id, person, now=now, days=settings.session_days, **browser)
    domains = settings.oidc_mail_domains
    return sign_in_by_provider(person, domains=domains, now=now, days=settings.session_days, **browser)


def _settings() -> Settings:
    settings: Settings = current_app.config["SETTINGS"]
    return settings


def _client(organization_id: int | None) -> tuple[Client, str]:
    """The portal as a client of a provider, and what people call that. Raises NotFound."""
    settings = _settings()
    back_to = settings.portal_url + url_for("provider.back")
    if organization_id is None:
        issuer, secret = settings.oidc_issuer or "", settings.oidc_client_secret
        return Client(issuer, settings.oidc_client_id, secret, back_to, private_too=True), settings.oidc_name
    with acting_as(SYSTEM):
        own = own_provider(organization_id, keys=settings.secret_keys)
    # Chosen by a customer: it is held to what may be called for webhooks.
    private_too = settings.webhook_private_addresses
    return Client(own.issuer, own.client_id, own.client_secret, back_to, private_too), own.organization


def _choose_page(form: OrganizationForm) -> str:
    return render_template("web/session/organization.html", form=form, next=safe_next(request.values.get("next")))


def _failed(issuer: str, sentence: str, why: str | None) -> ResponseReturnValue:
    """The sentence, and the way back to the sign-in page; `why` goes into the audit log."""
    if why is not None:
        with acting_as(SYSTEM), transaction():
            note_refused_provider_sign_in(issuer, why)
    response = make_response(render_template("web/session/provider_failed.html", sentence=sentence), 422)
    keep_provider_sign_in(response, None)
    return response
