"""What a quantity costs under one price: pure, exact, unrounded.

The order is: allowance, model, discount, minimum, maximum. Each of them is granted or asked once a period, however
many segments a period is priced in. Amounts are in the currency's major unit. Rounding belongs to the invoice line
(statement.py), never here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from portal.core.exact import ZERO, exactly, plain
from portal.core.terms import Model, Terms, Tier, terms_from_json, terms_to_json

__all__ = [
    "Charge",
    "Model",
    "Step",
    "StepKind",
    "Terms",
    "Tier",
    "charge",
    "charge_prorated",
    "steps_to_json",
    "terms_from_json",
    "terms_to_json",
]


class StepKind(StrEnum):
    """What a row of a derivation says."""

    USAGE = "usage"
    EVENT_FEE = "event_fee"
    EVENT_MINIMUM = "event_minimum"
    EVENT_MAXIMUM = "event_maximum"
    DISCOUNT = "discount"
    MINIMUM = "minimum"
    MAXIMUM = "maximum"


@dataclass(frozen=True, slots=True)
class Step:
    """One row of a derivation: so many units (or events) at this unit amount, and a flat amount.

    A discount and what a maximum takes off have a negative flat amount; what a minimum adds, a positive one.
    """

    quantity: Decimal
    unit_amount: Decimal
    flat_amount: Decimal
    amount: Decimal
    kind: StepKind = StepKind.USAGE


@dataclass(frozen=True, slots=True)
class Charge:
    """The unrounded amount of a quantity and the steps that add up to it."""

    amount: Decimal
    steps: tuple[Step, ...]

    def sum_of(self, *kinds: StepKind) -> Decimal:
        """What all steps of these kinds come to."""
        return _sum(step for step in self.steps if step.kind in kinds)


def steps_to_json(result: Charge) -> list[dict[str, str]]:
    """The steps of a charge as a derivation keeps them: unrounded, in plain text, so that no digit is lost."""
    return [
        {
            "kind": step.kind.value,
            "quantity": plain(step.quantity),
            "unit_amount": plain(step.unit_amount),
            "flat_amount": plain(step.flat_amount),
            "amount": plain(step.amount),
        }
        for step in result.steps
    ]


@exactly
def charge(
    terms: Terms,
    quantity: Decimal,
    *,
    already: Decimal = ZERO,
    period_quantity: Decimal | None = None,
    already_billed: Decimal = ZERO,
    period_ends: bool = True,
    events: Sequence[Decimal] | int | None = None,
    already_events: int = 0,
) -> Charge:
    """Price a quantity, going on from what the period has already reached.

    `already` is the quantity of earlier segments of the same period (a price changed in mid-month), `already_events`
    their number of events: allowance and tiers go on from there. `already_billed` is their unrounded amount, from
    which minimum and maximum go on; the minimum is asked by the segment with which the period ends.
    `period_quantity` is the whole period's quantity, by which a volume price picks its tier; by default what is
    known so far.

    `events` are the amounts of a percentage's events, in the order of their time; their sum is the quantity. Their
    number alone will do unless `terms.needs_event_amounts`, and without a fee for each not even that is needed.
    """
    assert quantity.is_finite(), quantity
    assert quantity >= 0, quantity
    assert already >= 0, already
    if terms.model is Model.PERCENTAGE:
        steps = _percentage(terms, quantity, already, events, already_events)
    else:
        steps = _priced(terms, quantity, already, period_quantity, begun=already > 0 or already_billed > 0)
    steps += _discount_and_limits(terms, _sum(steps), already_billed, period_ends)
    return Charge(_sum(steps), tuple(steps))


def _priced(
    terms: Terms, quantity: Decimal, already: Decimal, period_quantity: Decimal | None, *, begun: bool
) -> list[Step]:
    billable = _beyond(terms.free_quantity, quantity, already)
    start = max(already - terms.free_quantity, ZERO)
    total = max((already + quantity if period_quantity is None else period_quantity) - terms.free_quantity, ZERO)
    # Nothing was used in the whole period: said once, in its first segment.
    idle = total == 0 and not begun and terms.zero_usage_charges_first_flat
    match terms.model:
        case Model.GRADUATED | Model.GRADUATED_PERCENTAGE:
            return _graduated(terms, start, billable, idle)
        case Model.VOLUME:
            tier = _tier_of(terms.tiers, total)
            starts_here = idle or (start == 0 and billable > 0)
            return [_step(billable, tier.unit_amount, tier.flat_amount if starts_here else ZERO)]
        case Model.PACKAGE:
            packages = _packages(start + billable, terms.package_size) - _packages(start, terms.package_size)
            return [_step(packages, terms.unit_amount)]
        case _:
            return [_step(billable, terms.unit_amount)]


def _beyond(free: Decimal, quantity: Decimal, already: Decimal) -> Decimal:
    """The part of a quantity that the allowance, as far as it is left, does not cover."""
    return max(quantity - max(free - already, ZERO), ZERO)


def _step(
    quantity: Decimal, unit_amount: Decimal, flat_amount: Decimal = ZERO, kind: StepKind = StepKind.USAGE
) -> Step:
    return Step(quantity, unit_amount, flat_amount, quantity * unit_amount + flat_amount, kind)


def _flat(amount: Decimal, kind: StepKind, quantity: int = 1) -> list[Step]:
    """A row for an amount that belongs to no unit; no row for none."""
    return [_step(Decimal(quantity), ZERO, amount, kind)] if amount else []


def _sum(steps: Iterable[Step]) -> Decimal:
    return sum((step.amount for step in steps), ZERO)


def _graduated(terms: Terms, start: Decimal, billable: Decimal, idle: bool) -> list[Step]:
    """Each unit at the tier that it falls in; a tier's flat amount when the period first enters it."""
    steps, floor, end = [], ZERO, start + billable
    for index, tier in enumerate(terms.tiers):
        ceiling = end if tier.up_to is None else min(tier.up_to, end)
        units = max(ceiling - max(start, floor), ZERO)
        entered = units > 0 and start <= floor
        idle_first = index == 0 and idle
        if units > 0 or idle_first:
            steps.append(_step(units, tier.unit_amount, tier.flat_amount if entered or idle_first else ZERO))
        if tier.up_to is None or tier.up_to >= end:
            break
        floor = tier.up_to
    return steps


