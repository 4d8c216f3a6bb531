"""The lines of a document as it states them, read strictly: whoever made it may have changed anything."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from portal.core.errors import InvalidInput
from portal.core.exact import ZERO
from portal.core.statement import Line, LineKind

# What reading a document that is not ours can raise; the core asserts what one of ours never holds.
UNREADABLE = (
    *(KeyError, TypeError, ValueError, ArithmeticError, AttributeError, IndexError),
    *(AssertionError, InvalidInput),
)
_SHARE = re.compile(r"-?[0-9]{1,60}(/[0-9]{1,60})?")
_DECIMAL = re.compile(r"-?[0-9]{1,60}(\.[0-9]{1,60})?")


@dataclass(frozen=True, slots=True)
class Stated:
    """A line as a document states it; amounts are in minor units."""

    number: int
    kind: LineKind
    description: str
    quantity: Decimal
    unit: str
    unit_amount: Decimal | None
    amount: int
    first_day: date
    last_day: date
    discount: int
    credited: int
    tax: int
    derivation: Mapping[str, Any]

    @classmethod
    def of(cls, number: int, facts: Mapping[str, Any]) -> "Stated":
        """Read a line. Raises one of UNREADABLE."""
        first_day, last_day = (date.fromisoformat(day) for day in facts["period"])
        unit_amount = facts["unit_amount"]
        amounts = [facts["amount"], *(facts.get(name, 0) for name in ("discount", "credited", "tax"))]
        if not all(type(each) is int for each in amounts):
            raise TypeError(f"an amount of line {number} is not in whole minor units")
        return cls(
            number=number,
            kind=LineKind(facts["kind"]),
            description=facts["description"],
            quantity=decimal(facts["quantity"]),
            unit=facts["unit"],
            unit_amount=None if unit_amount is None else decimal(unit_amount),
            amount=amounts[0],
            first_day=first_day,
            last_day=last_day,
            discount=amounts[1],
            credited=amounts[2],
            tax=amounts[3],
            derivation=facts["derivation"],
        )

    def as_line(self, *, given_back: int) -> Line:
        """The line before anything was taken off it, taxed at the rate that it states."""
        return Line(
            kind=self.kind,
            description=self.description,
            quantity=self.quantity,
            unit=self.unit,
            unit_amount=self.unit_amount,
            unrounded=ZERO,
            amount=self.amount,
            period_start=self.first_day,
            period_end=self.last_day,
            product=self.derivation.get("product", ""),
            meter=self.derivation.get("meter", ""),
            given_back=given_back,
            tax_percent=decimal(self.derivation.get("tax_percent", "0")),
        )

    def gives_back(self, fee: "Stated") -> bool:
        """Whether this gives back a part of another line's fee."""
        same = ("price", "charged_at", "period", "terms")
        return (
            fee.kind is LineKind.RECURRING
            and not fee.derivation.get("given_back")
            and fee.quantity == self.quantity
            and all(fee.derivation.get(name) == self.derivation.get(name) for name in same)
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about one line that does not agree."""

    line: Stated
    words: str

    def __str__(self) -> str:
        return f"Line {self.line.number}, {self.line.description}: {self.words}."


def decimal(text: Any) -> Decimal:
    """A number as documents write it, in digits. Raises ValueError."""
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
        raise ValueError(f"{str(text)[:40]!r} is not a number in digits")
    return Decimal(text)


def share_of(text: Any) -> Fraction:
    """An exact fraction as documents write it: "3/31". Raises ValueError or ZeroDivisionError."""
    if not isinstance(text, str) or not _SHARE.fullmatch(text):
        raise ValueError(f"{str(text)[:40]!r} is not a fraction")
    return Fraction(text)
