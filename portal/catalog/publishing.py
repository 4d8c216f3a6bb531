"""Putting things on sale: products, meters, plans and price versions, each added once and found again by its code.

What is sold is archived, never deleted: invoices and their explanations go on naming it. Names can change; what
quantities, periods and final invoices rest on cannot.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import ColumnElement, select

from portal.catalog.models import Coupon, Meter, Plan, Price, PriceVersion, Product
from portal.core.currencies import require_currency
from portal.core.errors import InvalidInput
from portal.core.pricing import terms_from_json, terms_to_json
from portal.core.quantities import Counting
from portal.core.subscriptions import Interval
from portal.core.terms import Terms
from portal.infra import audit
from portal.infra.db import db
from portal.organizations.models import Organization

MOST_DIMENSIONS = 8
SUMMED = Counting()


def ensure_product(name: str) -> Product:
    """The product with this name, made if there is none. Idempotent."""
    product = db.session.scalar(select(Product).where(Product.name == name))
    if product is None:
        product = Product(name=name)
        _add(product, "product", {"name": name})
    return product


def ensure_meter(
    code: str,
    *,
    name: str,
    product: str,
    unit: str,
    dimensions: tuple[str, ...] = (),
    counting: Counting = SUMMED,
) -> Meter:
    """The meter with this code, made if there is none, with its product. Idempotent.

    Raises InvalidInput for more than 8 dimensions, or one that is counted itself.
    """
    meter = db.session.scalar(select(Meter).where(Meter.code == code))
    if meter is None:
        _check_dimensions(dimensions, counting)
        meter = Meter(
            code=code,
            name=name,
            product_id=ensure_product(product).id,
            unit=unit,
            dimensions=list(dimensions),
            aggregation=counting.aggregation,
            subject=counting.subject,
            per=counting.per,
        )
        _add(meter, "meter", {"code": code})
    return meter


def ensure_plan(
    code: str,
    *,
    name: str,
    unit: str,
    product: str = "Subscriptions",
    interval: Interval = Interval.MONTH,
    trial_days: int = 0,
    credit_meters: tuple[str, ...] = (),
) -> Plan:
    """The plan with this code, made if there is none, with its product. Idempotent."""
    plan = db.session.scalar(select(Plan).where(Plan.code == code))
    if plan is None:
        plan = Plan(
            code=code,
            name=name,
            unit=unit,
            product_id=ensure_product(product).id,
            interval=interval,
            trial_days=trial_days,
            credit_meters=list(credit_meters),
        )
        _add(plan, "plan", {"code": code})
    return plan


def _add(row: Product | Meter | Plan, what: str, facts: dict[str, Any]) -> None:
    db.session.add(row)
    db.session.flush()
    audit.record(f"created {what}", subject=what, subject_id=row.id, organization_id=None, after=facts)


def rename_product(product: Product, name: str) -> None:
    """Give a product another name, also in the coupons that are bound to it. Idempotent."""
    before = product.name
    _change(product, "product", {"name": name})
    if before != name:
        for coupon in db.session.scalars(select(Coupon).where(Coupon.products.contains([before]))):
            renamed = [name if each == before else each for each in coupon.products]
            _change(coupon, "coupon", {"products": sorted(renamed)})


def update_meter(
    meter: Meter,
    *,
    name: str,
    product: Product,
    unit: str,
    dimensions: tuple[str, ...],
    counting: Counting,
    has_usage: bool,
) -> None:
    """Let a meter be called and told apart otherwise. Idempotent; dimensions can only be added.

    Raises InvalidInput, naming the field, if a dimension is missing that usage is told apart by and prices match, for
    another unit where quantities or prices are given in the old one, and for another way of counting.
    """
    if counting != meter.counting:
        raise InvalidInput("How a meter counts stays as it is; make another meter.", field="aggregation")
    missing = set(meter.dimensions) - set(dimensions)
    if missing:
        raise InvalidInput(
            f"The dimension “{min(missing)}” cannot be taken away: usage is told apart by it.", field="dimensions"
        )
    _check_dimensions(dimensions, counting)
    if unit != meter.unit and (has_usage or _has_versions(Price.meter_id == meter.id)):
        raise InvalidInput(
            f"The unit stays {meter.unit}: usage or prices are given in it. Make another meter for {unit}.",
            field="unit",
        )
    _change(meter, "meter", {"name": name, "product_id": product.id, "unit": unit, "dimensions": list(dimensions)})


def _check_dimensions(dimensions: tuple[str, ...], counting: Counting) -> None:
    if counting.subject in dimensions:
        raise InvalidInput(
            "The subject of a unique count is no dimension: each of its values would be a count of its own.",
            field="subject",
        )
    if len(dimensions) > MOST_DIMENSIONS:
        raise InvalidInput(f"A meter has at most {MOST_DIMENSIONS} dimensions.", field="dimensions")
    if len(set(dimensions)) < len(dimensions):
        raise InvalidInput("A dimension stands twice.", field="dimensions")


def _has_versions(*conditions: ColumnElement[bool]) -> bool:
    """Whether any price that meets the conditions has been published."""
    return db.session.scalar(select(PriceVersion.id).join(Price).where(*conditions).limit(1)) is not None


def update_plan(
    plan: Plan,
    *,
    name: str,
    product: Product,
    unit: str,
    interval: Interval,
    trial_days: int,
    credit_meters: tuple[str, ...],
) -> None:
    """Let a plan be called otherwise, or begin with another trial from now on. Idempotent.

    Raises InvalidInput, naming the field, for another interval, or if its price grants a credit that would be left
    without meters.
    """
    if interval != plan.interval:
        raise InvalidInput(
            f"The plan stays one by the {plan.interval}: fees have been counted so. Make another plan.",
            field="interval",
        )
    if not credit_meters and _has_versions(Price.plan_id == plan.id, PriceVersion.terms.has_key("monthly_credit")):
        raise InvalidInput("Its price grants a credit, which is for some meters.", field="credit_meters")
    values = {
        "name": name,
        "product_id": product.id,
        "unit": unit,
        "trial_days": trial_days,
        "credit_meters": list(credit_meters),
    }
    _change(plan, "plan", values)


def rename_price(price: Price, name: str) -> None:
    """Give a price another name: drafts show it, final invoices keep the one they have. Idempotent."""
    _change(price, "price", {"name": name})


def update_coupon(coupon: Coupon, *, name: str, stacks: bool, redeem_by: date | None, **fixed: Any) -> None:
    """Let a coupon be called otherwise, or be given until another day. Idempotent.

    `fixed` are percent, amount, currency, products and months, for which organizations have it: raises InvalidInput,
    naming the field, if one of them differs.
    """
    for field, value in fixed.items():
        if getattr(coupon, field) != value:
            raise InvalidInput(
                "What a coupon takes off stays as it is for those who have it; make another code.", field=field
            )
    _change(coupon, "coupon", {"name": name, "stacks": stacks, "redeem_by": redeem_by})


def _change(row: Product | Meter | Plan | Price | Coupon, what: str, values: Mapping[str, Any]) -> None:
    """Set what differs and record it; nothing is recorded if nothing does."""
    before = {name: getattr(row, name) for name, value in values.items() if getattr(row, name) != value}
    if before:
        after = {name: values[name] for name in before}
        for name, value in after.items():
            setattr(row, name, value)
        db.session.flush()
        audit.record(
            f"changed {what}",
            subject=what,
            subject_id=row.id,
            organization_id=row.organization_id if isinstance(row, Price) else None,
            before=_plain(before),
            after=_plain(after),
        )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in values.items()}


def archive(row: Product | Meter | Plan | Price | Coupon, *, now: datetime) -> None:
    """Take something off sale from today on; what was billed with it stays explained. Idempotent.

    A meter takes no more events, a plan and a coupon are given no more (those who have them keep them), and a price
    applies no more from today, 00:00 UTC: usage without another price then keeps its invoice from being finalized.
    """
    if row.archived_at is None:
        row.archived_at = now
        what = type(row).__name__.lower()
        audit.record(
            f"archived {what}",
            subject=what,
            subject_id=row.id,
            organization_id=row.organization_id if isinstance(row, Price) else None,
            after={"archived_at": now.isoformat()},
        )


def restore(row: Product | Meter | Plan | Price | Coupon, *, open_from: date | None) -> None:
    """Put something back on sale that was archived. Idempotent.

    A price applies again from `open_from` on, the first day that no final invoice has billed yet: what was billed
    while it was archived stays as it was, also when late usage is rated again.
    """
    if row.archived_at is not None:
        before, row.archived_at = row.archived_at, None
        if isinstance(row, Price):
            archived_on = before.astimezone(UTC).date()
            if open_from is not None and archived_on < open_from:
                row.off_sale = [*row.off_sale, [archived_on.isoformat(), open_from.isoformat()]]
        what = type(row).__name__.lower()
        audit.record(
            f"restored {what}",
            subject=what,
            subject_id=row.id,
            organization_id=row.organization_id if isinstance(row, Price) else None,
            before={"archived_at": before.isoformat()},
        )


def publish_price(
    *,
    name: str,
    currency: str,
    terms: dict[str, Any],
    valid_from: date,
    open_from: date | None,
    meter: Meter | None = None,
    plan: Plan | None = None,
    match: dict[str, str] | None = None,
    organization_id: int | None = None,
    for_plan: Plan | None = None,
    note: str | None = None,
) -> PriceVersion:
    """Add a version to a place in the price list, making the place if it is new.

    `open_from` is the first day that no final invoice has billed yet (invoicing.queries.open_from); None if there is
    none. Idempotent for the same terms on the same day. Raises InvalidInput, naming the field, if the terms cannot
    be priced, if the currency is not the organization's, if a dimension is not the meter's, if that day already has
    other terms (a version never changes), or if it lies in a period that has been billed.
    """
    _require_one_currency(currency, organization_id)
    unknown = set(match or {}) - set(meter.dimensions if meter else ())
    if unknown:
        raise InvalidInput(f"“{min(unknown)}” is not a dimension of this meter.", field="match")
    stored = terms_to_json(_terms_for(meter, plan, terms))
    place: dict[str, Any] = {
        "meter_id": meter.id if meter else None,
        "plan_id": plan.id if plan else None,
        "organization_id": organization_id,
        "for_plan_id": for_plan.id if for_plan else None,
        "currency": currency,
        "match": match or {},
    }
    price = price_at(place)
    version = db.session.scalar(
        select(PriceVersion).where(
            PriceVersion.price_id == (price.id if price else None), PriceVersion.valid_from == valid_from
        )
    )
    if version is not None:
        if version.terms == stored:
            return version
        raise InvalidInput(
            f"“{name}” already has other terms from {valid_from}; publish them from another day.",
            field="valid_from",
        )
    if open_from is not None and valid_from < open_from:
        raise InvalidInput(
            f"“{name}” cannot apply from {valid_from}: invoices up to {open_from} are final. Choose {open_from} or"
            " a later day.",
            field="valid_from",
        )
    if price is not None and price.archived_at is not None:
        raise InvalidInput(f"“{name}” is archived; restore it first.", field="price")
    if price is None:
        price = Price(name=name, **place)
        db.session.add(price)
        db.session.flush()
    version = PriceVersion(price_id=price.id, valid_from=valid_from, terms=stored, note=note)
    db.session.add(version)
    db.session.flush()
    audit.record(
        "published price",
        subject="price version",
        subject_id=version.id,
        organization_id=organization_id,
        after={"price": name, "currency": currency, "valid_from": valid_from.isoformat(), "terms": stored},
    )
    return version


def price_at(place: dict[str, Any]) -> Price | None:
    """The price at a place of the list: its columns meter_id, plan_id, organization_id, for_plan_id, currency, match.

    A column that is None must be null there.
    """
    columns = [getattr(Price, column).is_not_distinct_from(value) for column, value in place.items()]
    return db.session.scalar(select(Price).where(*columns))


def _require_one_currency(currency: str, organization_id: int | None) -> None:
    require_currency(currency)
    if organization_id is not None:
        organization = db.session.get_one(Organization, organization_id)
        if organization.currency != currency:
            raise InvalidInput(
                f"{organization.name} is billed in {organization.currency}; its own prices cannot be in {currency}.",
                field="currency",
            )


def _terms_for(meter: Meter | None, plan: Plan | None, document: dict[str, Any]) -> Terms:
    terms = terms_from_json(document)
    if terms.needs_event_amounts:
        raise InvalidInput(
            "This price looks at each event on its own, but usage is billed from daily sums."
            " Leave out free_events, event_minimum and event_maximum.",
            field="terms",
        )
    if plan is not None and terms.fee_per_event:
        raise InvalidInput("A plan has no events, so its price has no fee for them.", field="fee_per_event")
    for name in ("monthly_credit", "commitment"):
        if meter is not None and getattr(terms, name):
            raise InvalidInput(f"Only the price of a plan has a {name}.", field=name)
    if plan is not None and terms.monthly_credit and not plan.credit_meters:
        raise InvalidInput("The plan names no meters that its credit is for.", field="monthly_credit")
    return terms
