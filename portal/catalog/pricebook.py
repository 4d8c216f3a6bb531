"""The prices that apply to one organization in one period, ready for pricing without a further query."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import func, or_, select

from portal.catalog.models import Meter, Plan, Price, PriceVersion, Product
from portal.core.periods import midnight
from portal.core.pricing import Terms, terms_from_json
from portal.core.subscriptions import Contract
from portal.infra.db import among, db

Days = tuple[date, date | None]


@dataclass(frozen=True, slots=True)
class Version:
    """One version's terms, also as they are stored, and the day from which they hold."""

    id: int
    valid_from: date
    terms: Terms
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """One price with its versions, oldest first, and the meter or plan (its code) that it is the price of."""

    id: int
    name: str
    code: str
    unit: str
    meter_id: int | None
    plan_id: int | None
    product: str
    own: bool
    for_plan_id: int | None
    match: Mapping[str, str]
    archived_on: date | None
    off_sale: Sequence[Days]
    versions: tuple[Version, ...]

    @property
    def applies_unused(self) -> bool:
        """Whether a minimum or a flat fee is asked though nothing was used: of a price that was agreed with somebody,
        never of the list's, which would bill everybody for everything."""
        return self.meter_id is not None and (self.own or self.for_plan_id is not None)

    def version_on(self, day: date) -> Version | None:
        """The version that holds on a day; None before the first and while the price is archived."""
        if self.archived_on is not None and day >= self.archived_on:
            return None
        if any(first <= day and (end is None or day < end) for first, end in self.off_sale):
            return None
        return next((version for version in reversed(self.versions) if version.valid_from <= day), None)


class Pricebook:
    """The prices of one currency for one organization; finds the most specific one for a series.

    `plan_days` says of each plan on which days the organization has it: from the first up to before the second.
    """

    def __init__(self, prices: Iterable[ListedPrice], plan_days: Mapping[int, Sequence[Days]]) -> None:
        self._plan_days = plan_days
        self._of_meter: dict[int, list[ListedPrice]] = {}
        self._of_plan: dict[int, list[ListedPrice]] = {}
        for price in sorted(prices, key=_most_specific_first):
            if price.meter_id is not None:
                self._of_meter.setdefault(price.meter_id, []).append(price)
            elif price.plan_id is not None:
                self._of_plan.setdefault(price.plan_id, []).append(price)

    def price_of_series(self, meter_id: int, dimensions: Mapping[str, str], day: date) -> ListedPrice | None:
        """The price of a meter's series on a day: all dimensions that the price names must be equal.

        A price whose first version is still to come leaves the day to the next one.
        """
        for price in self._of_meter.get(meter_id, ()):
            fits = all(dimensions.get(name) == value for name, value in price.match.items())
            if fits and self._applies(price, day):
                return price
        return None

    def _applies(self, price: ListedPrice, day: date) -> bool:
        if price.version_on(day) is None:
            return False
        return price.for_plan_id is None or any(
            first <= day and (end is None or day < end) for first, end in self._plan_days.get(price.for_plan_id, ())
        )

    def prices_without_usage(self, used: Iterable[int], day: date) -> list[ListedPrice]:
        """The agreed prices (own, or for a plan that the organization has) that hold on a day and are not `used`."""
        skipped = set(used)
        return [
            price
            for prices in self._of_meter.values()
            for price in prices
            if price.applies_unused and price.id not in skipped and self._applies(price, day)
        ]

    def price_of_plan(self, plan_id: int, day: date) -> ListedPrice | None:
        """The price of a plan on a day."""
        return next((price for price in self._of_plan.get(plan_id, ()) if price.version_on(day) is not None), None)

    def change_days(self, first: date, last: date) -> list[date]:
        """The days within (first, last] on which any price changes: where a month is cut into segments."""
        prices = [price for prices in self._of_meter.values() for price in prices]
        days: set[date | None] = {version.valid_from for price in prices for version in price.versions}
        days.update(price.archived_on for price in prices)
        days.update(day for price in prices for span in price.off_sale for day in span)
        for plan_id in {price.for_plan_id for price in prices if price.for_plan_id is not None}:
            days.update(day for span in self._plan_days.get(plan_id, ()) for day in span)
        return sorted(day for day in days if day is not None and first < day <= last)


