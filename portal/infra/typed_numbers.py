"""Form fields for numbers as people type them. The server is the judge; a refusal is a sentence."""

from decimal import Decimal

from wtforms import Form, StringField
from wtforms.validators import StopValidation

from portal.core.numbers import read_number


class NumberField(StringField):
    """A text field that holds a number; `number` is its value once it has been validated."""

    number: Decimal

    def pre_validate(self, form: Form) -> None:
        """Read the text. Raises StopValidation in words: the other rules need a number to judge."""
        try:
            self.number = read_number(self.data or "")
        except ValueError as error:
            raise StopValidation(str(error)) from None
