"""Charges of invoices as rows of FOCUS 1.2 (FinOps Foundation), pure: from the frozen lines, without a database.

The billed costs of an invoice's rows add up to its total, those of a credit note's to its total taken away. A line with
one price per unit keeps it, and its list cost is the exact product; a line with tiers has the average of its units.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Context
from typing import Any

from portal.core.exact import EXACT, ZERO
from portal.core.keys import content_hash
from portal.core.money import round_to_minor, to_major
from portal.core.periods import Month
from portal.core.statement import LineKind
from portal.invoicing.shown import ShownLine

COLUMNS = (
    *("AvailabilityZone", "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency"),
    *("BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription"),
    *("ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "CommitmentDiscountCategory", "CommitmentDiscountId"),
    *("CommitmentDiscountName", "CommitmentDiscountStatus", "CommitmentDiscountType", "ConsumedQuantity"),
    *("ConsumedUnit", "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "InvoiceId", "InvoiceIssuerName"),
    *("ListCost", "ListUnitPrice", "PricingCategory", "PricingQuantity", "PricingUnit", "ProviderName"),
    *("PublisherName", "RegionId", "RegionName", "ResourceId", "ResourceName", "ResourceType", "ServiceCategory"),
    *(
        "ServiceName",
        "ServiceSubcategory",
        "SkuId",
        "SkuPriceId",
        "SubAccountId",
        "SubAccountName",
        "Tags",
        "x_LineNumber",
    ),
)
USAGE, PURCHASE, TAX, CREDIT, ADJUSTMENT = "Usage", "Purchase", "Tax", "Credit", "Adjustment"
_CATEGORIES = {
    LineKind.USAGE: (USAGE, "Usage-Based"),
    LineKind.RECURRING: (PURCHASE, "Recurring"),
    LineKind.ONE_OFF: (PURCHASE, "One-Time"),
    LineKind.TRUE_UP: (PURCHASE, "Recurring"),
    LineKind.ADJUSTMENT: (ADJUSTMENT, "One-Time"),
    LineKind.TAX: (TAX, "One-Time"),
}
_TAKEN_OFF = (CREDIT, "One-Time")
_AVERAGE = Context(prec=20, rounding=ROUND_HALF_UP)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Bill:
    """What all rows of an invoice or a credit note share. `document` is its number."""

    account: str
    account_name: str
    issuer: str
    currency: str
    month: Month
    document: str


def rows_of_invoice(bill: Bill, lines: Sequence[ShownLine]) -> list[tuple[Any, ...]]:
    """One row for every line."""
    return [_row(bill, {**_of_line(bill, line), "x_LineNumber": line.number}) for line in lines]


def rows_of_note(bill: Bill, given: Sequence[tuple[ShownLine, int, int]]) -> list[tuple[Any, ...]]:
    """What a credit note gives back of lines, net and tax in minor units: a correction of each, and one of the tax."""
    rows = []
    for line, net, _ in given:
        category, frequency = _category(line)
        facts = {**_costs(bill, -net), "ChargeCategory": category, "ChargeFrequency": frequency, **_of_period(line)}
        rows.append(_row(bill, {**facts, **_named(line), "ChargeClass": "Correction", "x_LineNumber": line.number}))
    tax = sum(each for _, _, each in given)
    if tax:
        facts = {**_costs(bill, -tax), "ChargeCategory": TAX, "ChargeFrequency": "One-Time", "ServiceName": "Tax"}
        about = {"ChargeDescription": "Tax given back", "ChargeClass": "Correction"}
        rows.append(_row(bill, {**facts, **about, **_period(bill.month.first_day, bill.month.last_day)}))
    return rows


def _category(line: ShownLine) -> tuple[str, str]:
    """The category and frequency of a charge; what is below zero and no line of tax or usage is a credit."""
    if line.amount < 0 and line.kind == LineKind.ONE_OFF:
        return _TAKEN_OFF
    return _CATEGORIES.get(LineKind(line.kind), _TAKEN_OFF)


def _of_line(bill: Bill, line: ShownLine) -> dict[str, Any]:
    category, frequency = _category(line)
    facts = {
        **_costs(bill, line.amount),
        **_named(line),
        **_of_period(line),
        "ChargeCategory": category,
        "ChargeFrequency": frequency,
    }
    if category in (USAGE, PURCHASE):
        facts |= _pricing(bill, line)
        facts["SkuId"] = line.derivation.get("meter") or line.product or line.kind
        facts["SkuPriceId"] = f"{facts['SkuId']}-{_price_key(line)}"
    if category == USAGE:
        facts |= {"ConsumedQuantity": line.quantity, "ConsumedUnit": line.unit or "unit"}
    return facts


def _pricing(bill: Bill, line: ShownLine) -> dict[str, Any]:
    """Quantity, price and list cost that are each other's product, exactly where one price per unit was billed."""
    amount = to_major(line.amount, bill.currency)
    facts: dict[str, Any] = {"PricingCategory": "Standard", "PricingUnit": line.unit or "unit"}
    product = None if line.unit_amount is None else EXACT.multiply(line.quantity, line.unit_amount)
    if product is not None and round_to_minor(product, bill.currency) == line.amount:
        price, cost = line.unit_amount, product
    else:
        price, cost = _AVERAGE.divide(amount, line.quantity) if line.quantity else ZERO, amount
    costs = {"ListCost": cost, "ContractedCost": cost, "ListUnitPrice": price, "ContractedUnitPrice": price}
    return facts | costs | {"PricingQuantity": line.quantity}


def _price_key(line: ShownLine) -> str:
    """The same for lines that were priced by the same terms."""
    return content_hash([line.derivation.get("terms"), None if line.unit_amount is None else str(line.unit_amount)])[
        :12
    ]


def _costs(bill: Bill, amount: int) -> dict[str, Any]:
    names = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")
    return dict.fromkeys(names, to_major(amount, bill.currency))


def _named(line: ShownLine) -> dict[str, Any]:
    return {
        "ChargeDescription": line.description,
        "ServiceName": line.product or line.kind.replace("_", " ").capitalize(),
        "Tags": json.dumps({"line_kind": line.kind}),
    }


def _of_period(line: ShownLine) -> Mapping[str, str]:
    return _period(line.first_day, line.last_day)


def _period(first: date, last: date) -> dict[str, str]:
    return {"ChargePeriodStart": _moment(first), "ChargePeriodEnd": _moment(last + _DAY)}


def _row(bill: Bill, facts: Mapping[str, Any]) -> tuple[Any, ...]:
    whole = {
        "BillingAccountId": bill.account,
        "BillingAccountName": bill.account_name,
        "BillingCurrency": bill.currency,
        "BillingPeriodStart": _moment(bill.month.first_day),
        "BillingPeriodEnd": _moment(bill.month.next.first_day),
        **dict.fromkeys(("InvoiceIssuerName", "ProviderName", "PublisherName"), bill.issuer),
        "InvoiceId": bill.document,
        # What the portal bills can be anything; its products are not sorted into FOCUS' categories.
        "ServiceCategory": "Other",
        "ServiceSubcategory": "Other (Other)",
        **facts,
    }
    return tuple(whole.get(name) for name in COLUMNS)


def _moment(day: date) -> str:
    return f"{day}T00:00:00Z"
