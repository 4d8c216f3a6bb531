"""Putting things on sale: meters, plans and price versions, each added once and found again by its code."""

from datetime import date
from typing import Any

from sqlalchemy import select

from portal.catalog.models import Meter, Plan, Price, PriceVersion
from portal.core.errors import InvalidInput
from portal.core.pricing import terms_from_json, terms_to_json
from portal.infra import audit
from portal.infra.db import db


def ensure_meter(code: str, *, name: str, product: str, unit: str, dimensions: tuple[str, ...] = ()) -> Meter:
    """The meter with this code, made if there is none. Idempotent."""
    meter = db.session.scalar(select(Meter).where(Meter.code == code))
    if meter is None:
        meter = Meter(code=code, name=name, product=product, unit=unit, dimensions=list(dimensions))
        db.session.add(meter)
        db.session.flush()
        audit.record("created meter", subject="meter", subject_id=meter.id, organization_id=None, after={"code": code})
    return meter


def ensure_plan(code: str, *, name: str, unit: str) -> Plan:
    """The plan with this code, made if there is none. Idempotent."""
    plan = db.session.scalar(select(Plan).where(Plan.code == code))
    if plan is None:
        plan = Plan(code=code, name=name, unit=unit)
        db.session.add(plan)
        db.session.flush()
        audit.record("created plan", subject="plan", subject_id=plan.id, organization_id=None, after={"code": code})
    return plan


def publish_price(
    *,
    name: str,
    currency: str,
    terms: dict[str, Any],
    valid_from: date,
    meter: Meter | None = None,
    plan: Plan | None = None,
    match: dict[str, str] | None = None,
    organization_id: int | None = None,
    note: str | None = None,
) -> PriceVersion:
    """Add a version to a place in the price list, making the place if it is new.

    Idempotent for the same terms on the same day. Raises InvalidInput if the terms cannot be priced, if a dimension
    is not the meter's, or if that day already has other terms: a version never changes.
    """
    unknown = set(match or {}) - set(meter.dimensions if meter else ())
    if unknown:
        raise InvalidInput(f"“{min(unknown)}” is not a dimension of this meter.", field="match")
    parsed = terms_from_json(terms)
    if parsed.needs_event_amounts:
        raise InvalidInput(
            "This price looks at each event on its own, but usage is billed from daily sums."
            " Leave out free_events, event_minimum and event_maximum.",
            field="terms",
        )
    stored = terms_to_json(parsed)
    meter_id, plan_id = meter.id if meter else None, plan.id if plan else None
    price = db.session.scalar(
        select(Price).where(
            Price.meter_id == meter_id if meter_id else Price.meter_id.is_(None),
            Price.plan_id == plan_id if plan_id else Price.plan_id.is_(None),
            Price.organization_id == organization_id if organization_id else Price.organization_id.is_(None),
            Price.currency == currency,
            Price.match == (match or {}),
        )
    )
    if price is None:
        price = Price(
            meter_id=meter_id,
            plan_id=plan_id,
            organization_id=organization_id,
            currency=currency,
            match=match or {},
            name=name,
        )
        db.session.add(price)
        db.session.flush()
    version = db.session.scalar(
        select(PriceVersion).where(PriceVersion.price_id == price.id, PriceVersion.valid_from == valid_from)
    )
    if version is None:
        version = PriceVersion(price_id=price.id, valid_from=valid_from, terms=stored, note=note)
        db.session.add(version)
        db.session.flush()
        audit.record(
            "published price",
            subject="price version",
            subject_id=version.id,
            organization_id=organization_id,
            after={
                "price": name,
                "currency": currency,
                "valid_from": valid_from.isoformat(),
                "terms": stored,
            },
        )
    elif version.terms != stored:
        raise InvalidInput(
            f"“{name}” already has other terms from {valid_from}; publish them from another day.",
            field="valid_from",
        )
    return version
