"""What any quantity costs at any price: a plain document in, a plain document out, nothing stored.

A document's numbers are integers or strings of digits, so that none loses a digit on its way. An estimate is rounded
as an invoice line is: once. The sum of several is the sum of their rounded amounts.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, Inexact
from typing import Any

from portal.core.currencies import exponent_of, require_currency
from portal.core.errors import InvalidInput
from portal.core.exact import ZERO, exactly, plain
from portal.core.money import major_text, round_to_minor
from portal.core.pricing import Charge, Model, Terms, charge, steps_to_json, terms_from_json, terms_to_json
from portal.core.sentences import price_sentence

MOST_ITEMS = 100
# What the quantities of usage have room for.
WHOLE_DIGITS, DECIMALS = 26, 12
LONGEST_UNIT = 60

_FIELDS = {"price", "quantity", "events", "already", "already_events", "unit"}
_WRITTEN = re.compile(r"[0-9]+(\.[0-9]+)?")


@exactly
def estimate(document: Any) -> dict[str, Any]:
    """Price one quantity, or up to 100 items and their sum.

    One: {currency, price, quantity}, and where they matter `events` (their number, or the amount of each), `already`
    and `already_events` (what the period had reached before) and `unit`. Several: {currency, items: [{price, …}, …]}.
    Raises InvalidInput, naming the field by its path.
    """
    if not isinstance(document, Mapping):
        raise InvalidInput("An estimate is an object of currency, price and quantity, or of currency and items.")
    currency = _currency(document.get("currency"))
    if "items" not in document:
        item = {name: value for name, value in document.items() if name != "currency"}
        return {"currency": currency, **_estimated(_Item(item), currency)}
    _refuse_unknown(document, {"currency", "items"}, "Beside its items an estimate")
    estimates = [_estimated(item, currency) for item in _items(document["items"])]
    total = sum(each["amount"]["minor"] for each in estimates)
    return {"currency": currency, "amount": _amount(total, currency), "items": estimates}


def _currency(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidInput("currency is the code of a currency, such as USD.", field="currency")
    return require_currency(value)


def _items(documents: Any) -> list["_Item"]:
    if not isinstance(documents, Sequence) or isinstance(documents, str) or not documents:
        raise InvalidInput("items is a list of at least one item.", field="items")
    if len(documents) > MOST_ITEMS:
        raise InvalidInput(
            f"One estimate holds at most {MOST_ITEMS} items; this one has {len(documents)}.", field="items"
        )
    return [_Item(item, f"items[{index}]") for index, item in enumerate(documents)]


@dataclass(frozen=True, slots=True)
class _Item:
    """One price and quantity, and the path at which it stands; "" if it is the whole document."""

    document: Any
    path: str = ""

    def field(self, name: str) -> str:
        """The path of one of its fields."""
        return f"{self.path}.{name}" if self.path else name

    def get(self, name: str) -> Any:
        return self.document.get(name)

    def number(self, name: str) -> Decimal:
        """A number of zero or more; zero where it is left out."""
        value = self.get(name)
        return ZERO if value is None else _number(value, self.field(name))


def _estimated(item: _Item, currency: str) -> dict[str, Any]:
    if not isinstance(item.document, Mapping):
        raise InvalidInput("An item is an object of price and quantity.", field=item.path)
    _refuse_unknown(item.document, _FIELDS, "An estimate", item)
    terms, unit = _terms(item), _unit(item)
    usage = _usage(item, terms)
    try:
        result, derivation = _charge(item, terms, usage)
    except Inexact:
        raise InvalidInput(
            "The numbers of this price and this quantity together have too many digits to be priced exactly.",
            field=item.field("quantity"),
        ) from None
    default = "turnover" if terms.model in (Model.PERCENTAGE, Model.GRADUATED_PERCENTAGE) else "unit"
    return {
        "amount": _amount(round_to_minor(result.amount, currency), currency),
        "unrounded": plain(result.amount),
        "sentence": price_sentence(terms, unit=unit or default, money=lambda amount: _written(amount, currency)),
        "derivation": derivation,
    }


def _amount(minor: int, currency: str) -> dict[str, Any]:
    return {"minor": minor, "major": major_text(minor, currency)}


def _written(amount: Decimal, currency: str) -> str:
    """An amount in the major unit with all its digits, for programs in every country: USD 0.0000008, USD 29.00."""
    whole, _, decimals = plain(amount).partition(".")
    decimals = decimals.ljust(exponent_of(currency), "0")
    return f"{currency} {whole}.{decimals}" if decimals else f"{currency} {whole}"


def _refuse_unknown(document: Mapping[str, Any], known: Collection[str], who: str, item: _Item | None = None) -> None:
    unknown = set(document) - set(known)
    if unknown:
        name = min(unknown)
        raise InvalidInput(f"{who} has no “{name[:60]}”.", field=item.field(name) if item else name)


def _terms(item: _Item) -> Terms:
    document = item.get("price")
    if not isinstance(document, Mapping):
        raise InvalidInput("price is an object: a model and its amounts.", field=item.field("price"))
    try:
        terms = terms_from_json(document)
    except InvalidInput as error:
        raise InvalidInput(error.sentence, field=item.field(f"price.{error.field}")) from None
    for name in ("monthly_credit", "commitment"):
        if getattr(terms, name):
            raise InvalidInput(
                f"A {name} is for all usage of a plan's month; an estimate prices one quantity.",
                field=item.field(f"price.{name}"),
            )
    return terms


def _unit(item: _Item) -> str | None:
    unit = item.get("unit")
    if unit is None:
        return None
    if not isinstance(unit, str) or not unit.isprintable() or not 1 <= len(unit) <= LONGEST_UNIT:
        raise InvalidInput(f"unit is text of 1 to {LONGEST_UNIT} characters.", field=item.field("unit"))
    return unit


@dataclass(frozen=True, slots=True)
class _Usage:
    """What is priced, and what the period had reached before it."""

    quantity: Decimal
    events: int | list[Decimal] | None
    already: Decimal
    already_events: int


def _usage(item: _Item, terms: Terms) -> _Usage:
    events = _events(item, terms)
    already_events = _whole(item.number("already_events"), item.field("already_events"))
    if already_events and terms.model is not Model.PERCENTAGE:
        raise _no_events(terms, item.field("already_events"))
    return _Usage(_quantity(item, events), events, item.number("already"), already_events)


def _events(item: _Item, terms: Terms) -> int | list[Decimal] | None:
    given, field = item.get("events"), item.field("events")
    if given is not None and terms.model is not Model.PERCENTAGE:
        raise _no_events(terms, field)
    if terms.needs_event_amounts and not isinstance(given, list):
        raise InvalidInput("This price looks at each event on its own: list the amounts of the events.", field=field)
    if terms.fee_per_event and given is None:
        raise InvalidInput("This price has a fee per event: say how many there were.", field=field)
    if isinstance(given, list):
        return [_number(value, f"{field}[{index}]") for index, value in enumerate(given)]
    return None if given is None else _whole(_number(given, field), field)


def _no_events(terms: Terms, field: str) -> InvalidInput:
    return InvalidInput(f"A {terms.model.value} price does not look at events; leave them out.", field=field)


def _quantity(item: _Item, events: int | list[Decimal] | None) -> Decimal:
    """The quantity; where the amount of each event is given, their sum, which it may repeat."""
    field = item.field("quantity")
    together = sum(events, ZERO) if isinstance(events, list) else None
    if item.get("quantity") is None:
        if together is None:
            raise InvalidInput("quantity is missing.", field=field)
        return together
    quantity = item.number("quantity")
    if together is not None and together != quantity:
        raise InvalidInput(f"The events add up to {plain(together)}, not to {plain(quantity)}.", field=field)
    return quantity


def _number(value: Any, field: str) -> Decimal:
    written = isinstance(value, int | Decimal) or (isinstance(value, str) and _WRITTEN.fullmatch(value))
    if not written or isinstance(value, bool):
        raise InvalidInput(f"{field} is a number of zero or more: an integer, or a string of digits.", field=field)
    number = Decimal(value)
    if not number.is_finite() or number < 0:
        raise InvalidInput(f"{field} is a number of zero or more.", field=field)
    if number.adjusted() >= WHOLE_DIGITS or int(number.as_tuple().exponent) < -DECIMALS:
        raise InvalidInput(f"{field} has at most {WHOLE_DIGITS} digits and {DECIMALS} decimals.", field=field)
    return number


def _whole(number: Decimal, field: str) -> int:
    if number != number.to_integral_value():
        raise InvalidInput(f"{field} is a whole number, not {plain(number)}.", field=field)
    return int(number)


def _charge(item: _Item, terms: Terms, usage: _Usage) -> tuple[Charge, dict[str, Any]]:
    """The unrounded amount, and everything from which it can be derived again."""
    billed = _already_billed(item, terms, usage)
    result = charge(
        terms,
        usage.quantity,
        already=usage.already,
        already_billed=billed,
        events=usage.events,
        already_events=usage.already_events,
    )
    events = usage.events
    derivation: dict[str, Any] = {
        "terms": terms_to_json(terms),
        "already": plain(usage.already),
        "events": [plain(each) for each in events] if isinstance(events, list) else events,
        "steps": steps_to_json(result),
    }
    if usage.already_events:
        derivation["already_events"] = usage.already_events
    if billed:
        derivation["already_billed"] = plain(billed)
    return result, derivation


def _already_billed(item: _Item, terms: Terms, usage: _Usage) -> Decimal:
    """The unrounded amount from which minimum and maximum go on: what was reached before, at the same price."""
    nothing_before = usage.already == 0 and usage.already_events == 0
    if nothing_before or (terms.minimum == 0 and terms.maximum is None):
        return ZERO
    if terms.needs_event_amounts:
        raise InvalidInput(
            "A minimum or maximum cannot go on from events whose amounts are not known: estimate the whole period.",
            field=item.field("already"),
        )
    together = usage.already + usage.quantity
    events = usage.already_events
    return charge(terms, usage.already, period_quantity=together, events=events, period_ends=False).amount
