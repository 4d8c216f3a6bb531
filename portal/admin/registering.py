"""New organizations, and whether one is served."""

from uuid import UUID

from flask import flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from wtforms import EmailField, SelectField, StringField, TextAreaField
from wtforms.fields import SelectChoice

from portal.admin.staff import staff_blueprint
from portal.billing_form import RefusableForm
from portal.core.currencies import EXPONENTS
from portal.core.errors import InvalidInput
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.mail import is_address
from portal.infra.pages import policy
from portal.organizations.invitations import invite
from portal.organizations.members import OWNER
from portal.organizations.models import Organization
from portal.organizations.queries import organization_of
from portal.organizations.registering import register_organization
from portal.organizations.suspending import STATUSES, set_status
from portal.signed_in import me

bp = staff_blueprint("admin_registering")


class OrganizationForm(RefusableForm):
    """Whom the platform bills from now on."""

    name = StringField("Name", render_kw={"autocomplete": "organization"})
    slug = StringField("Short name", render_kw={"autocomplete": "off", "spellcheck": "false"})
    currency = SelectField("Currency", choices=[SelectChoice(code, code) for code in sorted(EXPONENTS)])
    collection_method = SelectField(
        "Invoices are",
        choices=[
            SelectChoice("send_invoice", "Sent: the customer pays each one"),
            SelectChoice("charge_automatically", "Charged automatically to the payment method at Stripe"),
        ],
    )
    billing_email = EmailField("E-mail for invoices", render_kw={"autocomplete": "off"})
    owner_email = EmailField("E-mail of its first owner", render_kw={"autocomplete": "off"})


class StatusForm(RefusableForm):
    """Whether an organization is served."""

    status = SelectField(
        "Status", choices=[SelectChoice(name, f"{name.capitalize()}: {says}") for name, says in STATUSES.items()]
    )
    reason = TextAreaField("Reason", render_kw={"rows": 2})


@bp.get("/organizations/new")
@policy("manage organizations")
def new() -> str:
    """An empty form."""
    return _page(OrganizationForm(formdata=None, currency="USD"))


@bp.post("/organizations/new")
@policy("manage organizations")
def register() -> ResponseReturnValue:
    """Register it and invite its first owner, both or none."""
    form = OrganizationForm()
    if not form.validate():
        return _page(form), 422
    try:
        # An invitation is a letter, which staff may not write by themselves.
        with acting_as(SYSTEM), transaction():
            organization = _register(form)
            if form.owner_email.data:
                invite(organization.id, form.owner_email.data, OWNER, by_id=me().user_id, now=clock.now())
    except InvalidInput as refusal:
        form.take(refusal)
        return _page(form), 422
    invited = f" {form.owner_email.data} is invited as its owner." if form.owner_email.data else ""
    flash(f"{organization.name} is registered. Its first draft opens within a minute.{invited}", "success")
    return redirect(url_for("admin_organizations.show", public_id=organization.public_id), 303)


@bp.get("/organizations/<uuid:public_id>/status")
@policy("manage organizations")
def status(public_id: UUID) -> str:
    """What each status means, and which one it is."""
    organization = organization_of(public_id)
    return _status_page(organization, StatusForm(formdata=None, status=organization.status))


@bp.post("/organizations/<uuid:public_id>/status")
@policy("manage organizations")
def change_status(public_id: UUID) -> ResponseReturnValue:
    """Suspend it, close it, or serve it again."""
    organization, form = organization_of(public_id), StatusForm()
    if not form.validate():
        return _status_page(organization, form), 422
    try:
        with transaction():
            set_status(organization.id, form.status.data, reason=form.reason.data or "")
    except InvalidInput as refusal:
        form.take(refusal)
        return _status_page(organization, form), 422
    flash(f"{organization.name} is {form.status.data}.", "success")
    return redirect(url_for("admin_organizations.show", public_id=public_id), 303)


def _register(form: OrganizationForm) -> Organization:
    for field in (form.billing_email, form.owner_email):
        field.data = (field.data or "").strip()
        if field.data and not is_address(field.data):
            raise InvalidInput("That is not an e-mail address.", field=field.name)
    return register_organization(
        (form.slug.data or "").strip(),
        name=form.name.data or "",
        currency=form.currency.data,
        collection_method=form.collection_method.data,
        billing_email=form.billing_email.data or None,
    )


def _page(form: OrganizationForm) -> str:
    return render_template("admin/organizations/new.html", form=form)


def _status_page(organization: Organization, form: StatusForm) -> str:
    return render_template("admin/organizations/status.html", organization=organization, form=form)
