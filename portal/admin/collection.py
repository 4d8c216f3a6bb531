"""How an organization's invoices are collected: a choice of two, looked at before it is made."""

from datetime import datetime
from uuid import UUID

from wtforms import SelectField
from wtforms.fields import SelectChoice

from portal.admin.agreement_forms import AgreementForm
from portal.admin.agreement_steps import Answer, Step, walk
from portal.admin.staff import staff_blueprint
from portal.infra.pages import policy
from portal.organizations.collecting import set_collection_method
from portal.organizations.models import Organization
from portal.organizations.queries import organization_of
from portal.payments.methods import method_of

bp = staff_blueprint("admin_collection")


class CollectionForm(AgreementForm):
    """Who acts when an invoice is due."""

    method = SelectField(
        "Invoices are",
        choices=[
            SelectChoice("send_invoice", "Sent: the customer pays each one"),
            SelectChoice("charge_automatically", "Charged automatically to the payment method at Stripe"),
        ],
    )


@bp.app_context_processor
def _offer_method() -> dict[str, object]:
    """The page of an organization says what Stripe charges."""
    return {"payment_method_of": method_of}


@bp.route("/organizations/<uuid:public_id>/collection", methods=["GET", "POST"])
@policy("manage subscriptions")
def change(public_id: UUID) -> Answer:
    """Charge automatically, or send each invoice."""
    found = organization_of(public_id)
    method = method_of(found.id)
    form = CollectionForm(method=found.collection_method)

    def act(organization: Organization, _: datetime) -> str:
        set_collection_method(organization.id, form.method.data)
        if form.method.data == "send_invoice":
            return "Invoices are sent from now on, and the customer pays each one."
        return "Invoices are charged automatically from now on" + (f" to {method.words}." if method else ".")

    has = f"Its payment method is {method.words}." if method else "It has no payment method at Stripe yet."
    note = f"{has} Invoices that Stripe has already stay as they are."
    return walk(public_id, form, Step("Change how invoices are paid", note, "Change it"), act)
