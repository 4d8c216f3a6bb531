"""How an organization's subscriptions begin, change and end.

A draft computes its fees from the agreement as it stands, so that nothing changes before `open_from`: the first day
that no final invoice of the organization has billed yet (invoicing.queries.open_from), asked under the lock of the
organization (organizations.locking).
"""

from datetime import UTC, date, datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import joinedload, selectinload

from portal.catalog.models import Plan, Subscription, SubscriptionChange
from portal.catalog.pricebook import pricebook_for
from portal.catalog.queries import contract_of, plans_of
from portal.core.errors import InvalidInput, InvalidTransition, NotFound
from portal.core.periods import Month, midnight
from portal.core.subscriptions import Contract, Interval, schedule_after_trial
from portal.infra import audit
from portal.infra.db import db
from portal.organizations.locking import lock_organization
from portal.organizations.models import Organization

MOST_SEATS = 1_000_000
LONGEST_LABEL = 100
LONGEST_TRIAL_DAYS = 3660
# Moments outside these are slips of the pen, and far enough from where the calendar of datetime ends.
_FIRST_YEAR, _LAST_YEAR = 2000, 2199
_WITH_CHANGES = (
    joinedload(Subscription.organization),
    joinedload(Subscription.plan),
    selectinload(Subscription.changes).joinedload(SubscriptionChange.plan),
)


def subscribe(
    organization: Organization,
    plan: Plan,
    *,
    starts_at: datetime,
    open_from: date | None,
    quantity: int = 1,
    label: str | None = None,
    trial_days: int | None = None,
    align_to_month: bool = False,
) -> Subscription:
    """Give an organization a plan from a moment on, after a trial of the plan's days unless others are given.

    Its periods are counted from the end of the trial, so that the first fee is a whole one; aligned to the month they
    begin with the calendar's, and the first fee is for the rest of one.

    Raises InvalidInput, naming the field, if the plan is not on sale or has no price in the organization's currency
    when its fee begins, for fewer than one seat, and for a start in a month that has been billed.
    """
    lock_organization(organization.id)
    starts_at = _utc(starts_at, "starts_at")
    _require_open(starts_at, open_from, "starts_at")
    _require_on_sale(plan)
    _require_seats(quantity)
    days = plan.trial_days if trial_days is None else trial_days
    if not 0 <= days <= LONGEST_TRIAL_DAYS:
        raise InvalidInput(f"A trial has 0 to {LONGEST_TRIAL_DAYS} days.", field="trial_days")
    paid_from = schedule_after_trial(starts_at, Interval(plan.interval), trial_days=days).anchor
    _require_price(organization, plan, paid_from)
    subscription = Subscription(
        organization_id=organization.id,
        plan_id=plan.id,
        quantity=quantity,
        label=_label(label),
        started_at=starts_at,
        anchor_at=Month.of(paid_from).start if align_to_month else paid_from,
        trial_ends_at=paid_from if days else None,
    )
    db.session.add(subscription)
    db.session.flush()
    _record(
        subscription,
        "subscribed",
        after={
            "plan": plan.code,
            "quantity": quantity,
            "starts_at": starts_at.isoformat(),
            "trial_ends_at": paid_from.isoformat() if days else None,
        },
    )
    return subscription


def change_subscription(
    subscription_id: int,
    *,
    plan: Plan | None = None,
    quantity: int | None = None,
    at: datetime | None,
    now: datetime,
    open_from: date | None,
) -> SubscriptionChange:
    """Another plan or number of seats from a moment on, or from the end of the current period without one.

    Raises InvalidInput, naming the field, if that changes nothing, cannot be sold, or is at a moment that does not
    fit; InvalidTransition if the subscription has ended or another change is still to come after that moment;
    NotFound.
    """
    subscription = _locked(subscription_id)
    contract = contract_of(subscription)
    moment = _chosen(subscription, contract, at, now)
    _require_open(moment, open_from, "at")
    _require_follows(subscription, moment, now)
    before = contract.phases[-1]
    if plan is None:
        plan = plans_of(subscription)[before.plan]
    elif plan.id != before.plan:
        _require_on_sale(plan)
    quantity = before.quantity if quantity is None else quantity
    _require_seats(quantity)
    if (plan.id, quantity) == (before.plan, before.quantity):
        raise InvalidInput("That is its plan and its number of seats already.", field="plan")
    _require_price(subscription.organization, plan, max(moment, subscription.trial_ends_at or moment))
    change = SubscriptionChange(
        organization_id=subscription.organization_id,
        subscription_id=subscription.id,
        effective_at=moment,
        plan_id=plan.id,
        quantity=quantity,
    )
    db.session.add(change)
    db.session.flush()
    db.session.expire(subscription, ["changes"])
    _record(
        subscription,
        "changed subscription",
        before={"plan_id": before.plan, "quantity": before.quantity},
        after={"plan_id": change.plan_id, "quantity": change.quantity, "effective_at": moment.isoformat()},
    )
    return change


