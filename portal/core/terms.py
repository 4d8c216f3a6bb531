"""The terms of a price: what a version says, how it is stored, and which terms cannot be priced.

Amounts are in the currency's major unit. Tier bounds are lower exclusive, upper inclusive, in the quantity's own
precision: 99.5 belongs to a tier.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from portal.core.errors import InvalidInput
from portal.core.exact import ZERO, exactly, plain

# With these, a price times a quantity (26 and 12 digits) times a discount stays within exact.EXACT.
WHOLE_DIGITS, DECIMALS = 26, 60
_HUNDRED = Decimal(100)
WRITTEN = re.compile(r"[+-]?[0-9]{1,99}(\.[0-9]{1,99})?([eE][+-]?[0-9]{1,3})?")


class Model(StrEnum):
    """How a price turns a quantity into an amount."""

    PER_UNIT = "per_unit"
    GRADUATED = "graduated"
    VOLUME = "volume"
    PACKAGE = "package"
    PERCENTAGE = "percentage"
    GRADUATED_PERCENTAGE = "graduated_percentage"
    FLAT_FEE = "flat_fee"


@dataclass(frozen=True, slots=True)
class Tier:
    """One step of a tiered price; `up_to` None is the open end."""

    up_to: Decimal | None
    unit_amount: Decimal
    flat_amount: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of one price version.

    The quantity of a percentage is a turnover in the major unit, so its unit amount is the rate: 2.9 % is 0.029.
    Once a period: `free_quantity` and `free_events` before anything is priced (where both are set, whichever runs
    out first ends the allowance), then the model, `discount_percent`, `minimum` and `maximum`, in this order.
    Each event: its share and `fee_per_event` together are kept between `event_minimum` and `event_maximum`.
    Of a plan only, each calendar month: `monthly_credit` for usage of its meters, per seat (a reservation), and the
    `commitment` to which fee and usage are topped up.
    """

    model: Model
    unit_amount: Decimal = ZERO
    tiers: tuple[Tier, ...] = ()
    package_size: Decimal = Decimal(1)
    free_quantity: Decimal = ZERO
    zero_usage_charges_first_flat: bool = False
    fee_per_event: Decimal = ZERO
    free_events: int = 0
    event_minimum: Decimal = ZERO
    event_maximum: Decimal | None = None
    discount_percent: Decimal = ZERO
    minimum: Decimal = ZERO
    maximum: Decimal | None = None
    monthly_credit: Decimal = ZERO
    commitment: Decimal = ZERO

    @property
    def needs_event_amounts(self) -> bool:
        """Whether the sum and number of the events are not enough to price them."""
        limited = self.event_minimum > 0 or self.event_maximum is not None
        return limited or self.free_events > 0 or (self.free_quantity > 0 and self.fee_per_event > 0)


_TIERED = {"tiers", "free_quantity", "zero_usage_charges_first_flat"}
_FIELDS = {
    Model.PER_UNIT: {"unit_amount", "free_quantity"},
    Model.GRADUATED: _TIERED,
    Model.VOLUME: _TIERED,
    Model.PACKAGE: {"unit_amount", "package_size", "free_quantity"},
    Model.PERCENTAGE: {"rate_percent", "free_quantity"},
    Model.GRADUATED_PERCENTAGE: _TIERED,
    Model.FLAT_FEE: {"unit_amount"},
}
# Written only where they are set, so that a document stored before they existed is still written the same.
_OF_EVENTS = ("fee_per_event", "free_events", "event_minimum", "event_maximum")
_OF_ANY = ("discount_percent", "minimum", "maximum")
_OF_PLANS = ("monthly_credit", "commitment")
_RATED = {Model.PERCENTAGE, Model.GRADUATED_PERCENTAGE}


def _optional_fields(model: Model) -> tuple[str, ...]:
    return (_OF_EVENTS if model is Model.PERCENTAGE else ()) + _OF_ANY + _OF_PLANS


@exactly
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
    unknown = set(document) - _FIELDS[model] - {"model", *_optional_fields(model)}
    if unknown:
        name = min(unknown)
        raise InvalidInput(f"A {model.value} price has no “{name}”.", field=name)

    def number(name: str, default: Decimal = ZERO) -> Decimal:
        return _number(document[name], name) if name in document else default

    terms = Terms(
        model=model,
        unit_amount=number("rate_percent").scaleb(-2) if model in _RATED else number("unit_amount"),
        tiers=_tiers(document.get("tiers", ()), model) if "tiers" in _FIELDS[model] else (),
        package_size=number("package_size", Decimal(1)),
        free_quantity=number("free_quantity"),
        zero_usage_charges_first_flat=_flag(document.get("zero_usage_charges_first_flat", False)),
        fee_per_event=number("fee_per_event"),
        free_events=_count(number("free_events"), "free_events"),
        event_minimum=number("event_minimum"),
        event_maximum=number("event_maximum") if "event_maximum" in document else None,
        discount_percent=number("discount_percent"),
        minimum=number("minimum"),
        maximum=number("maximum") if "maximum" in document else None,
        monthly_credit=number("monthly_credit"),
        commitment=number("commitment"),
    )
    _refuse_what_cannot_be_met(terms)
    # A forgotten amount would be a price of nothing; that has to be written out.
    for name in ("unit_amount", "rate_percent"):
        if name in _FIELDS[model] and name not in document:
            raise InvalidInput(f"A {model.value} price has a {name}; write “0” if it is free.", field=name)
    return terms


