"""Whom an organization pays for: a month of all of them with its sum, and the links begun and ended."""

from collections.abc import Callable
from uuid import UUID

from flask import Response, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from wtforms import StringField

from portal.admin.staff import staff_blueprint
from portal.billing_form import RefusableForm
from portal.core.errors import InvalidInput
from portal.core.periods import Month
from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.pages import csv_response, policy
from portal.invoicing.linked_figures import FILE_HEAD, file_rows, shares_of
from portal.invoicing.linking import end_link, link_to_payer, links_of
from portal.organizations.models import Organization
from portal.organizations.queries import organization_of
from portal.organizations.registering import organization_by_slug

_HERE = "/organizations/<uuid:public_id>/linked"
_QUIET = {"autocomplete": "off", "spellcheck": "false"}
bp = staff_blueprint("admin_linked")


class LinkForm(RefusableForm):
    """Which organization's link to this payer begins or ends, and in which month."""

    organization = StringField("Short name of the linked organization", render_kw=_QUIET)
    month = StringField("First month", render_kw=_QUIET)


@bp.get(_HERE)
@policy("view organizations")
def show(public_id: UUID) -> str:
    """A month of the payer and of those that it pays for: ?month=, the current one by default."""
    return _page(organization_of(public_id), LinkForm(formdata=None, month=str(Month.of(clock.now()))))


@bp.get(f"{_HERE}.csv")
@policy("view organizations")
def as_csv(public_id: UUID) -> Response:
    """The same month as a file."""
    payer, month = organization_of(public_id), _month_asked()
    return csv_response(f"linked-{payer.slug}-{month}", FILE_HEAD, file_rows(shares_of(payer, month), month))


@bp.post(_HERE)
@policy("manage organizations")
def link(public_id: UUID) -> ResponseReturnValue:
    """Begin a link from a month on."""

    def act(payer: Organization, linked: Organization, month: Month) -> str:
        link_to_payer(linked.id, payer.id, first_month=month)
        return f"{payer.name} pays for {linked.name} from {month} on."

    return _change(public_id, act)


@bp.post(f"{_HERE}/end")
@policy("manage organizations")
def end(public_id: UUID) -> ResponseReturnValue:
    """End a link from a month on."""

    def act(payer: Organization, linked: Organization, month: Month) -> str:
        end_link(linked.id, end_month=month, payer_id=payer.id)
        return f"{linked.name} pays for itself from {month} on."

    return _change(public_id, act)


def _change(public_id: UUID, act: Callable[[Organization, Organization, Month], str]) -> ResponseReturnValue:
    payer, form = organization_of(public_id), LinkForm()
    if not form.validate():
        return _page(payer, form), 422
    try:
        with transaction():
            sentence = act(payer, _linked(form), Month.parse((form.month.data or "").strip()))
    except InvalidInput as refusal:
        # The verbs call it the payer's fault; on this page the payer is given and the other is typed.
        shown = InvalidInput(refusal.sentence, field="month" if refusal.field == "month" else "organization")
        form.take(shown)
        return _page(organization_of(public_id), form), 422
    flash(sentence, "success")
    return redirect(url_for(".show", public_id=public_id), 303)


def _linked(form: LinkForm) -> Organization:
    found = organization_by_slug((form.organization.data or "").strip())
    if found is None:
        raise InvalidInput("There is no organization with that short name.", field="organization")
    return found


def _month_asked() -> Month:
    text = request.args.get("month", "")
    return Month.parse(text) if text else Month.of(clock.now())


def _page(payer: Organization, form: LinkForm) -> str:
    month = _month_asked()
    return render_template(
        "admin/organizations/linked.html",
        organization=payer,
        form=form,
        month=month,
        shares=shares_of(payer, month),
        paid_by=next((link.payer for link in links_of([payer.id], month) if link.organization_id == payer.id), None),
    )
