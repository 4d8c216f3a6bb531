"""Reading rows of a FOCUS bill (FinOps Foundation, version 1.0): exact numbers, UTC times, `NULL` and "" as nothing.

FOCUS itself names no row; the file needs a column Id, so that a row is known again when the file is imported again.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from portal.core.currencies import require_currency
from portal.core.errors import InvalidInput
from portal.core.periods import Month
from portal.usage.events import EARLIEST
from portal.usage.fields import LONGEST_TEXT, storable

NEEDED = (
    "Id",
    "BillingCurrency",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeDescription",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ListCost",
    "ListUnitPrice",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "SkuId",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
)
# Kept with each event where they have a text: (column, property). The first two tell series apart.
_KEPT = (
    ("ServiceName", "service"),
    ("RegionId", "region"),
    ("ResourceId", "resource"),
    ("ResourceName", "resource_name"),
    ("ResourceType", "resource_type"),
    ("PricingCategory", "pricing_category"),
    ("Tags", "tags"),
)
# A product of two such numbers fits into the exact context (core/exact.py).
_LONGEST_NUMBER, _INTEGER_DIGITS, _MOST_DECIMALS = 60, 26, 30
_LONGEST_ID = 200
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class FocusRow:
    """One charge, checked. Texts that the file leaves empty are "", numbers None."""

    row_id: str
    account: str
    account_name: str
    currency: str
    moment: datetime
    billing_month: Month
    category: str
    description: str
    provider: str
    sku: str
    sku_price_id: str
    unit: str
    pricing_quantity: Decimal | None
    consumed_quantity: Decimal | None
    list_unit_price: Decimal | None
    list_cost: Decimal
    billed_cost: Decimal | None
    properties: Mapping[str, str]

    @property
    def month(self) -> Month:
        """The month that bills the charge: its time decides, not the billing period it was reported in."""
        return Month.of(self.moment)

    @property
    def identity(self) -> str:
        """What names this charge, in this file and in the next: the row's id and what it is about, but no figures.

        A row that comes again with other figures is thus a conflict, never a second charge.
        """
        about = (self.account, self.moment.isoformat(), self.provider, self.sku, self.sku_price_id, self.category)
        digest = hashlib.sha256("\0".join((*about, self.properties.get("resource", ""))).encode()).hexdigest()
        return f"{self.row_id}:{digest[:16]}"

    @property
    def meter_code(self) -> str:
        """The SKU as a meter, with the provider whose SKU it is and the unit that it is counted in."""
        return f"{_slug(self.provider)}.{self.sku}.{_slug(self.unit)}"


def read_row(values: Mapping[str, str], *, latest: datetime) -> FocusRow:
    """Read one row. Raises InvalidInput with the column that does not fit."""
    category = _text(values, "ChargeCategory")
    is_usage = category == "Usage"
    return FocusRow(
        row_id=_text(values, "Id", longest=_LONGEST_ID),
        account=_text(values, "SubAccountId"),
        account_name=_text(values, "SubAccountName"),
        currency=_currency(values),
        moment=_moment(values, "ChargePeriodStart", latest=latest),
        billing_month=Month.of(_moment(values, "BillingPeriodStart")),
        category=category,
        description=_name(values, category),
        provider=_text(values, "ProviderName", longest=_LONGEST_ID),
        sku=_text(values, "SkuId", needed=is_usage, longest=_LONGEST_ID // 2),
        sku_price_id=_text(values, "SkuPriceId", needed=False),
        unit=_text(values, "PricingUnit", needed=is_usage, longest=_LONGEST_ID // 4),
        pricing_quantity=_number(values, "PricingQuantity"),
        consumed_quantity=_number(values, "ConsumedQuantity"),
        list_unit_price=_number(values, "ListUnitPrice"),
        list_cost=_needed_number(values, "ListCost"),
        billed_cost=_number(values, "BilledCost"),
        properties={name: value for column, name in _KEPT if _fits(value := _cell(values, column))},
    )


def _cell(values: Mapping[str, str], column: str) -> str:
    text = values.get(column, "").strip()
    return "" if text == "NULL" else text


def _fits(text: str) -> bool:
    return 1 <= len(text) <= LONGEST_TEXT and storable(text)


def _text(values: Mapping[str, str], column: str, *, needed: bool = True, longest: int = LONGEST_TEXT) -> str:
    text = _cell(values, column)
    if not text and needed:
        raise InvalidInput(f"{column} is empty.", field=column)
    if len(text) > longest or not storable(text):
        raise InvalidInput(f"{column} is UTF-8 text of at most {longest} characters.", field=column)
    return text


def _name(values: Mapping[str, str], category: str) -> str:
    """The charge's description, cut to what a line of an invoice holds; the category if it has none."""
    text = _cell(values, "ChargeDescription")[:_LONGEST_NAME]
    return text if text and storable(text) else category


def _currency(values: Mapping[str, str]) -> str:
    try:
        return require_currency(_text(values, "BillingCurrency"))
    except InvalidInput as refused:
        raise InvalidInput(f"BillingCurrency: {refused.sentence}", field="BillingCurrency") from None


def _moment(values: Mapping[str, str], column: str, *, latest: datetime | None = None) -> datetime:
    """A time in ISO 8601, with T or a space; FOCUS times are UTC where they name no zone."""
    text = _text(values, column)
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidInput(f"{column} is a time like 2024-09-18T22:00:00Z, not “{text[:40]}”.", field=column) from None
    if moment < EARLIEST or (latest is not None and moment > latest):
        raise InvalidInput(f"{column} lies before the year 2000 or more than a day ahead.", field=column)
    return moment


def _number(values: Mapping[str, str], column: str) -> Decimal | None:
    text = _cell(values, column)
    if not text:
        return None
    try:
        if len(text) > _LONGEST_NUMBER:
            raise InvalidOperation
        number = Decimal(text)
        exponent = number.as_tuple().exponent
        if not isinstance(exponent, int) or number.adjusted() >= _INTEGER_DIGITS or exponent < -_MOST_DECIMALS:
            raise InvalidOperation
    except InvalidOperation:
        raise InvalidInput(
            f"{column} is a finite number of at most {_INTEGER_DIGITS} digits and {_MOST_DECIMALS} decimals,"
            f" not “{text[:40]}”.",
            field=column,
        ) from None
    return number


def _needed_number(values: Mapping[str, str], column: str) -> Decimal:
    number = _number(values, column)
    if number is None:
        raise InvalidInput(f"{column} is empty.", field=column)
    return number


def _slug(text: str) -> str:
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")
