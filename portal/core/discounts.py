"""Coupons: what each line loses, in minor units.

Coupons of named lines come before those of the whole invoice, and among each, percentages before fixed amounts; in
this order every one takes from what the ones before it have left, and never more than that. One coupon is rounded
once and split over its lines by largest remainder, so the parts add up to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from portal.core.errors import InvalidInput
from portal.core.money import allocate, round_half_away


@dataclass(frozen=True, slots=True)
class Coupon:
    """Either a percentage or a fixed amount in minor units; of the lines with these indexes, or of the whole invoice.

    Raises InvalidInput for both or neither, a percentage outside 0 to 100, and a negative amount.
    """

    percent: Decimal | None = None
    fixed: int | None = None
    lines: frozenset[int] | None = None

    def __post_init__(self) -> None:
        if (self.percent is None) == (self.fixed is None):
            raise InvalidInput("A coupon is either a percentage or a fixed amount.", field="percent")
        if self.percent is not None and not (self.percent.is_finite() and 0 <= self.percent <= 100):
            raise InvalidInput("A coupon's percentage lies between 0 and 100.", field="percent")
        if self.fixed is not None and self.fixed < 0:
            raise InvalidInput("A coupon's amount is zero or more.", field="fixed")

    def worth(self, amount: int) -> int:
        """What this coupon takes off an amount of zero or more: never more than there is."""
        if self.percent is not None:
            return round_half_away(amount * Fraction(self.percent) * Fraction(1, 100))
        return min(self.fixed or 0, amount)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a coupon takes off each line, and the amount that it was taken from, in minor units."""

    base: int
    parts: list[int]


def reductions_of(lines: Sequence[int], coupons: Sequence[Coupon]) -> list[Taken]:
    """What each coupon takes off, coupon by coupon as they were given.

    Lines that are credits (below zero) are neither discounted nor counted.
    """
    left = [max(amount, 0) for amount in lines]
    taken: dict[int, Taken] = {}
    # A stable sort: coupons of the same rank apply in the order in which they were given.
    for place in sorted(range(len(coupons)), key=lambda each: _rank(coupons[each])):
        coupon = coupons[place]
        base = [amount if coupon.lines is None or index in coupon.lines else 0 for index, amount in enumerate(left)]
        whole = sum(base)
        taken[place] = Taken(whole, allocate(coupon.worth(whole), base) if whole else [0] * len(base))
        left = [amount - part for amount, part in zip(left, taken[place].parts, strict=True)]
    return [taken[place] for place in range(len(coupons))]


def _rank(coupon: Coupon) -> tuple[bool, bool]:
    return coupon.lines is None, coupon.percent is None


def discounts_of(lines: Sequence[int], coupons: Sequence[Coupon]) -> list[int]:
    """What each line loses to all coupons together: between zero and the line's amount."""
    taken = [each.parts for each in reductions_of(lines, coupons)]
    return [sum(parts) for parts in zip([0] * len(lines), *taken, strict=True)]
