"""The form of a one-off item, and what the item comes to."""

from datetime import date
from typing import Any
from uuid import UUID, uuid4

from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, SelectField, StringField, TextAreaField, ValidationError
from wtforms.fields import SelectChoice
from wtforms.validators import DataRequired, Length

from portal.admin.typed_fields import DayField
from portal.catalog.queries import product_names
from portal.catalog.tax_rates import tax_codes
from portal.core.errors import InvalidInput
from portal.core.exact import exactly, plain
from portal.core.money import round_to_minor
from portal.infra.typed_numbers import NumberField
from portal.invoicing.item_requests import AskedItem
from portal.invoicing.models import ItemTemplate

KINDS = [
    SelectChoice("charge", "Charge: the customer pays more"),
    SelectChoice("credit", "Credit: the customer pays less"),
]
# What the verb calls a field, and what the form does.
_FORM_NAMES = {"unit_amount": "unit_price", "total": "unit_price", "service_end": "service_to"}


def _products() -> list[SelectChoice]:
    return [SelectChoice("", "No product: the standard rate"), *(SelectChoice(name, name) for name in product_names())]


def _tax_codes() -> list[SelectChoice]:
    return [SelectChoice("", "As its product"), *(SelectChoice(code, words) for code, words in tax_codes().items())]


class ItemFields(FlaskForm):
    """What items and their templates have in common."""

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
    product = SelectField(
        "Product",
        choices=_products,
        default="",
        description="Tax rates, coupons and the group on paper are those of the product.",
    )
    tax_code = SelectField(
        "Tax",
        choices=_tax_codes,
        default="",
        description="Only if this item is taxed otherwise than its product. Who owes no tax pays none on it either.",
    )

    def validate_quantity(self, field: NumberField) -> None:
        """Nothing is not a quantity, and giving back is what credits are for."""
        if field.number <= 0:
            raise ValidationError("The quantity is more than zero.")

    def validate_unit_price(self, field: NumberField) -> None:
        """The sign is the type's."""
        if field.number < 0:
            raise ValidationError("The unit price is zero or more; choose “Credit” to give money back.")

    def item_values(self) -> dict[str, Any]:
        """What both verbs take, once the form is valid."""
        return {
            "kind": self.kind.data,
            "description": (self.description.data or "").strip(),
            "quantity": self.quantity.number,
            "unit_amount": self.unit_price.number,
            "product": self.product.data or None,
            "tax_code": self.tax_code.data or None,
        }

    def tax_words(self) -> str:
        """The tax code that was chosen, in words."""
        return tax_codes()[self.tax_code.data]

    @staticmethod
    def filled_from(template: ItemTemplate) -> dict[str, str]:
        """What the fields begin with when a template is used or changed."""
        return {
            "kind": template.kind,
            "description": template.description,
            "quantity": plain(template.quantity),
            "unit_price": plain(template.unit_amount),
            "product": template.product or "",
            "tax_code": template.tax_code or "",
        }

    def take(self, refusal: InvalidInput) -> None:
        """Show a refusal of the verb at the field that it names."""
        name = _FORM_NAMES.get(refusal.field or "", refusal.field or "")
        field: Any = self._fields.get(name, self.unit_price)
        field.errors = [*field.errors, refusal.sentence]


class ItemForm(ItemFields):
    """What a person says of an item. `form_token` makes a form that is sent twice add one item."""

    service_from = DayField("Service period from", optional=True)
    service_to = DayField("Service period to", optional=True)
    internal_reason = TextAreaField(
        "Internal reason",
        [Length(max=500, message="A reason has at most 500 characters.")],
        description="For the audit log, with the ticket if there is one. The customer does not see it.",
    )
    form_token = HiddenField(default=lambda: str(uuid4()))

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

    def validate_service_to(self, field: DayField) -> None:
        """Both days or none, in their order."""
        if (self.service_from.day is None) != (field.day is None):
            raise ValidationError("A service period has two days; leave both empty for the invoice's month.")
        if self.service_from.day and field.day and self.service_from.day > field.day:
            raise ValidationError("The service period ends on its first day or later.")

    def service_period(self) -> tuple[date, date] | None:
        """When the work was done; None if in the invoice's month."""
        first, last = self.service_from.day, self.service_to.day
        return (first, last) if first and last else None

    def asked(self) -> AskedItem:
        """What the verb takes, once the form is valid."""
        reason = (self.internal_reason.data or "").strip() or None
        return AskedItem(**self.item_values(), service_period=self.service_period(), internal_reason=reason)

    def token(self) -> UUID:
        """What makes the form that is sent twice one item, once the form is valid."""
        return UUID(self.form_token.data or "")

    @exactly
    def amount_in(self, currency: str) -> int:
        """What the item comes to in minor units, rounded once, as its invoice line will be."""
        amount = round_to_minor(self.quantity.number * self.unit_price.number, currency)
        return -amount if self.kind.data == "credit" else amount
