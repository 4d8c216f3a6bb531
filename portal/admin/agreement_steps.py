"""The three steps of every change to an agreement: the form, a preview of what it does, and doing it once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal.admin.agreement_forms import AgreementForm
from portal.admin.rehearsing import rehearse
from portal.catalog.coupons import redemptions_of
from portal.catalog.listing import own_prices
from portal.catalog.queries import subscriptions_of
from portal.core.errors import InvalidInput, InvalidTransition
from portal.core.keys import content_hash
from portal.infra import clock
from portal.infra.db import transaction
from portal.invoicing.crediting import grants_of
from portal.organizations.locking import lock_organization
from portal.organizations.models import Organization
from portal.organizations.queries import organization_of

Act = Callable[[Organization, datetime], str]
Answer = str | Response | tuple[str, int]


@dataclass(frozen=True, slots=True)
class Step:
    """How a change is announced: the page's title, a sentence of what it means, and the words of its button."""

    title: str
    note: str
    button: str
    is_harmful: bool = False


def walk(
    public_id: UUID, form: AgreementForm, step: Step, act: Act, *, instead: Act | None = None, **shown: Any
) -> Answer:
    """Go one step further. `act` makes the change as of a moment and says what it did, in a sentence.

    A preview is bound to the agreement that it saw, so that a form that is sent twice changes it once. `instead` is
    done after the preview where the change itself takes two people. `shown` is what the form's page shows besides.
    """
    organization, asked = organization_of(public_id), request.form.get("step")
    if asked == "edit" or (request.method in ("GET", "HEAD") and form.visible()):
        return _form_page(organization, form, step, shown)
    if request.method == "POST" and not form.validate():
        return _form_page(organization, form, step, shown), 422
    now = clock.now()
    moment = form.previewed_at(now) if asked == "confirm" else None
    try:
        if moment is not None:
            return _do(public_id, form, instead or act, moment)
        return _preview(public_id, form, step, act, now)
    except InvalidInput as refusal:
        form.take(refusal)
        return _form_page(organization_of(public_id), form, step, shown), 422
    except InvalidTransition as refusal:
        page = render_template(
            "admin/agreement/refused.html",
            organization=organization_of(public_id),
            title=f"{step.title}: nothing was done",
            sentence=refusal.sentence,
        )
        return page, refusal.status


def _form_page(organization: Organization, form: AgreementForm, step: Step, shown: Mapping[str, Any]) -> str:
    return render_template("admin/agreement/form.html", organization=organization, form=form, step=step, **shown)


def _preview(public_id: UUID, form: AgreementForm, step: Step, act: Act, now: datetime) -> str:
    organization_id = organization_of(public_id).id
    rehearsed = rehearse(
        organization_id, lambda organization: act(organization, now), fingerprint_of=agreement_fingerprint, now=now
    )
    form.seen.data, form.moment.data = rehearsed.fingerprint, now.isoformat()
    return render_template(
        "admin/agreement/review.html",
        organization=organization_of(public_id),
        form=form,
        step=step,
        rehearsed=rehearsed,
    )


def _do(public_id: UUID, form: AgreementForm, act: Act, moment: datetime) -> Response:
    with transaction():
        organization = lock_organization(organization_of(public_id).id)
        if form.seen.data != agreement_fingerprint(organization):
            raise InvalidTransition("The agreement has changed since you looked. Look again before you change it.")
        sentence = act(organization, moment)
    flash(sentence, "success")
    return redirect(url_for("admin_agreement.show", public_id=public_id), 303)


def agreement_fingerprint(organization: Organization) -> str:
    """What changes whenever the agreement does."""
    return content_hash(
        {
            "collection": organization.collection_method,
            "taxes": [
                organization.tax_treatment,
                organization.tax_rounding,
                organization.prices_include_tax,
                organization.tax_id,
            ],
            "subscriptions": [
                [each.id, each.ended_at and each.ended_at.isoformat(), [change.id for change in each.changes]]
                for each in subscriptions_of(organization.id)
            ],
            "coupons": [
                [each.id, each.last_month and each.last_month.isoformat()] for each in redemptions_of(organization.id)
            ],
            "credits": [[grant.id, left] for grant, left in grants_of(organization.id)],
            "prices": [[version.version.id for version in entry.versions] for entry in own_prices(organization.id)],
        }
    )
