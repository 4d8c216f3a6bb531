"""The prices that apply to one organization in one period, ready for pricing without a further query."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from sqlalchemy import or_, select

from portal.catalog.models import Meter, Plan, Price, PriceVersion
from portal.core.pricing import Terms, terms_from_json
from portal.infra.db import db


@dataclass(frozen=True, slots=True)
class Version:
    """One version's terms and the day from which they hold."""

    id: int
    valid_from: date
    terms: Terms


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """One price with its versions, oldest first, and what it is the price of."""

    id: int
    name: str
    unit: str
    meter_id: int | None
    plan_id: int | None
    own: bool
    match: Mapping[str, str]
    versions: tuple[Version, ...]

    def version_on(self, day: date) -> Version | None:
        """The version that holds on a day; None before the first."""
        return next((version for version in reversed(self.versions) if version.valid_from <= day), None)


class Pricebook:
    """The prices of one currency for one organization; finds the most specific one for a series."""

    def __init__(self, prices: Iterable[ListedPrice]) -> None:
        self._of_meter: dict[int, list[ListedPrice]] = {}
        self._of_plan: dict[int, list[ListedPrice]] = {}
        for price in sorted(prices, key=lambda each: (not each.own, -len(each.match), each.id)):
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
            if fits and price.version_on(day) is not None:
                return price
        return None

    def price_of_plan(self, plan_id: int, day: date) -> ListedPrice | None:
        """The price of a plan on a day."""
        return next((price for price in self._of_plan.get(plan_id, ()) if price.version_on(day) is not None), None)

    def change_days(self, first: date, last: date) -> list[date]:
        """The days within (first, last] on which any price changes: where a month is cut into segments."""
        days = {
            version.valid_from
            for prices in [*self._of_meter.values(), *self._of_plan.values()]
            for price in prices
            for version in price.versions
            if first < version.valid_from <= last
        }
        return sorted(days)


def pricebook_for(organization_id: int, currency: str) -> Pricebook:
    """Read the prices of one organization: one query."""
    rows = db.session.execute(
        select(Price, PriceVersion, Meter.unit, Plan.unit)
        .join(PriceVersion, PriceVersion.price_id == Price.id)
        .outerjoin(Meter, Meter.id == Price.meter_id)
        .outerjoin(Plan, Plan.id == Price.plan_id)
        .where(
            Price.currency == currency,
            or_(Price.organization_id.is_(None), Price.organization_id == organization_id),
        )
        .order_by(Price.id, PriceVersion.valid_from)
    ).all()
    versions: dict[int, list[Version]] = {}
    prices: dict[int, tuple[Price, str]] = {}
    for price, version, meter_unit, plan_unit in rows:
        prices[price.id] = (price, meter_unit or plan_unit)
        versions.setdefault(price.id, []).append(
            Version(version.id, version.valid_from, terms_from_json(version.terms))
        )
    return Pricebook(
        ListedPrice(
            id=price.id,
            name=price.name,
            unit=unit,
            meter_id=price.meter_id,
            plan_id=price.plan_id,
            own=price.organization_id is not None,
            match=price.match,
            versions=tuple(versions[price.id]),
        )
        for price, unit in prices.values()
    )
