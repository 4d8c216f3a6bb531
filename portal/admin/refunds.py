"""Refunding a paid invoice: an amount and a reason, a look at what it does, and doing it once."""

from typing import Any
from uuid import UUID, uuid4

from flask import flash, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response
from wtforms import Field, HiddenField, TextAreaField, ValidationError
from wtforms.validators import DataRequired, Length

from portal.admin.refusing import refused
from portal.admin.staff import staff_blueprint
from portal.core.errors import InvalidInput, InvalidTransition
from portal.core.money import major_text, round_to_minor, to_major
from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.formats import money
from portal.infra.pages import policy
from portal.infra.typed_numbers import NumberField
from portal.invoicing.models import Invoice
from portal.invoicing.queries import invoice_of
from portal.payments.refunding import LONGEST_REASON, check_refund, refundable, start_refund
from portal.signed_in import me
from portal.went_back import went_back_of

bp = staff_blueprint("admin_refunds")


class RefundForm(FlaskForm):
    """What a person says of a refund. `form_token` makes a form that is sent twice make one refund."""

    amount = NumberField("Amount")
    reason = TextAreaField(
        "Reason",
        [
            DataRequired("Say why; the reason is kept in the audit log."),
            Length(max=LONGEST_REASON, message=f"A reason has at most {LONGEST_REASON} characters."),
        ],
        description="Kept in the audit log, with the ticket if there is one. The customer does not see it.",
    )
    form_token = HiddenField(default=lambda: str(uuid4()))

    def validate_form_token(self, field: Field) -> None:
        """Only a token that this form gave out."""
        try:
            UUID(field.data or "")
        except ValueError:
            raise ValidationError("The form is too old. Reload the page and fill it in again.") from None

    def minor(self, currency: str) -> int:
        """The amount in minor units. Raises InvalidInput for a fraction of one."""
        amount = round_to_minor(self.amount.number, currency)
        if to_major(amount, currency) != self.amount.number:
            raise InvalidInput(f"{currency} has fewer decimals than this amount.", field="amount")
        return amount

    def take(self, refusal: InvalidInput) -> None:
        """Show a refusal of the verb at the field that it names."""
        field: Any = self.reason if refusal.field == "reason" else self.amount
        field.errors = [*field.errors, refusal.sentence]


@bp.app_context_processor
def _offer_refunds() -> dict[str, object]:
    """The pages of an invoice say what went back, and offer a refund where there is something to give back."""
    return {"went_back_of": went_back_of, "refundable": refundable}


@bp.get("/invoices/<uuid:public_id>/refund")
@policy("void invoices")
def new(public_id: UUID) -> str | tuple[str, int]:
    """The form, with all that is left."""
    invoice = invoice_of(public_id)
    left = refundable(invoice)
    if left <= 0:
        return _refused(invoice, InvalidTransition("Nothing of this invoice can be refunded now."))
    return _form_page(invoice, RefundForm(formdata=None, amount=major_text(left, invoice.currency)))


@bp.post("/invoices/<uuid:public_id>/refund")
@policy("void invoices")
def create(public_id: UUID) -> str | Response | tuple[str, int]:
    """Three steps, each a plain form: review says what it does, edit goes back, confirm starts the refund."""
    invoice, form, step = invoice_of(public_id), RefundForm(), request.form.get("step")
    if step == "edit":
        return _form_page(invoice, form)
    if not form.validate():
        return _form_page(invoice, form), 422
    try:
        amount = form.minor(invoice.currency)
        if step == "confirm":
            return _start(invoice, form, amount)
        check_refund(invoice, amount, form.reason.data or "")
    except InvalidInput as refusal:
        form.take(refusal)
        return _form_page(invoice, form), 422
    except InvalidTransition as refusal:
        return _refused(invoice, refusal)
    return render_template("admin/refunds/review.html", invoice=invoice, form=form, amount=amount)


def _start(invoice: Invoice, form: RefundForm, amount: int) -> Response:
    with transaction():
        refund = start_refund(
            invoice.id,
            amount=amount,
            reason=form.reason.data or "",
            by=me().name,
            form_token=UUID(form.form_token.data or ""),
            now=clock.now(),
        )
    flash(f"{money(refund.amount, invoice.currency)} of {invoice.number} is being refunded, once.", "success")
    return redirect(url_for("admin_invoices.show", public_id=invoice.public_id), 303)


def _form_page(invoice: Invoice, form: RefundForm) -> str:
    return render_template("admin/refunds/form.html", invoice=invoice, form=form, left=refundable(invoice))


def _refused(invoice: Invoice, refusal: InvalidTransition) -> tuple[str, int]:
    return refused(invoice.public_id, refusal, title="Nothing was refunded")
