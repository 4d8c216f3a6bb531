"""Who an organization is on its invoices, and what one draft says besides its figures; changed by staff."""

from uuid import UUID

from flask import flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from portal.admin.refusing import refused
from portal.admin.staff import staff_blueprint
from portal.billing_form import BillingForm, DraftNotesForm, billing_values
from portal.core.errors import InvalidInput, InvalidTransition
from portal.infra.db import transaction
from portal.infra.pages import policy
from portal.invoicing.draft_notes import set_memo, set_purchase_order
from portal.invoicing.models import Invoice
from portal.invoicing.queries import invoice_of
from portal.organizations.billing_details import set_billing_details
from portal.organizations.models import Organization
from portal.organizations.queries import organization_of

bp = staff_blueprint("admin_billing_details")


@bp.get("/organizations/<uuid:public_id>/billing-details")
@policy("edit billing details")
def show(public_id: UUID) -> str:
    """What its invoices say of the organization now."""
    organization = organization_of(public_id)
    return _page(organization, BillingForm(formdata=None, data=billing_values(organization)))


@bp.post("/organizations/<uuid:public_id>/billing-details")
@policy("edit billing details")
def change(public_id: UUID) -> ResponseReturnValue:
    """Keep what was typed, or say at its field what is wrong."""
    organization, form = organization_of(public_id), BillingForm()
    if not form.validate():
        return _page(organization, form), 422
    try:
        with transaction():
            set_billing_details(organization.id, **form.values())
    except InvalidInput as refusal:
        form.take(refusal)
        return _page(organization, form), 422
    flash("The billing details are changed. Final invoices stay as they are.", "success")
    return redirect(url_for("admin_organizations.show", public_id=public_id), 303)


@bp.get("/invoices/<uuid:public_id>/notes")
@policy("edit billing details")
def notes(public_id: UUID) -> str:
    """The purchase order and the memo of one draft."""
    invoice = invoice_of(public_id)
    values = {"purchase_order": invoice.purchase_order, "memo": invoice.memo}
    return _notes_page(invoice, DraftNotesForm(formdata=None, data=values))


@bp.post("/invoices/<uuid:public_id>/notes")
@policy("edit billing details")
def change_notes(public_id: UUID) -> ResponseReturnValue:
    """Put them on the draft, both or none."""
    invoice, form = invoice_of(public_id), DraftNotesForm()
    if not form.validate():
        return _notes_page(invoice, form), 422
    try:
        with transaction():
            set_purchase_order(invoice.id, form.purchase_order.data)
            set_memo(invoice.id, form.memo.data)
    except InvalidInput as refusal:
        form.take(refusal)
        return _notes_page(invoice, form), 422
    except InvalidTransition as refusal:
        return refused(public_id, refusal, title="Nothing was changed")
    flash("The draft says so now.", "success")
    return redirect(url_for("admin_invoices.show", public_id=public_id), 303)


def _page(organization: Organization, form: BillingForm) -> str:
    return render_template("admin/organizations/billing_details.html", organization=organization, form=form)


def _notes_page(invoice: Invoice, form: DraftNotesForm) -> str:
    return render_template("admin/invoices/notes.html", invoice=invoice, form=form)