def _refuse_what_cannot_be_met(terms: Terms) -> None:
    if terms.package_size == 0:
        raise InvalidInput("A package holds more than nothing.", field="package_size")
    if terms.discount_percent > _HUNDRED:
        raise InvalidInput("A discount is at most 100 percent.", field="discount_percent")
    if terms.maximum is not None and terms.maximum < terms.minimum:
        raise InvalidInput("The maximum is at least the minimum.", field="maximum")
    if terms.event_maximum is not None and terms.event_maximum < terms.event_minimum:
        raise InvalidInput("The maximum of an event is at least its minimum.", field="event_maximum")


@exactly
def terms_to_json(terms: Terms) -> dict[str, Any]:
    """The stored form of a price: only the fields of its model, numbers as plain strings."""
    fields = _FIELDS[terms.model]
    document: dict[str, Any] = {"model": terms.model.value}
    if "rate_percent" in fields:
        document["rate_percent"] = plain(terms.unit_amount.scaleb(2))
    for name in ("unit_amount", "package_size", "free_quantity"):
        if name in fields:
            document[name] = plain(getattr(terms, name))
    if "tiers" in fields:
        document["tiers"] = [_tier_to_json(tier, terms.model) for tier in terms.tiers]
        document["zero_usage_charges_first_flat"] = terms.zero_usage_charges_first_flat
    unset = Terms(terms.model)
    for name in _optional_fields(terms.model):
        if getattr(terms, name) != getattr(unset, name):
            document[name] = plain(Decimal(getattr(terms, name)))
    return document


def _tier_to_json(tier: Tier, model: Model) -> dict[str, Any]:
    rated = model in _RATED
    return {
        "up_to": None if tier.up_to is None else plain(tier.up_to),
        "rate_percent" if rated else "unit_amount": plain(tier.unit_amount.scaleb(2) if rated else tier.unit_amount),
        "flat_amount": plain(tier.flat_amount),
    }


def _tiers(documents: Any, model: Model) -> tuple[Tier, ...]:
    if not isinstance(documents, list | tuple) or not documents:
        raise InvalidInput("A tiered price has at least one tier.", field="tiers")
    tiers = []
    floor = ZERO
    for index, document in enumerate(documents):
        where = f"tiers[{index}]"
        tier = _tier(document, where, model)
        if (tier.up_to is None) is not (index == len(documents) - 1):
            raise InvalidInput(
                "Every tier but the last has an upper bound, and the last has none.", field=f"{where}.up_to"
            )
        if tier.up_to is not None and tier.up_to <= floor:
            raise InvalidInput("Each tier ends above the one before it.", field=f"{where}.up_to")
        tiers.append(tier)
        floor = tier.up_to or floor
    price = "rate_percent" if model in _RATED else "unit_amount"
    for index, document in enumerate(documents):
        if not {price, "flat_amount"} & set(document):
            sentence = f"A tier has a {price} or a flat_amount; write “0” if it is free."
            raise InvalidInput(sentence, field=f"tiers[{index}].{price}")
    return tuple(tiers)


def _tier(document: Any, where: str, model: Model) -> Tier:
    price = "rate_percent" if model in _RATED else "unit_amount"
    if not isinstance(document, Mapping):
        raise InvalidInput(f"A tier is an object of up_to, {price} and flat_amount.", field=where)
    unknown = set(document) - {"up_to", price, "flat_amount"}
    if unknown:
        name = min(unknown)
        raise InvalidInput(f"A tier has no “{name}”.", field=f"{where}.{name}")
    bound = document.get("up_to")
    amount = _number(document.get(price, "0"), f"{where}.{price}")
    return Tier(
        None if bound is None else _number(bound, f"{where}.up_to"),
        amount.scaleb(-2) if model in _RATED else amount,
        _number(document.get("flat_amount", "0"), f"{where}.flat_amount"),
    )


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput("zero_usage_charges_first_flat is true or false.", field="zero_usage_charges_first_flat")
    return value


def _number(value: Any, field: str) -> Decimal:
    if not isinstance(value, str | int | Decimal) or isinstance(value, bool):
        raise InvalidInput(f"{field} is written as a string of digits.", field=field)
    # Decimal would also read 1_000, a number with spaces around it, and other scripts' digits.
    if isinstance(value, str) and not WRITTEN.fullmatch(value):
        raise InvalidInput(f"“{value}” is not a number.", field=field)
    number = Decimal(value)
    if not number.is_finite() or number < 0:
        raise InvalidInput(f"{field} is a number of zero or more, not “{value}”.", field=field)
    if number.adjusted() >= WHOLE_DIGITS or int(number.as_tuple().exponent) < -DECIMALS:
        raise InvalidInput(f"{field} has at most {WHOLE_DIGITS} digits and {DECIMALS} decimals.", field=field)
    return number


def _count(number: Decimal, field: str) -> int:
    if number != number.to_integral_value():
        raise InvalidInput(f"{field} is a whole number, not “{plain(number)}”.", field=field)
    return int(number)
