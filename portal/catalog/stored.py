"""The catalog as the database has it: its rows by what they are found by, and what they say."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import selectinload

from portal.catalog.files import (
    Catalog,
    CouponEntry,
    MeterEntry,
    Place,
    PlanEntry,
    PriceEntry,
    ProductEntry,
    VersionEntry,
)
from portal.catalog.models import Coupon, Meter, Plan, Price, PriceVersion, Product
from portal.core.money import to_major
from portal.core.quantities import Aggregation
from portal.core.subscriptions import Interval
from portal.core.terms import terms_from_json
from portal.infra.db import db
from portal.organizations.models import Organization


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of the catalog; organizations are those of the prices."""

    products: dict[str, Product]
    meters: dict[str, Meter]
    plans: dict[str, Plan]
    prices: dict[Place, Price]
    coupons: dict[str, Coupon]


def stored_rows() -> Rows:
    """Every row of the catalog, fresh from the database, in the order in which they were made."""
    products, meters, plans, coupons = (_all(model) for model in (Product, Meter, Plan, Coupon))
    prices = _all(Price, selectinload(Price.versions))
    codes_of_meters = {meter.id: meter.code for meter in meters}
    codes_of_plans = {plan.id: plan.code for plan in plans}
    slugs = slugs_of(price.organization_id for price in prices)
    return Rows(
        {product.name: product for product in products},
        {meter.code: meter for meter in meters},
        {plan.code: plan for plan in plans},
        {
            Place(
                price.currency,
                codes_of_meters.get(price.meter_id),
                codes_of_plans.get(price.plan_id),
                tuple(sorted(price.match.items())),
                slugs.get(price.organization_id),
                codes_of_plans.get(price.for_plan_id),
            ): price
            for price in prices
        },
        {coupon.code: coupon for coupon in coupons},
    )


def _all(model: Any, *options: Any) -> list[Any]:
    query = select(model).order_by(model.id).options(*options).execution_options(populate_existing=True)
    return list(db.session.scalars(query))


def slugs_of(organization_ids: Iterable[int | None]) -> dict[int | None, str]:
    """The slugs of organizations, whatever their status."""
    query = select(Organization.id, Organization.slug).where(Organization.id.in_(set(organization_ids) - {None}))
    return {row.id: row.slug for row in db.session.execute(query)}


def catalog_of(rows: Rows) -> Catalog:
    """What rows say, to be compared or written into a file."""
    names = {product.id: name for name, product in rows.products.items()}
    return Catalog(
        {name: ProductEntry(name, archived=_archived(row)) for name, row in rows.products.items()},
        {
            code: MeterEntry(
                code,
                row.name,
                names[row.product_id],
                row.unit,
                tuple(row.dimensions),
                Aggregation(row.aggregation),
                row.subject,
                row.per,
                _archived(row),
            )
            for code, row in rows.meters.items()
        },
        {
            code: PlanEntry(
                code,
                row.name,
                names[row.product_id],
                row.unit,
                Interval(row.interval),
                row.trial_days,
                tuple(row.credit_meters),
                _archived(row),
            )
            for code, row in rows.plans.items()
        },
        {
            place: PriceEntry(row.name, place, tuple(map(_version_of, row.versions)), _archived(row))
            for place, row in rows.prices.items()
        },
        {code: _coupon_of(row) for code, row in rows.coupons.items()},
    )


def stored_catalog() -> Catalog:
    """What the database's catalog says."""
    return catalog_of(stored_rows())


def _archived(row: Product | Meter | Plan | Price | Coupon) -> bool:
    return row.archived_at is not None


def _version_of(row: PriceVersion) -> VersionEntry:
    return VersionEntry(row.valid_from, terms_from_json(row.terms), row.note)


def _coupon_of(row: Coupon) -> CouponEntry:
    return CouponEntry(
        row.code,
        row.name,
        row.percent,
        to_major(row.amount, row.currency) if row.amount is not None and row.currency else None,
        row.currency,
        row.months,
        tuple(row.products),
        row.stacks,
        row.redeem_by,
        _archived(row),
    )