def _most_specific_first(price: ListedPrice) -> tuple[bool, bool, int, int]:
    return not price.own, price.for_plan_id is None, -len(price.match), price.id


def days_of_plans(contracts: Iterable[Contract]) -> dict[int, list[Days]]:
    """On which days each plan's own usage prices apply: from the next 00:00 UTC after a change."""
    days: dict[int, list[Days]] = {}
    for contract in contracts:
        for phase, end in contract.spans():
            days.setdefault(phase.plan, []).append((_next_midnight(phase.start), end and _next_midnight(end)))
    return days


def _next_midnight(moment: datetime) -> date:
    """The first day that begins at a moment or after it."""
    day = moment.astimezone(UTC).date()
    return day if midnight(day) == moment else day + timedelta(days=1)


def pricebook_for(organization_id: int, currency: str, contracts: Iterable[Contract] = ()) -> Pricebook:
    """Read the prices of one organization: one query. `contracts` are its subscriptions."""
    return pricebooks_for({organization_id: currency}, {organization_id: list(contracts)})[organization_id]


def pricebooks_for(currencies: Mapping[int, str], contracts: Mapping[int, Sequence[Contract]]) -> dict[int, Pricebook]:
    """The same of many organizations (their currencies, by their ids) in one query.

    Those without a price or a contract of their own share one book.
    """
    of_everybody: dict[str, list[ListedPrice]] = {}
    own: dict[tuple[int, str], list[ListedPrice]] = {}
    for price, listed in _listed(currencies):
        if price.organization_id is None:
            of_everybody.setdefault(price.currency, []).append(listed)
        else:
            own.setdefault((price.organization_id, price.currency), []).append(listed)
    shared = {currency: Pricebook(of_everybody.get(currency, ()), {}) for currency in set(currencies.values())}
    return {
        organization_id: Pricebook(
            [*of_everybody.get(currency, ()), *own.get((organization_id, currency), ())],
            days_of_plans(contracts.get(organization_id, ())),
        )
        if contracts.get(organization_id) or (organization_id, currency) in own
        else shared[currency]
        for organization_id, currency in currencies.items()
    }


def _listed(currencies: Mapping[int, str]) -> list[tuple[Price, ListedPrice]]:
    """The prices of everybody and of these organizations."""
    rows = db.session.execute(
        select(
            Price,
            PriceVersion,
            func.coalesce(Meter.code, Plan.code),
            func.coalesce(Meter.unit, Plan.unit),
            Product.name,
        )
        .join(PriceVersion, PriceVersion.price_id == Price.id)
        .outerjoin(Meter, Meter.id == Price.meter_id)
        .outerjoin(Plan, Plan.id == Price.plan_id)
        .join(Product, Product.id == func.coalesce(Meter.product_id, Plan.product_id))
        .where(
            Price.currency.in_(sorted(set(currencies.values()))),
            or_(Price.organization_id.is_(None), among(Price.organization_id, currencies)),
        )
        .order_by(Price.id, PriceVersion.valid_from)
    ).all()
    versions: dict[int, list[Version]] = {}
    prices: dict[int, tuple[Price, str, str, str]] = {}
    for price, version, code, unit, product in rows:
        prices[price.id] = (price, code, unit, product)
        versions.setdefault(price.id, []).append(
            Version(version.id, version.valid_from, terms_from_json(version.terms), version.terms)
        )
    return [
        (price, _as_listed(price, code, unit, product, versions[price.id]))
        for price, code, unit, product in prices.values()
    ]


def _as_listed(price: Price, code: str, unit: str, product: str, versions: Sequence[Version]) -> ListedPrice:
    return ListedPrice(
        id=price.id,
        name=price.name,
        code=code,
        unit=unit,
        meter_id=price.meter_id,
        plan_id=price.plan_id,
        product=product,
        own=price.organization_id is not None,
        for_plan_id=price.for_plan_id,
        match=price.match,
        archived_on=price.archived_at.astimezone(UTC).date() if price.archived_at else None,
        off_sale=[(date.fromisoformat(first), date.fromisoformat(end)) for first, end in price.off_sale],
        versions=tuple(versions),
    )
