"""Why one month's bill is not the other's: steps from one total to the next, which add up to the minor unit.

Of usage that both months have, the volume effect is what the change of quantity would have cost at the old average
price, and the price effect is the rest: (q₁ − q₀) · p₀ and (p₁ − p₀) · q₁, the classic split of a difference.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from portal.core.exact import EXACT
from portal.core.money import round_half_away
from portal.core.statement import LineKind


class Step(StrEnum):
    """What moves a bill, in the order in which it is told."""

    VOLUME = "volume"
    PRICE = "price"
    NEW = "new"
    GONE = "gone"
    FEES = "fees"
    PRORATION = "proration"
    ONE_OFF = "one_off"
    LATE = "late"
    TAKEN_OFF = "taken_off"
    TAX = "tax"


_STEP_OF = {
    LineKind.RECURRING: Step.FEES,
    LineKind.TRUE_UP: Step.FEES,
    LineKind.ONE_OFF: Step.ONE_OFF,
    LineKind.CREDIT: Step.ONE_OFF,
    LineKind.ADJUSTMENT: Step.LATE,
    LineKind.RESERVATION: Step.TAKEN_OFF,
    LineKind.COUPON: Step.TAKEN_OFF,
    LineKind.PROMOTIONAL: Step.TAKEN_OFF,
    LineKind.TAX: Step.TAX,
}


@dataclass(frozen=True, slots=True)
class Part:
    """One line of a bill, as far as it matters here; `amount` in minor units.

    `is_prorated` for a fee of a part of its period.
    """

    kind: LineKind
    name: str
    unit: str
    quantity: Decimal
    amount: int
    is_prorated: bool = False


@dataclass(frozen=True, slots=True)
class Effect:
    """By how much one thing moved the bill, in one step; in minor units."""

    step: Step
    name: str
    change: int


def effects_between(before: Iterable[Part], after: Iterable[Part]) -> list[Effect]:
    """What moved the bill, by step, the largest first within each; their sum is exactly the difference of the sums."""
    old, new = _together(before), _together(after)
    found: list[Effect] = []
    for key in old.keys() | new.keys():
        found += _effects_of(key, old.get(key), new.get(key))
    order = list(Step)
    moved = [each for each in found if each.change]
    return sorted(moved, key=lambda each: (order.index(each.step), -abs(each.change), each.name))


def by_step(effects: Sequence[Effect]) -> list[tuple[Step, int]]:
    """The sum of each step that moved the bill, in their order."""
    sums = {step: sum(each.change for each in effects if each.step is step) for step in Step}
    told = {each.step for each in effects}
    return [(step, change) for step, change in sums.items() if step in told]


_Key = tuple[Step | None, str, str]
_Sum = tuple[Decimal, int]


def _together(parts: Iterable[Part]) -> dict[_Key, _Sum]:
    """Quantity and amount of each thing; a price that changed within the month has left two lines of it."""
    found: dict[_Key, _Sum] = {}
    for part in parts:
        key = (Step.PRORATION if part.is_prorated else _STEP_OF.get(part.kind), part.name, part.unit)
        quantity, amount = found.get(key, (Decimal(0), 0))
        found[key] = (EXACT.add(quantity, part.quantity), amount + part.amount)
    return found


def _effects_of(key: _Key, old: _Sum | None, new: _Sum | None) -> list[Effect]:
    step, name, _ = key
    before, after = (old or (Decimal(0), 0)), (new or (Decimal(0), 0))
    if step is not None:
        return [Effect(step, name, after[1] - before[1])]
    if old is None or not before[0]:
        return [Effect(Step.NEW, name, after[1] - before[1])]
    if new is None or not after[0]:
        return [Effect(Step.GONE, name, after[1] - before[1])]
    # What the rounding leaves is in the price effect.
    more = Fraction(after[0]) - Fraction(before[0])
    volume = round_half_away(Fraction(more * before[1], Fraction(before[0])))
    return [Effect(Step.VOLUME, name, volume), Effect(Step.PRICE, name, after[1] - before[1] - volume)]