def _tier_of(tiers: Sequence[Tier], quantity: Decimal) -> Tier:
    return next(tier for tier in tiers if tier.up_to is None or quantity <= tier.up_to)


def _packages(quantity: Decimal, size: Decimal) -> Decimal:
    """Begun packages: 101 of 100 are two. Counted with integers, because a quotient may have no end."""
    whole, rest = divmod(quantity, size)
    return whole + (1 if rest else 0)


def _percentage(
    terms: Terms, quantity: Decimal, already: Decimal, events: Sequence[Decimal] | int | None, already_events: int
) -> list[Step]:
    if events is None or isinstance(events, int):
        assert not terms.needs_event_amounts, "these terms look at the amount of each event"
        assert events is not None or not terms.fee_per_event, "a fee per event needs their number"
        return _rated(terms, _beyond(terms.free_quantity, quantity, already), events or 0)
    assert sum(events, ZERO) == quantity, "the events' amounts add up to the quantity"
    assert all(amount >= 0 for amount in events), "an event's amount is zero or more"
    paying = list(_paying_parts(terms, events, already, already_events))
    raised, lowered = [], []
    for part in paying:
        amount = part * terms.unit_amount + terms.fee_per_event
        if amount < terms.event_minimum:
            raised.append(terms.event_minimum - amount)
        elif terms.event_maximum is not None and amount > terms.event_maximum:
            lowered.append(terms.event_maximum - amount)
    return [
        *_rated(terms, sum(paying, ZERO), len(paying)),
        *_flat(sum(raised, ZERO), StepKind.EVENT_MINIMUM, len(raised)),
        *_flat(sum(lowered, ZERO), StepKind.EVENT_MAXIMUM, len(lowered)),
    ]


def _rated(terms: Terms, turnover: Decimal, events: int) -> list[Step]:
    fees = [_step(Decimal(events), terms.fee_per_event, kind=StepKind.EVENT_FEE)] if terms.fee_per_event else []
    return [_step(turnover, terms.unit_amount), *fees]


def _paying_parts(terms: Terms, events: Sequence[Decimal], already: Decimal, already_events: int) -> Iterator[Decimal]:
    """What the allowance leaves of each event that it does not cover whole. Only such an event pays the fee.

    Source: Lago's percentage charge, whose free units by number and by amount end with whichever runs out first.
    """
    reached = already
    for number, amount in enumerate(events, already_events + 1):
        before, reached = reached, reached + amount
        allowed = terms.free_events > 0 or terms.free_quantity > 0
        if not allowed or 0 < terms.free_events < number:
            yield amount
        elif 0 < terms.free_quantity < reached:
            yield _beyond(terms.free_quantity, amount, before)


def _discount_and_limits(terms: Terms, amount: Decimal, already_billed: Decimal, period_ends: bool) -> list[Step]:
    """The discount first, so that the minimum is what is paid in the end and the maximum is never undercut by it.

    Source: OpenMeter's rating tests (a 50 % discount of 200, then a maximum of 100 less 35 billed before, is 65).
    """
    discount = amount * terms.discount_percent.scaleb(-2)
    amount -= discount
    billed = already_billed + amount
    missing = max(terms.minimum - billed, ZERO) if period_ends else ZERO
    excess = ZERO if terms.maximum is None else min(max(billed - terms.maximum, ZERO), amount)
    return [
        *_flat(-discount, StepKind.DISCOUNT),
        *_flat(missing, StepKind.MINIMUM),
        *_flat(-excess, StepKind.MAXIMUM),
    ]


def charge_prorated(terms: Terms, changes: Sequence[tuple[Decimal, Decimal]]) -> Fraction:
    """A graduated price of units that came and went within the period: the unrounded amount, zero or more.

    Each change is so many full units (negative when units left) and their prorated units. The full units fill the
    tiers, in order; the price is taken on the prorated ones. A tier's flat amount is taken when it is first entered.
    Source: Lago's prorated graduated charge. A volume price needs no more than `charge`, with the prorated units as
    quantity and the full units as `period_quantity`.
    """
    assert terms.model is Model.GRADUATED, terms.model
    level = highest = total = Fraction(0)
    for full, prorated in changes:
        before, level = level, level + Fraction(full)
        highest = max(highest, level)
        low, high = min(before, level), max(before, level)
        for floor, tier in _floors(terms.tiers):
            ceiling = high if tier.up_to is None else min(high, Fraction(tier.up_to))
            # What lies below nothing goes on at the first tier's price.
            units = max(ceiling - (low if floor == 0 else max(low, floor)), Fraction(0))
            if units:
                total += Fraction(prorated) * Fraction(units, high - low) * Fraction(tier.unit_amount)
    for floor, tier in _floors(terms.tiers):
        if highest > floor or (floor == 0 and terms.zero_usage_charges_first_flat):
            total += Fraction(tier.flat_amount)
    return max(total, Fraction(0))


def _floors(tiers: Sequence[Tier]) -> Iterator[tuple[Fraction, Tier]]:
    """Each tier with its exclusive lower bound."""
    floor = Fraction(0)
    for tier in tiers:
        yield floor, tier
        floor = Fraction(tier.up_to or 0)
