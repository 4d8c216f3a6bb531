"""Subscriptions as they stand at a moment, with what happens to them next, for customers and staff alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from portal.catalog.models import Plan, Subscription, SubscriptionChange
from portal.catalog.pricebook import Pricebook, pricebook_for
from portal.catalog.queries import contract_of, plans_of, subscriptions_of
from portal.catalog.wording import price_in_words, said
from portal.core.subscriptions import Contract, Interval, Period
from portal.infra.formats import days, quantity
from portal.infra.languages import _
from portal.organizations.models import Organization

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Standing:
    """A subscription as it is at a moment: its plan and number of seats after all changes up to then.

    `state` is "to come", "trial", "running" or "ended"; `period` what is paid for just now; `coming` what happens
    next, in sentences; `changes` those that can still be taken back.
    """

    subscription: Subscription
    plan: Plan
    quantity: int
    state: str
    period: Period | None
    price: str | None
    coming: tuple[str, ...]
    changes: tuple[SubscriptionChange, ...]

    @property
    def name(self) -> str:
        """The plan with the label, as invoices name it."""
        label = self.subscription.label
        return f"{self.plan.name} · {label}" if label else self.plan.name

    @property
    def period_days(self) -> str:
        """The days of its period, both ends included; "" while nothing is paid for."""
        return days(self.period.start.date(), (self.period.end - _INSTANT).date()) if self.period else ""


STANDING_CSV_HEAD = (
    *("subscription", "plan", "label", "quantity", "price_of_one", "state", "first_day", "last_day"),
    "what_comes_next",
)


def standing_csv_rows(standings: Sequence[Standing]) -> list[tuple[Any, ...]]:
    """Subscriptions for a file; the days of a period are both included."""
    return [
        (
            each.subscription.public_id,
            each.plan.name,
            each.subscription.label,
            each.quantity,
            each.price,
            each.state,
            each.period and each.period.start.date(),
            each.period and (each.period.end - _INSTANT).date(),
            "; ".join(each.coming),
        )
        for each in standings
    ]


def standings_of(organization: Organization, now: datetime) -> list[Standing]:
    """All subscriptions of an organization as they are at a moment: those that run first, then newest first."""
    pricebook = pricebook_for(organization.id, organization.currency)
    found = [
        _standing(subscription, pricebook, organization.currency, now)
        for subscription in subscriptions_of(organization.id)
    ]
    return sorted(found, key=lambda each: each.state == "ended")


def _standing(subscription: Subscription, pricebook: Pricebook, currency: str, now: datetime) -> Standing:
    contract = contract_of(subscription)
    state = _state(contract, now)
    shown_at = max(now, subscription.started_at)
    if subscription.ended_at is not None:
        shown_at = min(shown_at, subscription.ended_at - _INSTANT)
    phase = contract.phase_at(shown_at)
    assert phase is not None, "a subscription ends after its start"
    plan = plans_of(subscription)[phase.plan]
    period = None
    if state == "trial":
        assert contract.trial_ends_at is not None
        period = Period(subscription.started_at, contract.trial_ends_at)
    elif state == "running":
        whole = contract.schedule_of(phase).period_at(now)
        period = Period(max(whole.start, subscription.started_at), whole.end)
    end = subscription.ended_at
    changes = tuple(
        each for each in subscription.changes if each.effective_at > now and (end is None or each.effective_at < end)
    )
    charged_from = max(shown_at, contract.trial_ends_at or shown_at).astimezone(UTC).date()
    return Standing(
        subscription,
        plan,
        phase.quantity,
        state,
        period,
        _price_of(plan, pricebook, charged_from, currency),
        tuple(_coming(subscription, contract, state, changes, now)),
        changes,
    )


def _state(contract: Contract, now: datetime) -> str:
    if contract.ended_at is not None and contract.ended_at <= now:
        return "ended"
    if now < contract.phases[0].start:
        return "to come"
    return "trial" if contract.trial_ends_at is not None and now < contract.trial_ends_at else "running"


def _price_of(plan: Plan, pricebook: Pricebook, on: date, currency: str) -> str | None:
    price = pricebook.price_of_plan(plan.id, on)
    version = price.version_on(on) if price else None
    if version is None:
        return None
    return price_in_words(version.terms, unit=plan.unit, currency=currency, interval=Interval(plan.interval).value)


def _coming(
    subscription: Subscription, contract: Contract, state: str, changes: Sequence[SubscriptionChange], now: datetime
) -> list[str]:
    """What happens next, in the order of time."""
    end = contract.ended_at
    if state == "ended":
        assert end is not None
        return [_("Ended on %(moment)s", moment=said(end))]
    sentences = []
    trial_end = contract.trial_ends_at
    if state == "to come":
        sentences.append(_("Starts on %(moment)s", moment=said(subscription.started_at)))
    if trial_end is not None and now < trial_end and (end is None or trial_end < end):
        sentences.append(_("Trial until %(moment)s, then its first fee", moment=said(trial_end)))
    for change in changes:
        sentences.append(
            _(
                "Changes to %(quantity)s × %(plan)s on %(moment)s",
                quantity=quantity(change.quantity),
                plan=change.plan.name,
                moment=said(change.effective_at),
            )
        )
    if end is not None:
        sentences.append(_("Ends on %(moment)s", moment=said(end)))
    elif state == "running":
        renewal = contract.period_end_after(now)
        assert renewal is not None, "what runs without an end has a period"
        sentences.append(_("Renews on %(moment)s", moment=said(renewal)))
    return sentences
