"""Reads of the catalog."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import joinedload, selectinload

from portal.catalog.models import Meter, Plan, Price, PriceVersion, Product, Subscription, SubscriptionChange
from portal.core.subscriptions import Contract, Interval, Phase
from portal.infra.db import among, db

_WITH_PLANS = (
    joinedload(Subscription.plan).joinedload(Plan.product),
    selectinload(Subscription.changes).joinedload(SubscriptionChange.plan).joinedload(Plan.product),
)


def meters_by_code() -> dict[str, Meter]:
    """All meters that are on sale, by code."""
    return {meter.code: meter for meter in db.session.scalars(select(Meter).where(Meter.archived_at.is_(None)))}


def product_names() -> list[str]:
    """The names of all products, in their order."""
    return list(db.session.scalars(select(Product.name).order_by(Product.name)))


def subscriptions_between(organization_id: int, start: datetime, end: datetime) -> list[Subscription]:
    """The subscriptions of an organization that run, or end, at any time within [start, end), with their changes."""
    return subscriptions_of_many([organization_id], start, end)[organization_id]


def subscriptions_of_many(
    organization_ids: Sequence[int], start: datetime, end: datetime
) -> dict[int, list[Subscription]]:
    """The same of many organizations, in as many queries as of one."""
    found: dict[int, list[Subscription]] = {each: [] for each in organization_ids}
    for subscription in db.session.scalars(
        select(Subscription)
        .where(
            among(Subscription.organization_id, organization_ids),
            Subscription.started_at < end,
            or_(Subscription.ended_at.is_(None), Subscription.ended_at >= start),
        )
        .options(*_WITH_PLANS)
        .order_by(Subscription.started_at, Subscription.id)
    ):
        found[subscription.organization_id].append(subscription)
    return found


def subscriptions_of(organization_id: int) -> list[Subscription]:
    """All subscriptions of an organization with their plans, newest first, ended ones too."""
    return list(
        db.session.scalars(
            select(Subscription)
            .where(Subscription.organization_id == organization_id)
            .options(*_WITH_PLANS)
            .order_by(Subscription.started_at.desc(), Subscription.id.desc())
        )
    )


def contract_of(subscription: Subscription) -> Contract:
    """A subscription with its changes, as its fees are computed from."""
    first = Phase(
        subscription.started_at.astimezone(UTC),
        subscription.plan_id,
        subscription.quantity,
        Interval(subscription.plan.interval),
    )
    later = [
        Phase(change.effective_at.astimezone(UTC), change.plan_id, change.quantity, Interval(change.plan.interval))
        for change in subscription.changes
    ]
    return Contract(
        (first, *later),
        subscription.anchor_at.astimezone(UTC),
        subscription.trial_ends_at and subscription.trial_ends_at.astimezone(UTC),
        subscription.ended_at and subscription.ended_at.astimezone(UTC),
    )


def plans_of(subscription: Subscription) -> dict[int, Plan]:
    """All plans that a subscription has, had or will have, by their ids."""
    return {plan.id: plan for plan in [subscription.plan, *(change.plan for change in subscription.changes)]}


def list_version_on(meter: Meter, currency: str, match: Mapping[str, str], day: date) -> PriceVersion | None:
    """The version of the list price with exactly this match that holds on a day; None before the first."""
    return db.session.scalar(
        select(PriceVersion)
        .join(Price)
        .where(
            Price.meter_id == meter.id,
            Price.organization_id.is_(None),
            Price.currency == currency,
            Price.match == dict(match),
            PriceVersion.valid_from <= day,
        )
        .order_by(PriceVersion.valid_from.desc())
        .limit(1)
    )


def places_of_versions(version_ids: Collection[int]) -> dict[int, tuple[str, dict[str, str]]]:
    """Of each price version its meter's code and what its price matches; versions of plans are missing."""
    rows = db.session.execute(
        select(PriceVersion.id, Meter.code, Price.match)
        .join(Price, Price.id == PriceVersion.price_id)
        .join(Meter, Meter.id == Price.meter_id)
        .where(PriceVersion.id.in_(version_ids))
    )
    return {row[0]: (row[1], row[2]) for row in rows}
