"""Numbers as people type them: "1,234.50". The server is the judge; a refusal is a sentence."""

import re
from decimal import Decimal

from wtforms import Form, StringField, ValidationError

DIGITS, DECIMALS = 12, 12
_NUMBER = re.compile(r"-?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?")


class NumberField(StringField):
    """A text field that holds a number; `number` is its value once it has been validated."""

    number: Decimal

    def pre_validate(self, form: Form) -> None:
        """Read the text. Raises ValidationError in words."""
        self.number = read_number(self.data or "")


def read_number(text: str) -> Decimal:
    """A number with a decimal point and, if wanted, commas between thousands. Raises ValidationError."""
    cleaned = text.strip().replace("\u2212", "-")
    if not cleaned:
        raise ValidationError("Enter a number, for example 1,234.50.")
    if not _NUMBER.fullmatch(cleaned, re.ASCII):
        raise ValidationError(f"“{text[:40]}” is not a number; write it like 1,234.50.")
    number = Decimal(cleaned.replace(",", ""))
    whole, _, decimals = cleaned.replace(",", "").lstrip("-").partition(".")
    if len(whole.lstrip("0")) > DIGITS or len(decimals) > DECIMALS:
        raise ValidationError(f"At most {DIGITS} digits before the point and {DECIMALS} after it.")
    return number
