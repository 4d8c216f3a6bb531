"""Reads of the catalog."""

from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import joinedload

from portal.catalog.models import Meter, Subscription
from portal.infra.db import db


def meters_by_code() -> dict[str, Meter]:
    """All meters that are on sale, by code."""
    return {meter.code: meter for meter in db.session.scalars(select(Meter).where(Meter.archived_at.is_(None)))}


def subscriptions_between(organization_id: int, start: datetime, end: datetime) -> list[Subscription]:
    """The subscriptions of an organization that run at any time within [start, end)."""
    return list(
        db.session.scalars(
            select(Subscription)
            .where(
                Subscription.organization_id == organization_id,
                Subscription.started_at < end,
                or_(Subscription.ended_at.is_(None), Subscription.ended_at > start),
            )
            .options(joinedload(Subscription.plan))
            .order_by(Subscription.started_at, Subscription.id)
        )
    )


def subscriptions_of(organization_id: int) -> list[Subscription]:
    """All subscriptions of an organization with their plans, newest first, ended ones too."""
    return list(
        db.session.scalars(
            select(Subscription)
            .where(Subscription.organization_id == organization_id)
            .options(joinedload(Subscription.plan))
            .order_by(Subscription.started_at.desc(), Subscription.id.desc())
        )
    )
