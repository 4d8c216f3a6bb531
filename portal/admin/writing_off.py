"""Writing an invoice off: with a reason, after saying what it does."""

from uuid import UUID

from flask import flash, redirect, render_template, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import TextAreaField
from wtforms.validators import DataRequired, Length

from portal.admin.refusing import refused
from portal.admin.staff import staff_blueprint
from portal.core.errors import InvalidTransition
from portal.core.lifecycle import InvoiceState, PaymentState, may_move
from portal.infra.db import transaction
from portal.infra.pages import policy
from portal.invoicing.models import Invoice
from portal.invoicing.queries import invoice_of
from portal.invoicing.writing_off import write_off

bp = staff_blueprint("admin_writing_off")


class WriteOffForm(FlaskForm):
    """Why nobody expects the payment any more."""

    reason = TextAreaField(
        "Reason",
        [
            DataRequired("Say why the invoice is written off; the reason is kept in the audit log."),
            Length(max=500, message="A reason has at most 500 characters."),
        ],
        description="Kept in the audit log, with the ticket if there is one. The customer does not see it.",
    )


@bp.get("/invoices/<uuid:public_id>/write-off")
@policy("void invoices")
def confirm(public_id: UUID) -> str | tuple[str, int]:
    """What writing off does, and the form that asks why."""
    invoice = invoice_of(public_id)
    if not can_be_written_off(invoice):
        return _refused(public_id, InvalidTransition("No payment of this invoice is expected, so nothing was done."))
    return render_template("admin/invoices/write_off.html", invoice=invoice, form=WriteOffForm(formdata=None))


@bp.post("/invoices/<uuid:public_id>/write-off")
@policy("void invoices")
def mark(public_id: UUID) -> Response | tuple[str, int]:
    """Write it off, here at once and at Stripe by a job."""
    invoice = invoice_of(public_id)
    form = WriteOffForm()
    if not form.validate():
        return render_template("admin/invoices/write_off.html", invoice=invoice, form=form), 422
    try:
        with transaction():
            invoice = write_off(invoice.id, reason=form.reason.data or "")
    except InvalidTransition as refusal:
        return _refused(public_id, refusal)
    flash(f"{invoice.number} is written off. Stripe is told; a payment that still comes takes it back.", "success")
    return redirect(url_for("admin_invoices.show", public_id=public_id), 303)


def can_be_written_off(invoice: Invoice) -> bool:
    """Whether a payment of it is expected."""
    may = may_move(PaymentState(invoice.payment_state), PaymentState.UNCOLLECTIBLE)
    return invoice.state == InvoiceState.FINALIZED and may


@bp.app_context_processor
def _offer_check() -> dict[str, object]:
    """The page of an invoice offers it where it makes sense."""
    return {"can_be_written_off": can_be_written_off}


def _refused(public_id: UUID, refusal: InvalidTransition) -> tuple[str, int]:
    return refused(public_id, refusal, title="The invoice was not written off")
