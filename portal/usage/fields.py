"""The fields of an event that somebody sent: what each may hold, and the sentence for one that does not fit."""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from portal.core.errors import InvalidInput

LONGEST_TEXT = 255
MOST_PROPERTIES = 32
# Sums have room for 26 digits: a hundred thousand million of the largest events on one day.
DECIMALS, INTEGER_DIGITS = 12, 15
_PLAIN = re.compile(rf"[0-9]{{1,{INTEGER_DIGITS}}}(\.[0-9]{{1,{DECIMALS}}})?")
_WRITTEN = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def text_of(document: Mapping[str, Any], field: str) -> str:
    """A text field of 1 to 255 characters that a database can hold. Raises InvalidInput."""
    value = document.get(field)
    if isinstance(value, str) and 1 <= len(value) <= LONGEST_TEXT and storable(value):
        return value
    if value is None:
        raise InvalidInput(f"{field} is missing.", field=field)
    raise InvalidInput(f"{field} is text of 1 to {LONGEST_TEXT} characters.", field=field)


def storable(value: str) -> bool:
    """Whether PostgreSQL can hold the text: no NUL, no lone surrogate."""
    return "\0" not in value if value.isascii() else _UNSTORABLE.search(value) is None


def quantity_of(value: Any, *, negative_allowed: bool = False) -> Decimal:
    """A quantity: a JSON number or a string of digits, finite, up to 15 digits and 12 decimals. Raises InvalidInput."""
    if isinstance(value, Decimal | str) and _PLAIN.fullmatch(str(value)):
        return Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise InvalidInput("quantity is a number, or a string of digits.", field="quantity")
    if isinstance(value, str) and len(value) > INTEGER_DIGITS + DECIMALS + 2:
        raise InvalidInput(f"quantity has at most {INTEGER_DIGITS} digits and {DECIMALS} decimals.", field="quantity")
    if isinstance(value, str) and not _WRITTEN.fullmatch(value):
        raise InvalidInput("quantity is a number, or a string of digits.", field="quantity")
    try:
        quantity = Decimal(value)
    except (InvalidOperation, ValueError):
        raise InvalidInput("quantity is a number, or a string of digits.", field="quantity") from None
    if not quantity.is_finite():
        raise InvalidInput("quantity is a finite number.", field="quantity")
    exponent = int(quantity.as_tuple().exponent)
    if exponent < -DECIMALS or quantity.adjusted() >= INTEGER_DIGITS:
        raise InvalidInput(f"quantity has at most {INTEGER_DIGITS} digits and {DECIMALS} decimals.", field="quantity")
    if quantity.is_signed() and not negative_allowed and quantity != 0:
        raise InvalidInput(
            "quantity is zero or more; a correction may be negative (correction: true).", field="quantity"
        )
    return abs(quantity) if quantity == 0 else quantity


def properties_of(value: Any) -> dict[str, str]:
    """At most 32 texts under their names; none of them if there are no properties. Raises InvalidInput."""
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MOST_PROPERTIES:
        raise InvalidInput(f"properties is an object of at most {MOST_PROPERTIES} texts.", field="properties")
    for name in value:
        if not storable(name) or not 1 <= len(name) <= LONGEST_TEXT:
            raise InvalidInput("A property's name is text of 1 to 255 characters.", field="properties")
        text_of(value, name)
    return value
