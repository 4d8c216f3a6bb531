"""Reads of getting paid: what Stripe has told us."""

from sqlalchemy import select
from sqlalchemy.orm import defer

from portal.infra.db import db
from portal.payments.models import StripeEvent


def latest_events(*, limit: int = 20) -> list[StripeEvent]:
    """The events that came in last, newest first, without their payloads."""
    query = select(StripeEvent).options(defer(StripeEvent.payload)).order_by(StripeEvent.id.desc()).limit(limit)
    return list(db.session.scalars(query))
