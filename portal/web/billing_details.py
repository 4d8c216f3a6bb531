"""Who my organization is on its invoices, and the purchase order of one that is not final."""

from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from portal.billing_form import BillingForm, PurchaseOrderForm, billing_values
from portal.core.errors import InvalidInput
from portal.infra.db import transaction
from portal.infra.languages import _
from portal.infra.pages import policy
from portal.invoicing.draft_notes import set_purchase_order
from portal.invoicing.exporting.files import is_open
from portal.invoicing.models import Invoice
from portal.invoicing.queries import invoice_of
from portal.organizations.billing_details import set_billing_details
from portal.organizations.queries import organization_by_id
from portal.signed_in import guard_page, my_seat

bp = Blueprint("billing_details", __name__)
bp.before_request(guard_page)


@bp.get("/settings/billing")
@policy("edit billing details")
def show() -> ResponseReturnValue:
    """What my invoices say of us now."""
    organization = organization_by_id(my_seat().organization_id)
    return _page(BillingForm(formdata=None, data=billing_values(organization)))


@bp.post("/settings/billing")
@policy("edit billing details")
def change() -> ResponseReturnValue:
    """Keep what was typed, or say at its field what is wrong."""
    form = BillingForm()
    if not form.validate():
        return _page(form), 422
    try:
        with transaction():
            set_billing_details(my_seat().organization_id, **form.values())
    except InvalidInput as refusal:
        form.take(refusal)
        return _page(form), 422
    flash(_("Drafts show it now, and invoices from the next one on. Final invoices stay as they are."), "success")
    return redirect(url_for(".show"), 303)


@bp.get("/invoices/<uuid:public_id>/purchase-order")
@policy("edit billing details")
def purchase_order(public_id: UUID) -> ResponseReturnValue:
    """The purchase order of one draft; a final invoice shows the one that it has."""
    invoice = _mine(public_id)
    if not is_open(invoice):
        return redirect(url_for("invoices.show", public_id=public_id), 303)
    return _order_page(invoice, PurchaseOrderForm(formdata=None, data={"purchase_order": invoice.purchase_order}))


@bp.post("/invoices/<uuid:public_id>/purchase-order")
@policy("edit billing details")
def change_purchase_order(public_id: UUID) -> ResponseReturnValue:
    """Put it on the draft. InvalidTransition becomes the page that says that the invoice is final."""
    invoice, form = _mine(public_id), PurchaseOrderForm()
    if not form.validate():
        return _order_page(invoice, form), 422
    try:
        with transaction():
            set_purchase_order(invoice.id, form.purchase_order.data)
    except InvalidInput as refusal:
        form.take(refusal)
        return _order_page(invoice, form), 422
    flash(_("The purchase order is on the draft."), "success")
    return redirect(url_for("invoices.show", public_id=public_id), 303)


def _mine(public_id: UUID) -> Invoice:
    return invoice_of(public_id, organization_id=my_seat().organization_id)


def _page(form: BillingForm) -> str:
    return render_template("web/billing_details/show.html", form=form)


def _order_page(invoice: Invoice, form: PurchaseOrderForm) -> str:
    return render_template("web/billing_details/purchase_order.html", form=form, invoice=invoice)
