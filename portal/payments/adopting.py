"""When asking with the same key helps no more: what the call made is looked up at Stripe and adopted.

That is so once Stripe repeats an error for the key, and 23 hours after the first attempt, when Stripe may have
forgotten the key and would make a second object. Only if there is certainly nothing is the call made with a new key:
10 minutes after the last attempt, two complete lists 1 minute apart have to be without it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from portal.infra.db import db
from portal.infra.outbox import GiveUp, Lease, RetryLater
from portal.payments.models import StripeCall

# Stripe may forget a key after 24 h; a replay after that could create a second object.
KEY_LIFETIME = timedelta(hours=23)
SETTLED_AFTER = timedelta(minutes=10)
BETWEEN_LISTS = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for: the parameters of a call, and from its first attempt ever to its last."""

    parameters: Mapping[str, Any]
    since: datetime
    until: datetime


# Reads at Stripe and returns the object that the call made, or None; raises RetryLater, or GiveUp if a person decides.
LookUp = Callable[[Search], dict[str, Any] | None]


def is_stuck(call: StripeCall, *, now: datetime) -> bool:
    """Whether this call may not be, or need not be, repeated with its key."""
    return bool(call.attempts) and (call.failure_stored or call.first_attempt_at < now - KEY_LIFETIME)


def find(lease: Lease, call_id: int, look_up: LookUp | None, *, repeatable: bool = False) -> dict[str, Any] | None:
    """What a call made, as it stands at Stripe; None if it certainly made nothing.

    Of a `repeatable` call one look is enough: done twice it does no harm. Raises RetryLater while it is not certain,
    GiveUp if there is no way to look. Makes no changing call, so it may be repeated at will.
    """
    with lease.transaction():
        call = db.session.get_one(StripeCall, call_id, populate_existing=True)
        began = db.session.scalars(
            select(func.min(StripeCall.first_attempt_at)).where(
                StripeCall.subject == call.subject, StripeCall.step == call.step
            )
        ).one()
        search = Search(call.parameters, began, call.last_attempt_at)
        name, settled_at, absent_since = call.step, call.last_attempt_at + SETTLED_AFTER, call.absent_since
        now = db.session.scalars(select(func.clock_timestamp())).one()
    if look_up is None and not repeatable:
        raise GiveUp(f"What became of “{name}” cannot be known any more; look it up at Stripe, then decide.")
    found = look_up(search) if look_up is not None else None
    if found is not None or repeatable:
        return found
    if now < settled_at:
        raise _not_certain(name, settled_at - now)
    if absent_since is None:
        with lease.transaction():
            db.session.get_one(StripeCall, call_id).absent_since = now
        raise _not_certain(name, BETWEEN_LISTS)
    if now < absent_since + BETWEEN_LISTS:
        raise _not_certain(name, absent_since + BETWEEN_LISTS - now)
    return None


def _not_certain(name: str, wait: timedelta) -> RetryLater:
    return RetryLater(
        f"What became of “{name}” is not known, and Stripe has nothing of it yet. It is looked up there again before"
        " anything is sent anew.",
        seconds=wait // timedelta(seconds=1) + 1,
    )
