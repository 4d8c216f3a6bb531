"""The form of a one-off item, and what the item comes to."""

from typing import Any
from uuid import UUID, uuid4

from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, SelectField, StringField, TextAreaField, ValidationError
from wtforms.fields import SelectChoice
from wtforms.validators import DataRequired, Length

from portal.core.errors import InvalidInput
from portal.core.exact import exactly
from portal.core.money import round_to_minor
from portal.infra.typed_numbers import NumberField

KINDS = [
    SelectChoice("charge", "Charge: the customer pays more"),
    SelectChoice("credit", "Credit: the customer pays less"),
]
# What the verb calls a field, and what the form does.
_FORM_NAMES = {"unit_amount": "unit_price", "total": "unit_price"}


class ItemForm(FlaskForm):
    """What a person says of an item. `form_token` makes a form that is sent twice add one item."""

    description = StringField(
        "Description",
        [
            DataRequired("Enter a description, for example “Migration assistance”."),
            Length(max=200, message="A description has at most 200 characters."),
        ],
        description="The customer sees it on the invoice.",
    )
    kind = SelectField("Type", choices=KINDS, default="charge")
    quantity = NumberField("Quantity", default="1")
    unit_price = NumberField("Unit price")
    internal_reason = TextAreaField(
        "Internal reason",
        [Length(max=500, message="A reason has at most 500 characters.")],
        description="For the audit log, with the ticket if there is one. The customer does not see it.",
    )
    form_token = HiddenField(default=lambda: str(uuid4()))

    def validate_quantity(self, field: NumberField) -> None:
        """Nothing is not a quantity, and giving back is what credits are for."""
        if field.number <= 0:
            raise ValidationError("The quantity is more than zero.")

    def validate_unit_price(self, field: NumberField) -> None:
        """The sign is the type's."""
        if field.number < 0:
            raise ValidationError("The unit price is zero or more; choose “Credit” to give money back.")

    def validate_internal_reason(self, field: Field) -> None:
        """Giving money away is always explained."""
        if self.kind.data == "credit" and not (field.data or "").strip():
            raise ValidationError("A credit needs a reason, for the audit log.")

    def validate_form_token(self, field: Field) -> None:
        """Only a token that this form gave out."""
        try:
            UUID(field.data or "")
        except ValueError:
            raise ValidationError("The form is too old. Reload the page and fill it in again.") from None

    def values(self) -> dict[str, Any]:
        """What the verb takes, once the form is valid."""
        return {
            "kind": self.kind.data,
            "description": (self.description.data or "").strip(),
            "quantity": self.quantity.number,
            "unit_amount": self.unit_price.number,
            "internal_reason": (self.internal_reason.data or "").strip() or None,
            "form_token": UUID(self.form_token.data or ""),
        }

    @exactly
    def amount_in(self, currency: str) -> int:
        """What the item comes to in minor units, rounded once, as its invoice line will be."""
        amount = round_to_minor(self.quantity.number * self.unit_price.number, currency)
        return -amount if self.kind.data == "credit" else amount

    def take(self, refusal: InvalidInput) -> None:
        """Show a refusal of the verb at the field that it names."""
        name = _FORM_NAMES.get(refusal.field or "", refusal.field or "")
        field: Any = self._fields.get(name, self.unit_price)
        field.errors = [*field.errors, refusal.sentence]
