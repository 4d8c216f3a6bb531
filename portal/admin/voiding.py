"""Voiding an invoice, and issuing it anew: with a reason, after saying what it does."""

from uuid import UUID

from flask import flash, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import TextAreaField
from wtforms.validators import DataRequired, Length

from portal.admin.refusing import refused
from portal.admin.staff import staff_blueprint
from portal.core.errors import InvalidTransition
from portal.core.lifecycle import InvoiceState
from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.pages import policy
from portal.invoicing.models import Invoice
from portal.invoicing.queries import invoice_of
from portal.invoicing.voiding import reissue_invoice, void_invoice

bp = staff_blueprint("admin_voiding")


class VoidForm(FlaskForm):
    """Why the invoice should not have been."""

    reason = TextAreaField(
        "Reason",
        [
            DataRequired("Say why the invoice is void; the reason is kept in the audit log."),
            Length(max=500, message="A reason has at most 500 characters."),
        ],
        description="Kept in the audit log, with the ticket if there is one.",
    )


@bp.get("/invoices/<uuid:public_id>/void")
@policy("void invoices")
def confirm(public_id: UUID) -> str | tuple[str, int]:
    """What voiding does, and the form that asks why."""
    invoice = invoice_of(public_id)
    if invoice.state != InvoiceState.FINALIZED:
        return _refused(public_id, _not_final(invoice))
    if invoice.amount_paid:
        paid = InvalidTransition(f"Invoice {invoice.number} is paid; a paid invoice is credited, not voided.")
        return _refused(public_id, paid)
    return render_template("admin/invoices/void.html", invoice=invoice, form=VoidForm(formdata=None))


@bp.post("/invoices/<uuid:public_id>/void")
@policy("void invoices")
def void(public_id: UUID) -> Response | tuple[str, int]:
    """Void it, here at once and at Stripe by a job; or issue it anew: its one-off items come onto the new draft too."""
    invoice = invoice_of(public_id)
    if invoice.state in (InvoiceState.DRAFT, InvoiceState.SCHEDULED):
        return _refused(public_id, _not_final(invoice))
    form = VoidForm()
    if not form.validate():
        return render_template("admin/invoices/void.html", invoice=invoice, form=form), 422
    anew = request.form.get("step") == "reissue"
    verb = reissue_invoice if anew else void_invoice
    try:
        with transaction():
            shown = verb(invoice.id, reason=form.reason.data or "", now=clock.now())
    except InvalidTransition as refusal:
        return _refused(public_id, refusal)
    said = " This draft replaces it, with its one-off items." if anew else ""
    flash(f"{invoice.number} is void. Its number stays, and Stripe is told.{said}", "success")
    return redirect(url_for("admin_invoices.show", public_id=shown.public_id), 303)


def _not_final(invoice: Invoice) -> InvalidTransition:
    return InvalidTransition(f"It is {invoice.state}; only a final invoice is voided.")


def _refused(public_id: UUID, refusal: InvalidTransition) -> tuple[str, int]:
    return refused(public_id, refusal, title="The invoice was not voided")
