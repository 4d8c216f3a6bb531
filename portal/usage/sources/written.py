"""Small checks of what people write into YAML files about sources. Every refusal names the place."""

import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from portal.core.errors import InvalidInput

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?")
_LONGEST_NUMBER = 60


def names_of(value: Any, where: str, allowed: Collection[str], needed: Collection[str] = ()) -> dict[str, Any]:
    """A mapping that has the needed names and no others than the allowed ones. Raises InvalidInput."""
    if not isinstance(value, dict):
        raise InvalidInput(f"{where} is a mapping of names and values.")
    unknown = sorted(set(value) - set(allowed))
    if unknown:
        raise InvalidInput(f"{where} has no “{unknown[0][:60]}”; it may have {', '.join(allowed)}.")
    missing = [name for name in needed if value.get(name) is None]
    if missing:
        raise InvalidInput(f"{where} lacks {', '.join(missing)}.")
    return value


def text_at(document: Mapping[str, Any], name: str, where: str) -> str:
    """A text that is not empty. Raises InvalidInput."""
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{where}: {name} is a text.")
    return value


def texts_of(value: Any, where: str) -> dict[str, str]:
    """A mapping of texts to texts that is not empty. Raises InvalidInput."""
    if not isinstance(value, dict) or not value or not all(isinstance(each, str) and each for each in value.values()):
        raise InvalidInput(f"{where} is a mapping of texts to texts.")
    return value


def as_number(value: Any) -> Decimal | None:
    """An exact number, with an exponent if need be: 0.000000001 or 1e-9. None if the text is none."""
    if not isinstance(value, str) or len(value) > _LONGEST_NUMBER or not _NUMBER.fullmatch(value):
        return None
    return Decimal(value)


def number_of(value: Any, where: str) -> Decimal:
    """An exact number. Raises InvalidInput."""
    number = as_number(value)
    if number is None:
        raise InvalidInput(f"{where} is a number such as 0.001 or 1e-3.")
    return number
