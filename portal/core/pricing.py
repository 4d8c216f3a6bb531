"""What a quantity costs under one price: pure, exact, unrounded.

Tier bounds are lower exclusive, upper inclusive, in the quantity's own precision: 99.5 belongs to a tier.
Amounts are in the currency's major unit. Rounding belongs to the invoice line (statement.py), never here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from portal.core.errors import InvalidInput
from portal.core.exact import ZERO, exactly, plain


class Model(StrEnum):
    """How a price turns a quantity into an amount."""

    PER_UNIT = "per_unit"
    GRADUATED = "graduated"
    VOLUME = "volume"
    PACKAGE = "package"
    FLAT_FEE = "flat_fee"


@dataclass(frozen=True, slots=True)
class Tier:
    """One step of a tiered price; `up_to` None is the open end."""

    up_to: Decimal | None
    unit_amount: Decimal
    flat_amount: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of one price version. `free_quantity` is granted once a period, before anything is priced."""

    model: Model
    unit_amount: Decimal = ZERO
    tiers: tuple[Tier, ...] = ()
    package_size: Decimal = Decimal(1)
    free_quantity: Decimal = ZERO
    zero_usage_charges_first_flat: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One row of a derivation: so many units at this unit amount, and a flat amount."""

    quantity: Decimal
    unit_amount: Decimal
    flat_amount: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Charge:
    """The unrounded amount of a quantity and the steps that it came from."""

    amount: Decimal
    steps: tuple[Step, ...]


@exactly
def charge(
    terms: Terms, quantity: Decimal, *, already: Decimal = ZERO, period_quantity: Decimal | None = None
) -> Charge:
    """Price a quantity, going on from what the period has already reached.

    `already` is the quantity of earlier segments of the same period (a price changed in mid-month); allowance
    and tiers go on from there. `period_quantity` is the whole period's quantity, by which a volume price picks
    its tier; by default what is known so far.
    """
    assert quantity.is_finite(), quantity
    assert quantity >= 0, quantity
    free_left = max(terms.free_quantity - already, ZERO)
    billable = max(quantity - free_left, ZERO)
    start = max(already - terms.free_quantity, ZERO)
    total = max((already + quantity if period_quantity is None else period_quantity) - terms.free_quantity, ZERO)
    # Nothing was used in the whole period: said once, in its first segment.
    idle = total == 0 and already == 0 and terms.zero_usage_charges_first_flat
    match terms.model:
        case Model.PER_UNIT:
            steps = [_step(billable, terms.unit_amount)]
        case Model.GRADUATED:
            steps = _graduated(terms, start, billable, idle)
        case Model.VOLUME:
            tier = _tier_of(terms.tiers, total)
            starts_here = idle or (start == 0 and billable > 0)
            steps = [_step(billable, tier.unit_amount, tier.flat_amount if starts_here else ZERO)]
        case Model.PACKAGE:
            packages = _packages(start + billable, terms.package_size) - _packages(start, terms.package_size)
            steps = [_step(packages, terms.unit_amount)]
        case Model.FLAT_FEE:
            steps = [_step(quantity, terms.unit_amount)]
    return Charge(sum((step.amount for step in steps), ZERO), tuple(steps))


def _step(quantity: Decimal, unit_amount: Decimal, flat_amount: Decimal = ZERO) -> Step:
    return Step(quantity, unit_amount, flat_amount, quantity * unit_amount + flat_amount)


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
    return whole.to_integral_value(ROUND_CEILING) + (1 if rest else 0)


_FIELDS = {
    Model.PER_UNIT: {"unit_amount", "free_quantity"},
    Model.GRADUATED: {"tiers", "free_quantity", "zero_usage_charges_first_flat"},
    Model.VOLUME: {"tiers", "free_quantity", "zero_usage_charges_first_flat"},
    Model.PACKAGE: {"unit_amount", "package_size", "free_quantity"},
    Model.FLAT_FEE: {"unit_amount"},
}


def terms_from_json(document: Mapping[str, Any]) -> Terms:
    """Read the stored form of a price; amounts and quantities are strings so that no digit is lost.

    Raises InvalidInput, naming the field, for anything that could not be priced later.
    """
    try:
        model = Model(str(document.get("model")))
    except ValueError:
        known = ", ".join(each.value for each in Model)
        raise InvalidInput(
            f"There is no price model “{document.get('model')}”; use one of {known}.", field="model"
        ) from None
    unknown = set(document) - _FIELDS[model] - {"model"}
    if unknown:
        name = min(unknown)
        raise InvalidInput(f"A {model.value} price has no “{name}”.", field=name)
    terms = Terms(
        model=model,
        unit_amount=_number(document.get("unit_amount", "0"), "unit_amount"),
        tiers=_tiers(document.get("tiers", ()), required="tiers" in _FIELDS[model]),
        package_size=_number(document.get("package_size", "1"), "package_size"),
        free_quantity=_number(document.get("free_quantity", "0"), "free_quantity"),
        zero_usage_charges_first_flat=document.get("zero_usage_charges_first_flat", False) is True,
    )
    if terms.package_size == 0:
        raise InvalidInput("A package holds more than nothing.", field="package_size")
    return terms


def terms_to_json(terms: Terms) -> dict[str, Any]:
    """The stored form of a price: only the fields of its model, numbers as plain strings."""
    fields = _FIELDS[terms.model]
    document: dict[str, Any] = {"model": terms.model.value}
    for name in ("unit_amount", "package_size", "free_quantity"):
        if name in fields:
            document[name] = plain(getattr(terms, name))
    if "tiers" in fields:
        document["tiers"] = [
            {
                "up_to": None if tier.up_to is None else plain(tier.up_to),
                "unit_amount": plain(tier.unit_amount),
                "flat_amount": plain(tier.flat_amount),
            }
            for tier in terms.tiers
        ]
        document["zero_usage_charges_first_flat"] = terms.zero_usage_charges_first_flat
    return document


def _tiers(documents: Any, *, required: bool) -> tuple[Tier, ...]:
    if not required:
        return ()
    if not isinstance(documents, list | tuple) or not documents:
        raise InvalidInput("A tiered price has at least one tier.", field="tiers")
    tiers = []
    floor = ZERO
    for index, document in enumerate(documents):
        where = f"tiers[{index}]"
        last = index == len(documents) - 1
        if not isinstance(document, Mapping):
            raise InvalidInput("A tier is an object of up_to, unit_amount and flat_amount.", field=where)
        unknown = set(document) - {"up_to", "unit_amount", "flat_amount"}
        if unknown:
            name = min(unknown)
            raise InvalidInput(f"A tier has no “{name}”.", field=f"{where}.{name}")
        bound = document.get("up_to")
        up_to = None if bound is None else _number(bound, f"{where}.up_to")
        if (up_to is None) is not last:
            raise InvalidInput(
                "Every tier but the last has an upper bound, and the last has none.", field=f"{where}.up_to"
            )
        if up_to is not None and up_to <= floor:
            raise InvalidInput("Each tier ends above the one before it.", field=f"{where}.up_to")
        tiers.append(
            Tier(
                up_to,
                _number(document.get("unit_amount", "0"), f"{where}.unit_amount"),
                _number(document.get("flat_amount", "0"), f"{where}.flat_amount"),
            )
        )
        floor = up_to or floor
    return tuple(tiers)


def _number(value: Any, field: str) -> Decimal:
    if not isinstance(value, str | int | Decimal) or isinstance(value, bool):
        raise InvalidInput(f"{field} is written as a string of digits.", field=field)
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise InvalidInput(f"“{value}” is not a number.", field=field) from None
    if not number.is_finite() or number < 0:
        raise InvalidInput(f"{field} is a number of zero or more, not “{value}”.", field=field)
    return number
