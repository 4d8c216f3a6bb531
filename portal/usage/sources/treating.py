"""What a FOCUS charge becomes: usage at the list price, or a one-off item at its list cost. Pure.

Everything is billed at list: PricingQuantity × ListUnitPrice. In some rows that product is not ListCost, because the
quantity counts in another unit than the price (3 operations, priced per 10,000, with the quantity divided by 10,000
twice). Where ConsumedQuantity × ListUnitPrice is ListCost, that is the quantity that the price means, so such a row
stays usage with it: the customer sees what was used, at the price of the list, and pays the list cost. It goes to a
price of its own (dimension quantity_from), so that its line never mixes with those counted by PricingQuantity. Where
no quantity of the row explains its cost, the row is a one-off item at ListCost: a figure nobody can derive is shown
as a single amount instead of being dressed up as a quantity.

Rows that are not usage (credits, adjustments, taxes, purchases) have no quantity to price; they are one-off items at
ListCost too, so that every invoice comes to the sum of the ListCost of its rows.
"""

from dataclasses import dataclass
from decimal import Decimal, Inexact
from enum import StrEnum
from typing import Any

from portal.core.exact import EXACT, exactly, plain
from portal.core.money import round_to_minor
from portal.usage.fields import DECIMALS
from portal.usage.sources.focus import FocusRow

# Providers write quantities and costs with ten or eleven decimals, so a product may miss its cost by that rounding.
TOLERANCE = Decimal("1e-9")
DIMENSIONS = ("service", "region", "sku_price_id", "list_unit_price", "quantity_from")
_PLACES = Decimal(1).scaleb(-DECIMALS)


class Kind(StrEnum):
    """How a row is billed."""

    USAGE = "usage"
    CONSUMED = "usage by ConsumedQuantity"
    ITEM = "one-off item"


@dataclass(frozen=True, slots=True)
class Treated:
    """What a row becomes: a quantity of its meter, or for an item its amount; and why, if that is not the rule."""

    kind: Kind
    figure: Decimal
    reasons: tuple[str, ...]

    @property
    def match(self) -> dict[str, str]:
        """The dimension that keeps quantities of another column apart."""
        return {"quantity_from": "ConsumedQuantity"} if self.kind is Kind.CONSUMED else {}


@exactly
def treat(row: FocusRow) -> Treated:
    """Decide what a row becomes."""
    if row.category != "Usage":
        return _item(row, f"{row.category}: not usage")
    price = row.list_unit_price
    if price is None or price < 0:
        return _item(row, "has no list price" if price is None else "has a negative list price")
    for kind, quantity in ((Kind.USAGE, row.pricing_quantity), (Kind.CONSUMED, row.consumed_quantity)):
        if quantity is not None and abs(_stored(quantity) * price - row.list_cost) <= TOLERANCE:
            return Treated(kind, _stored(quantity), (*_reasons(row, kind, quantity, price), *_billing_period(row)))
    return _item(
        row, f"neither PricingQuantity nor ConsumedQuantity × ListUnitPrice is ListCost {plain(row.list_cost)}"
    )


def _reasons(row: FocusRow, kind: Kind, quantity: Decimal, price: Decimal) -> list[str]:
    reasons = []
    if kind is Kind.CONSUMED:
        pricing = "nothing" if row.pricing_quantity is None else plain(row.pricing_quantity * price)
        reasons.append(
            f"quantity counts in another unit than its price: PricingQuantity × ListUnitPrice is {pricing}, ListCost"
            f" {plain(row.list_cost)}; billed by ConsumedQuantity {plain(quantity)}, which gives ListCost"
        )
    if quantity < 0:
        reasons.append(f"negative quantity {plain(quantity)}: stored as a correction")
    if quantity != _stored(quantity):
        reasons.append(f"quantity {plain(quantity)} has more than {DECIMALS} decimals: stored rounded to them")
    if not row.sku_price_id:
        reasons.append(f"no SkuPriceId: its price is found by ListUnitPrice {plain(price)}")
    return reasons


def _billing_period(row: FocusRow) -> list[str]:
    if row.billing_month == row.month:
        return []
    return [f"billing period {row.billing_month}, charged in {row.month}: charge time decides the month"]


def _item(row: FocusRow, reason: str) -> Treated:
    billed = row.billed_cost
    note = f", at ListCost {plain(row.list_cost)}"
    if billed is not None and billed != row.list_cost:
        note += f" (the provider billed {plain(billed)})"
    if row.list_cost != 0 and round_to_minor(row.list_cost, row.currency) == 0:
        note += ", which rounds to 0 on the invoice"
    return Treated(Kind.ITEM, _stored(row.list_cost), (reason + note, *_billing_period(row)))


def _stored(number: Decimal) -> Decimal:
    """A number as the database holds it: at most 12 decimals."""
    if int(number.as_tuple().exponent) >= -DECIMALS:
        return number
    context = EXACT.copy()
    context.traps[Inexact] = False
    return number.quantize(_PLACES, context=context)


def base_match(row: FocusRow, treated: Treated) -> dict[str, str]:
    """The dimensions by which the row's price is found in the list."""
    assert row.list_unit_price is not None, row
    by_id = {"sku_price_id": row.sku_price_id} if row.sku_price_id else price_match(row.list_unit_price)
    return by_id | treated.match


def price_match(price: Decimal) -> dict[str, str]:
    """A list price as a dimension: for charges without a price id, or whose price id has another price as well."""
    return {"list_unit_price": plain(price)}


def event_of(row: FocusRow, treated: Treated, match: dict[str, str], source: str) -> dict[str, Any]:
    """The charge as an event document; `match` are the dimensions of its price."""
    return {
        "id": row.identity,
        "organization": row.account,
        "meter": row.meter_code,
        "quantity": plain(treated.figure),
        "time": row.moment.isoformat(),
        "source": source,
        "correction": treated.figure < 0,
        "properties": {**row.properties, **match},
    }
