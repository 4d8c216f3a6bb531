"""From last month's total to this month's: how much of the difference is volume, price, new, removed, and so on.

Pure and exact: the steps always add up to the difference, to the last minor unit.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Protocol

from portal.core.money import round_half_away
from portal.core.statement import LineKind

# In the order in which they stand between the two totals.
STEPS = {
    "volume": "Volume",
    "price": "Price",
    "new": "New",
    "removed": "Removed",
    "one_off": "One-off items",
    "proration": "Proration",
    "late": "Late usage",
    "commitment": "Minimum commitment",
    "taken_off": "Discounts and credits",
    "tax": "Tax",
}
_STEP_OF_KIND = {
    LineKind.ONE_OFF: "one_off",
    LineKind.CREDIT: "one_off",
    LineKind.ADJUSTMENT: "late",
    LineKind.TRUE_UP: "commitment",
    LineKind.RESERVATION: "taken_off",
    LineKind.COUPON: "taken_off",
    LineKind.PROMOTIONAL: "taken_off",
    LineKind.TAX: "tax",
}
WHOLE = "1"


class Billed(Protocol):
    """A line, of a draft or of a final invoice; its amount in minor units."""

    @property
    def kind(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def quantity(self) -> Decimal: ...
    @property
    def amount(self) -> int: ...
    @property
    def derivation(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the way, by its code and name; `change` in minor units."""

    code: str
    name: str
    change: int


@dataclass(frozen=True, slots=True)
class Waterfall:
    """The totals of both months, in minor units, and the steps between them that are not nothing."""

    before: int
    after: int
    steps: tuple[Step, ...]


@dataclass(slots=True)
class _Sum:
    """What lines of one name come to together in a month."""

    quantity: Decimal = Decimal(0)
    amount: int = 0
    lines: int = 0


def waterfall(before: Iterable[Billed], after: Iterable[Billed]) -> Waterfall:
    """Take two months' lines apart; usage and fees of the same name are compared with each other.

    The volume effect is the difference of the quantities at the old average price, rounded once; the price effect is
    all that is left. What is prorated, and what is no usage or fee, is compared as a whole.
    """
    months = [list(before), list(after)]
    changes = dict.fromkeys(STEPS, 0)
    compared: dict[tuple[str, str], tuple[_Sum, _Sum]] = {}
    for place, lines in enumerate(months):
        for line in lines:
            step = _step_of(line)
            if step is not None:
                changes[step] += line.amount if place else -line.amount
                continue
            found = compared.setdefault((line.kind, line.description), (_Sum(), _Sum()))[place]
            found.quantity, found.amount, found.lines = (
                found.quantity + line.quantity,
                found.amount + line.amount,
                found.lines + 1,
            )
    for then, now in compared.values():
        for step, change in _effects(then, now):
            changes[step] += change
    totals = [sum(line.amount for line in lines) for lines in months]
    steps = tuple(Step(code, STEPS[code], change) for code, change in changes.items() if change)
    return Waterfall(totals[0], totals[1], steps)


def _step_of(line: Billed) -> str | None:
    """The step of a line that is compared as a whole; None for usage, and for a fee of a whole period."""
    kind = LineKind(line.kind)
    if kind is LineKind.RECURRING and line.derivation.get("share", WHOLE) != WHOLE:
        return "proration"
    return _STEP_OF_KIND.get(kind)


def _effects(then: _Sum, now: _Sum) -> list[tuple[str, int]]:
    if not then.lines:
        return [("new", now.amount)]
    if not now.lines:
        return [("removed", -then.amount)]
    volume = 0
    if then.quantity:
        volume = round_half_away(then.amount * (Fraction(now.quantity) / Fraction(then.quantity) - 1))
    return [("volume", volume), ("price", now.amount - then.amount - volume)]
