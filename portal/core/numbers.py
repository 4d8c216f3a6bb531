"""Numbers as people type them: "1,234.50"."""

import re
from decimal import Decimal

DIGITS, DECIMALS = 12, 12
_NUMBER = re.compile(r"-?([0-9]{1,3}(,[0-9]{3})+|[0-9]+)(\.[0-9]+)?")


def read_number(text: str) -> Decimal:
    """A number with a decimal point and, if wanted, commas between thousands. Raises ValueError with a sentence."""
    cleaned = text.strip().replace("\u2212", "-")
    if not cleaned:
        raise ValueError("Enter a number, for example 1,234.50.")
    if not _NUMBER.fullmatch(cleaned):
        raise ValueError(f"“{text[:40]}” is not a number; write it like 1,234.50.")
    number = Decimal(cleaned.replace(",", ""))
    whole, _, decimals = cleaned.replace(",", "").lstrip("-").partition(".")
    if len(whole.lstrip("0")) > DIGITS or len(decimals) > DECIMALS:
        raise ValueError(f"At most {DIGITS} digits before the point and {DECIMALS} after it.")
    return number
