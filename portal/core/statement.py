"""From lines to a total: the order of an invoice.

Usage, then subscription fees, then one-off items; each line was rounded once; the total is the sum of the
rounded lines. A negative total is never collected: it is carried to the next invoice as a balance, and a balance
is applied after everything else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from portal.core.exact import plain
from portal.core.keys import content_hash
from portal.core.money import LARGEST_AMOUNT


class LineKind(StrEnum):
    """What a line bills."""

    USAGE = "usage"
    RECURRING = "recurring"
    ONE_OFF = "one_off"
    CREDIT = "credit"
    ADJUSTMENT = "adjustment"


_ORDER = {kind: rank for rank, kind in enumerate(LineKind)}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a statement. `amount` is in minor units; `unrounded` is what it was rounded from.

    `derivation` explains the amount for ever; `references` and `series` are the ids of what the line came from.
    """

    kind: LineKind
    description: str
    quantity: Decimal
    unit: str
    unit_amount: Decimal | None
    unrounded: Decimal
    amount: int
    period_start: date
    period_end: date
    derivation: dict[str, Any] = field(default_factory=dict)
    references: dict[str, int] = field(default_factory=dict)
    series: tuple[int, ...] = ()

    def facts(self) -> dict[str, Any]:
        """What makes this line this line: the part of it that the fingerprint covers."""
        return {
            "kind": self.kind.value,
            "description": self.description,
            "quantity": plain(self.quantity),
            "unit": self.unit,
            "unit_amount": None if self.unit_amount is None else plain(self.unit_amount),
            "unrounded": plain(self.unrounded),
            "amount": self.amount,
            "period": [self.period_start.isoformat(), self.period_end.isoformat()],
            "derivation": self.derivation,
        }


@dataclass(frozen=True, slots=True)
class Statement:
    """Lines in their order and what they come to, in minor units of one currency."""

    currency: str
    lines: tuple[Line, ...]
    total: int
    balance_applied: int
    amount_due: int
    carried_forward: int

    def fingerprint(self) -> str:
        """A hash of everything that is billed: two equal fingerprints are the same invoice."""
        return content_hash(
            {
                "currency": self.currency,
                "lines": [line.facts() for line in self.lines],
                "balance_applied": self.balance_applied,
                "amount_due": self.amount_due,
            }
        )

    @property
    def is_too_large(self) -> bool:
        """Whether it is more than one invoice may bill; it can be looked at, and not be finalized."""
        return abs(self.total) > LARGEST_AMOUNT


def compose(lines: Sequence[Line], *, currency: str, balance: int = 0) -> Statement:
    """Put lines into their order and add them up; `balance` is the organization's credit (0 or more)."""
    assert balance >= 0, balance
    ordered = tuple(sorted(lines, key=lambda line: (_ORDER[line.kind], line.description, line.period_start)))
    total = sum(line.amount for line in ordered)
    applied = min(balance, max(total, 0))
    return Statement(
        currency=currency,
        lines=ordered,
        total=total,
        balance_applied=applied,
        amount_due=max(total, 0) - applied,
        carried_forward=max(-total, 0),
    )