def cancel_subscription(
    subscription_id: int, *, at: datetime | None, now: datetime, open_from: date | None, reason: str
) -> Subscription:
    """End a subscription at a moment (what was paid for the time after it is given back), or with the current period.

    In a trial the period ends with the trial. Idempotent for the same end; a cancellation that is still to come can
    be moved. Changes that would come later no longer do, unless it is resumed.

    Raises InvalidInput, naming the field, InvalidTransition if it has ended, NotFound.
    """
    subscription = _locked(subscription_id)
    if not reason.strip():
        raise InvalidInput("Cancelling needs a reason, for the audit log.", field="reason")
    if at is not None and subscription.ended_at == at:
        return subscription
    end = _chosen(subscription, contract_of(subscription), at, now)
    if subscription.ended_at == end:
        return subscription
    _require_open(end, open_from, "at")
    if end <= subscription.started_at:
        raise InvalidInput(f"It starts on {_say(subscription.started_at)} and can end only after that.", field="at")
    past = [change.effective_at for change in subscription.changes if end < change.effective_at <= now]
    if past:
        raise InvalidInput(f"It was changed on {_say(past[-1])} and cannot have ended before.", field="at")
    before, subscription.ended_at = subscription.ended_at, end
    db.session.flush()
    _record(
        subscription,
        "cancelled subscription",
        before={"ended_at": None if before is None else before.isoformat()},
        after={"ended_at": end.isoformat()},
        reason=reason.strip(),
    )
    return subscription


def resume_subscription(subscription_id: int, *, now: datetime) -> Subscription:
    """Take back a cancellation that is still to come. Idempotent. Raises InvalidTransition if it has come, NotFound."""
    subscription = _locked(subscription_id)
    _require_running(subscription, now)
    if subscription.ended_at is not None:
        before, subscription.ended_at = subscription.ended_at, None
        db.session.flush()
        _record(subscription, "resumed subscription", before={"ended_at": before.isoformat()})
    return subscription


def take_back_change(subscription_id: int, public_id: UUID, *, now: datetime) -> SubscriptionChange:
    """Take back a change that is still to come; its row stays. Idempotent.

    Raises InvalidTransition if it has come, NotFound.
    """
    subscription = _locked(subscription_id)
    change: SubscriptionChange | None = db.session.scalar(
        select(SubscriptionChange)
        .where(SubscriptionChange.public_id == public_id, SubscriptionChange.subscription_id == subscription.id)
        .execution_options(populate_existing=True)
    )
    if change is None:
        raise NotFound("There is no such change of this subscription.")
    if change.removed_at is not None:
        return change
    if change.effective_at <= now:
        raise InvalidTransition(
            f"The change came into effect on {_say(change.effective_at)}; change the subscription again instead."
        )
    change.removed_at = now
    db.session.flush()
    db.session.expire(subscription, ["changes"])
    _record(
        subscription,
        "took back change of subscription",
        before={
            "plan_id": change.plan_id,
            "quantity": change.quantity,
            "effective_at": change.effective_at.isoformat(),
        },
    )
    return change


def subscription_of(public_id: UUID, organization_id: int) -> Subscription:
    """A subscription of an organization, with its plans. Raises NotFound, also for another organization's."""
    found: Subscription | None = db.session.scalar(
        select(Subscription)
        .where(Subscription.public_id == public_id, Subscription.organization_id == organization_id)
        .options(*_WITH_CHANGES)
    )
    if found is None:
        raise NotFound("There is no such subscription.")
    return found


