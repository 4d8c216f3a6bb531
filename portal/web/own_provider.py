"""Where my organization signs its people in: a provider of its own, for its owners to set."""

from flask import Blueprint, current_app, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import BooleanField, PasswordField, StringField
from wtforms.validators import InputRequired, Length

from portal import stepping_up
from portal.core.errors import InvalidInput
from portal.core.saying import Said
from portal.infra import clock
from portal.infra.calling import LONGEST_URL
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.languages import _
from portal.infra.pages import policy
from portal.organizations.models import OrganizationProvider
from portal.organizations.own_provider import keep_own_provider, own_provider_of, remove_own_provider
from portal.signed_in import guard_page, my_seat

bp = Blueprint("own_provider", __name__)
bp.before_request(guard_page)


class ProviderForm(FlaskForm):
    """The portal as a client of the organization's provider."""

    issuer = StringField(
        Said("Address of the provider (issuer)"),
        [InputRequired(Said("Enter the provider's address.")), Length(max=LONGEST_URL)],
    )
    client_id = StringField(Said("Client id"), [InputRequired(Said("Enter the client id.")), Length(max=500)])
    client_secret = PasswordField(Said("Client secret"), [Length(max=1000)])
    is_required = BooleanField(Said("Members must sign in there"))


@bp.get("/settings/sign-in")
@policy("manage members")
def show() -> ResponseReturnValue:
    """What is set, and the form."""
    kept = _kept()
    facts = {} if kept is None else {name: getattr(kept, name) for name in ("issuer", "client_id", "is_required")}
    return _page(kept, ProviderForm(formdata=None, data=facts), stepping_up.question())


@bp.post("/settings/sign-in")
@policy("manage members")
def change() -> ResponseReturnValue:
    """Ask "is it you?" and keep what was typed, or say at its field what is wrong."""
    form = ProviderForm()
    if not form.validate():
        return _page(_kept(), form, stepping_up.question()), 422
    asked = stepping_up.ask()
    if asked is not None:
        return _page(_kept(), form, asked), 422
    settings = current_app.config["SETTINGS"]
    try:
        with acting_as(SYSTEM), transaction():
            keep_own_provider(
                my_seat().organization_id,
                issuer=form.issuer.data or "",
                client_id=form.client_id.data or "",
                client_secret=form.client_secret.data or "",
                is_required=form.is_required.data,
                keys=settings.secret_keys,
                private_too=settings.webhook_private_addresses,
                now=clock.now(),
            )
    except InvalidInput as refusal:
        form[refusal.field or "issuer"].errors = [refusal.sentence]
        return _page(_kept(), form), 422
    flash(_("The provider is kept. Try it in another browser before you close this one."), "success")
    return redirect(url_for(".show"), 303)


@bp.post("/settings/sign-in/remove")
@policy("manage members")
def remove() -> ResponseReturnValue:
    """Ask "is it you?" and forget the provider."""
    asked = stepping_up.ask()
    if asked is not None:
        kept = _kept()
        facts = {} if kept is None else {"issuer": kept.issuer, "client_id": kept.client_id}
        return _page(kept, ProviderForm(formdata=None, data=facts), asked), 422
    with acting_as(SYSTEM), transaction():
        remove_own_provider(my_seat().organization_id)
    flash(_("The provider is removed. Everybody signs in with their password again."), "success")
    return redirect(url_for(".show"), 303)


def _kept() -> OrganizationProvider | None:
    with acting_as(SYSTEM):
        return own_provider_of(my_seat().organization_id)


def _page(kept: OrganizationProvider | None, form: ProviderForm, question: stepping_up.Question | None = None) -> str:
    base = current_app.config["SETTINGS"].portal_url
    return render_template(
        "web/own_provider/show.html",
        kept=kept,
        form=form,
        question=question,
        back_to=base + url_for("provider.back"),
        sign_in_at=base + url_for("provider.choose", name=my_seat().slug),
    )
