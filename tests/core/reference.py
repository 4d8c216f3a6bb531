"""The rules of rating once more, from DESIGN §5 alone and as plainly as they can be said: fractions, no shortcut.

Slow and small on purpose: tests/core/test_properties.py holds the portal's core against it. It borrows the core's
records (Terms, Coupon), and none of its functions.
"""

from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction

from portal.core.discounts import Coupon
from portal.core.terms import Model, Terms

NOTHING = Fraction(0)


def rounded(amount: Fraction) -> int:
    """Half away from zero."""
    whole = int(abs(amount) + Fraction(1, 2))  # int() cuts the fraction off
    return whole if amount >= 0 else -whole


def shared_out(whole: int, shares: Sequence[Fraction]) -> list[int]:
    """Whole units dealt out to exact shares of at least nothing: what is certain first, then one by one.

    Each goes to whoever is furthest below their share, and of equals to the earlier one.
    """
    parts = [int(share) for share in shares]
    for _ in range(whole - sum(parts)):
        behind = [share - part for share, part in zip(shares, parts, strict=True)]
        parts[behind.index(max(behind))] += 1
    return parts


def split(total: int, weights: Sequence[Fraction]) -> list[int]:
    """A total by largest remainder; a negative one is the mirror image; without any weight the first takes it all."""
    if total < 0:
        return [-part for part in split(-total, weights)]
    if not any(weights):
        return [total] + [0] * (len(weights) - 1)
    return shared_out(total, [total * weight / sum(weights) for weight in weights])


def price(terms: Terms, quantity: Fraction, *, of_period: Fraction, ended: bool = True) -> Fraction:
    """What the first `quantity` of a period costs that comes to `of_period` in all: allowance, model, then limits."""
    free = Fraction(terms.free_quantity)
    amount = _model(terms, max(quantity - free, NOTHING), max(of_period - free, NOTHING))
    return _limited(terms, amount, ended)


def price_of_events(terms: Terms, events: Sequence[Fraction], *, ended: bool = True) -> Fraction:
    """What a percentage takes of a period's first events, each by itself."""
    amount = sum((_of_event(terms, events, place) for place in range(len(events))), NOTHING)
    return _limited(terms, amount, ended)


def _limited(terms: Terms, amount: Fraction, ended: bool) -> Fraction:
    amount -= amount * Fraction(terms.discount_percent) / 100
    if ended:
        amount = max(amount, Fraction(terms.minimum))
    return amount if terms.maximum is None else min(amount, Fraction(terms.maximum))


def _model(terms: Terms, quantity: Fraction, of_period: Fraction) -> Fraction:
    each = Fraction(terms.unit_amount)
    if terms.model is Model.PACKAGE:
        begun = 0
        while begun * Fraction(terms.package_size) < quantity:
            begun += 1
        return begun * each
    if terms.model in (Model.PER_UNIT, Model.PERCENTAGE, Model.FLAT_FEE):
        return quantity * each
    if of_period == 0 and terms.zero_usage_charges_first_flat:
        return Fraction(terms.tiers[0].flat_amount)
    total = floor = NOTHING
    for tier in terms.tiers:
        top = None if tier.up_to is None else Fraction(tier.up_to)
        if terms.model is Model.VOLUME:
            if quantity and floor < of_period and (top is None or of_period <= top):
                return quantity * Fraction(tier.unit_amount) + Fraction(tier.flat_amount)
        elif quantity > floor:
            inside = (quantity if top is None else min(quantity, top)) - floor
            total += inside * Fraction(tier.unit_amount) + Fraction(tier.flat_amount)
        floor = floor if top is None else top
    return total


def _of_event(terms: Terms, events: Sequence[Fraction], place: int) -> Fraction:
    """Free until the allowed number or the allowed amount has run out, which may happen within an event."""
    before, event, allowed = sum(events[:place], NOTHING), events[place], Fraction(terms.free_quantity)
    paying = event
    if (terms.free_events or allowed) and not 0 < terms.free_events <= place:
        if not allowed or before + event <= allowed:
            return NOTHING
        paying = min(event, before + event - allowed)
    amount = max(paying * Fraction(terms.unit_amount) + Fraction(terms.fee_per_event), Fraction(terms.event_minimum))
    return amount if terms.event_maximum is None else min(amount, Fraction(terms.event_maximum))


def discounted(lines: Sequence[int], coupons: Sequence[Coupon]) -> list[int]:
    """What is left of each line: coupons of lines before those of the invoice, percentages before fixed amounts."""
    left = list(lines)
    for of_lines in (True, False):
        for by_percent in (True, False):
            for coupon in coupons:
                if (coupon.lines is not None, coupon.percent is not None) == (of_lines, by_percent):
                    left = _reduced(left, coupon)
    return left


def _reduced(lines: list[int], coupon: Coupon) -> list[int]:
    bases = [
        line if line > 0 and (coupon.lines is None or place in coupon.lines) else 0 for place, line in enumerate(lines)
    ]
    if coupon.percent is None:
        worth = min(coupon.fixed, sum(bases))
    else:
        worth = rounded(sum(bases) * Fraction(coupon.percent) / 100)
    parts = split(worth, [Fraction(base) for base in bases]) if bases else []
    return [line - part for line, part in zip(lines, parts, strict=True)]


def seconds(start: datetime, end: datetime) -> Fraction:
    """The time between two moments."""
    passed = end - start
    return Fraction(passed.days * 86_400 + passed.seconds) + Fraction(passed.microseconds, 10**6)


def mean_level(
    changes: Sequence[tuple[datetime, Fraction]], level: Fraction, start: datetime, end: datetime
) -> Fraction:
    """The area below a line of steps, by the length of its base."""
    area, moment = NOTHING, start
    for changed_at, change in sorted(changes, key=lambda each: each[0]):
        until = min(max(changed_at, start), end)
        area += level * seconds(moment, until)
        moment, level = until, level + change
    return (area + level * seconds(moment, end)) / seconds(start, end)