def plan_named(code: str) -> Plan:
    """The plan with this code, an archived one too. Raises NotFound."""
    plan: Plan | None = db.session.scalar(select(Plan).where(Plan.code == code))
    if plan is None:
        raise NotFound(f"There is no plan “{code}”.")
    return plan


def _label(text: str | None) -> str | None:
    label = (text or "").strip()
    if len(label) > LONGEST_LABEL:
        raise InvalidInput(f"A label has at most {LONGEST_LABEL} characters.", field="label")
    return label or None


def _locked(subscription_id: int) -> Subscription:
    """The subscription, fresh, under the lock of its organization: two changes at once see each other."""
    organization_id = db.session.scalar(select(Subscription.organization_id).where(Subscription.id == subscription_id))
    if organization_id is None:
        raise NotFound("There is no such subscription.")
    lock_organization(organization_id)
    return db.session.get_one(Subscription, subscription_id, options=_WITH_CHANGES, populate_existing=True)


def _chosen(subscription: Subscription, contract: Contract, at: datetime | None, now: datetime) -> datetime:
    """The moment that was named, or the end of the current period."""
    _require_running(subscription, now)
    if at is not None:
        return _utc(at, "at")
    end = contract.period_end_after(now)
    assert end is not None, "a running subscription has a current period"
    return end


def _require_running(subscription: Subscription, now: datetime) -> None:
    if subscription.ended_at is not None and subscription.ended_at <= now:
        raise InvalidTransition(f"The subscription ended on {_say(subscription.ended_at)}; start another one.")


def _require_follows(subscription: Subscription, moment: datetime, now: datetime) -> None:
    """Refuse a change at a moment that is not the last thing to happen to a subscription, but for its end."""
    if moment < subscription.started_at:
        raise InvalidInput(f"It starts on {_say(subscription.started_at)}, which is later.", field="at")
    if subscription.ended_at is not None and moment >= subscription.ended_at:
        raise InvalidInput(
            f"It ends on {_say(subscription.ended_at)}; resume it first, or choose a time before.", field="at"
        )
    last = subscription.changes[-1].effective_at if subscription.changes else None
    if last is None or last < moment:
        return
    if last > now and last > moment:
        raise InvalidTransition(f"A change is to come on {_say(last)}; take it back first.")
    raise InvalidInput(f"It is changed on {_say(last)} already; choose a later time.", field="at")


def _require_on_sale(plan: Plan) -> None:
    if plan.archived_at is not None:
        raise InvalidInput(f"“{plan.name}” is no longer sold.", field="plan")


def _require_seats(quantity: int) -> None:
    if not 1 <= quantity <= MOST_SEATS:
        raise InvalidInput(f"The quantity is 1 to {MOST_SEATS:,}.", field="quantity")


def _require_price(organization: Organization, plan: Plan, charged_from: datetime) -> None:
    day = charged_from.date()
    if pricebook_for(organization.id, organization.currency).price_of_plan(plan.id, day) is None:
        raise InvalidInput(f"“{plan.name}” has no price in {organization.currency} on {day}.", field="plan")


def _require_open(moment: datetime, open_from: date | None, field: str) -> None:
    if open_from is not None and moment < midnight(open_from):
        raise InvalidInput(f"Invoices up to {open_from} are final; choose that day or a later one.", field=field)


def _utc(moment: datetime, field: str) -> datetime:
    if moment.tzinfo is None:
        raise InvalidInput("A time needs its offset from UTC, such as 2026-11-01T00:00:00Z.", field=field)
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise InvalidInput(f"The year lies between {_FIRST_YEAR} and {_LAST_YEAR}.", field=field)
    return moment.astimezone(UTC)


def _say(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%d %b %Y, %H:%M:%S} UTC"


def _record(
    subscription: Subscription,
    action: str,
    *,
    before: dict[str, str | int | None] | None = None,
    after: dict[str, str | int | None] | None = None,
    reason: str | None = None,
) -> None:
    audit.record(
        action,
        subject="subscription",
        subject_id=subscription.id,
        organization_id=subscription.organization_id,
        before=before,
        after=after,
        reason=reason,
    )
