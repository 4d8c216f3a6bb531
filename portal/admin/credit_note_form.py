"""The form of a credit note: all that is left, an amount, or parts of chosen lines; and what of it was typed."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from flask_wtf import FlaskForm
from wtforms import Field, Form, HiddenField, SelectField, TextAreaField, ValidationError
from wtforms.fields import SelectChoice
from wtforms.validators import DataRequired, Length

from portal.core.errors import InvalidInput
from portal.core.money import exponent_of, round_to_minor, to_major
from portal.infra.typed_numbers import NumberField
from portal.invoicing.credit_note_figures import Billed, Chosen
from portal.invoicing.credit_notes import LONGEST_REASON, Wish

SCOPES = [
    SelectChoice("full", "All that is left of the invoice"),
    SelectChoice("amount", "An amount of the invoice"),
    SelectChoice("lines", "Quantities or amounts of chosen lines"),
]
PAID_BACK = [
    SelectChoice("balance", "To the account balance: it pays the next invoices"),
    SelectChoice("stripe", "Refund through Stripe: the customer gets the money back"),
]


class OptionalNumberField(NumberField):
    """A number, or nothing: then `number` is None."""

    number: Decimal | None = None  # type: ignore[assignment]

    def pre_validate(self, form: Form) -> None:
        """Read the text, if there is any. Raises StopValidation in words."""
        if (self.data or "").strip():
            super().pre_validate(form)


class CreditNoteForm(FlaskForm):
    """What a person says of a credit note. `form_token` makes a form that is sent twice make one note."""

    scope = SelectField("What to credit", choices=SCOPES, default="full")
    amount = OptionalNumberField("Amount")
    refund = SelectField("What was paid goes", choices=PAID_BACK, default="balance")
    reason = TextAreaField(
        "Reason",
        [
            DataRequired("Say why; the credit note shows it."),
            Length(max=LONGEST_REASON, message=f"A reason has at most {LONGEST_REASON} characters."),
        ],
        description="The customer sees it on the credit note. The audit log keeps it too.",
    )
    form_token = HiddenField(default=lambda: str(uuid4()))

    def validate_amount(self, field: OptionalNumberField) -> None:
        """An amount is typed where one is asked for, and only there."""
        if self.scope.data == "amount" and field.number is None:
            raise ValidationError("Enter an amount, for example 12.50.")

    def validate_scope(self, field: Field) -> None:
        """What was typed is what is meant."""
        if field.data == "lines" and not self._typed():
            raise ValidationError("Enter a quantity or an amount at one line at least.")
        if field.data != "lines" and self._typed():
            raise ValidationError("Quantities or amounts of lines were entered: choose them here, or take them out.")

    def validate_form_token(self, field: Field) -> None:
        """Only a token that this form gave out."""
        try:
            UUID(field.data or "")
        except ValueError:
            raise ValidationError("The form is too old. Reload the page and fill it in again.") from None

    def line_field(self, what: str, number: int) -> Any:
        """The field for the quantity or the amount of a line; None if the line has none."""
        return self._fields.get(f"{what}_{number}")

    def token(self) -> UUID:
        """What tells a form that is sent twice from a second one."""
        return UUID(self.form_token.data or "")

    def wants_refund(self) -> bool:
        """Whether what was paid goes back through Stripe."""
        return bool(self.refund.data == "stripe")

    def wish(self, currency: str) -> Wish:
        """What the verb takes, once the form is valid. Raises InvalidInput for a fraction of a minor unit."""
        if self.scope.data == "amount":
            return Wish(amount=_minor(self.amount, currency))
        return Wish(lines={number: self._chosen(number, currency) for number in self._typed()})

    def kept(self) -> list[Field]:
        """The fields whose values a review carries on, hidden."""
        return [field for field in self if field.name != "csrf_token" and field.data]

    def take(self, refusal: InvalidInput) -> None:
        """Show a refusal of the verb at the field that it names."""
        named = refusal.field or ""
        typed = next((field for field in self._line_fields(named) if (field.data or "").strip()), None)
        field: Any = typed or self._fields.get(named) or self.scope
        field.errors = [*field.errors, refusal.sentence]

    def _typed(self) -> list[int]:
        """The numbers of the lines at which something was typed."""
        names = [name for name in self._fields if name.startswith(("quantity_", "amount_"))]
        return sorted({int(name.partition("_")[2]) for name in names if (self._fields[name].data or "").strip()})

    def _line_fields(self, number: str) -> list[Any]:
        return [self._fields[name] for name in (f"quantity_{number}", f"amount_{number}") if name in self._fields]

    def _chosen(self, number: int, currency: str) -> Chosen:
        quantity, amount = self.line_field("quantity", number), self.line_field("amount", number)
        typed_amount = amount.number is not None
        if quantity is not None and quantity.number is not None:
            if typed_amount:
                raise InvalidInput("Enter a quantity or an amount, not both.", field=str(number))
            return Chosen(quantity=quantity.number)
        return Chosen(amount=_minor(amount, currency, field=str(number)))


def form_for(lines: Sequence[Billed]) -> type[CreditNoteForm]:
    """The form for an invoice with these lines: with a quantity, where one is counted, and an amount of each."""
    fields: dict[str, Any] = {}
    for line in lines:
        if not line.can_be_chosen:
            continue
        if line.quantity_left > 0:
            fields[f"quantity_{line.number}"] = OptionalNumberField(f"Quantity of line {line.number}")
        fields[f"amount_{line.number}"] = OptionalNumberField(f"Amount of line {line.number}")
    return type("CreditNoteOfLinesForm", (CreditNoteForm,), fields)


def _minor(typed: OptionalNumberField, currency: str, *, field: str = "amount") -> int:
    number = typed.number or Decimal(0)
    minor = round_to_minor(number, currency)
    if to_major(minor, currency) != number:
        raise InvalidInput(f"{currency} has {exponent_of(currency)} decimals.", field=field)
    return minor
