"""What a month comes to, computed from rollups and prices: the live draft, and the same figures when frozen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal, localcontext
from fractions import Fraction
from typing import Any

from sqlalchemy import func, select

from portal.catalog.models import Subscription
from portal.catalog.pricebook import ListedPrice, Pricebook, Version, pricebook_for
from portal.catalog.queries import subscriptions_between
from portal.core.exact import ZERO, exactly, plain
from portal.core.money import LARGEST_AMOUNT, major_text, round_fraction, round_to_minor
from portal.core.periods import Month, part_of
from portal.core.pricing import Charge, Step, charge, terms_to_json
from portal.core.statement import Line, LineKind, Statement, compose
from portal.infra.db import db
from portal.invoicing.models import BalanceEntry, Invoice, OneOffItem
from portal.organizations.models import Organization
from portal.usage.queries import SeriesQuantity, usage_by_series

_SHOWN_DECIMALS = Decimal(1).scaleb(-15)


@dataclass(frozen=True, slots=True)
class Draft:
    """The figures of one organization's month as they stand."""

    organization_id: int
    month: Month
    statement: Statement
    unpriced: tuple[SeriesQuantity, ...]
    unpriced_plans: tuple[str, ...]
    fingerprint: str

    @property
    def blockers(self) -> tuple[str, ...]:
        """Why the draft cannot be finalized as it stands, in sentences; empty if it can."""
        sentences = []
        if self.unpriced:
            meters = ", ".join(sorted({series.meter_name for series in self.unpriced}))
            sentences.append(f"Some usage has no price: {meters}.")
        if self.unpriced_plans:
            sentences.append(f"A plan has no price: {', '.join(self.unpriced_plans)}.")
        if self.statement.is_too_large:
            currency = self.statement.currency
            largest = major_text(LARGEST_AMOUNT, currency)
            sentences.append(f"The total is above {currency} {largest}, the largest amount of one invoice.")
        return tuple(sentences)


def draft_of(organization: Organization, month: Month, *, frozen_invoice_id: int | None = None) -> Draft:
    """Compute a draft in a handful of queries, however much usage there was.

    With `frozen_invoice_id` the usage is what that invoice has frozen, instead of what the rollups hold now.
    """
    pricebook = pricebook_for(organization.id, organization.currency)
    cuts = pricebook.change_days(month.first_day, month.last_day)
    used = usage_by_series(organization.id, month, cuts=cuts, frozen_invoice_id=frozen_invoice_id)
    lines, unpriced = _usage_lines(used, pricebook, month, organization.currency)
    fees, unpriced_plans = _subscription_lines(organization, month, pricebook)
    lines += fees
    lines += [_one_off_line(item, month) for item in one_off_items_of(organization.id, month)]
    # What this very invoice has taken of the balance already, in its hold window, is still its own.
    balance = balance_of(organization.id, without_invoice_id=frozen_invoice_id)
    statement = compose(lines, currency=organization.currency, balance=balance)
    return Draft(organization.id, month, statement, tuple(unpriced), tuple(unpriced_plans), statement.fingerprint())


def balance_of(organization_id: int, *, without_invoice_id: int | None = None) -> int:
    """The credit that an organization has left over, in minor units; on wish without one invoice's movements."""
    query = select(func.sum(BalanceEntry.amount)).where(BalanceEntry.organization_id == organization_id)
    if without_invoice_id is not None:
        query = query.where(BalanceEntry.invoice_id != without_invoice_id)
    return int(db.session.scalar(query) or 0)


@exactly
def _usage_lines(
    used: Sequence[SeriesQuantity], pricebook: Pricebook, month: Month, currency: str
) -> tuple[list[Line], list[SeriesQuantity]]:
    """One line per price version; series of the same price are pooled, so tiers count once per organization."""
    unpriced = []
    pools: dict[tuple[int, date], _Pool] = {}
    for series in used:
        price = pricebook.price_of_series(series.meter_id, series.dimensions, series.segment_start)
        version = price.version_on(series.segment_start) if price else None
        if price is None or version is None:
            unpriced.append(series)
            continue
        pool = pools.setdefault((price.id, version.valid_from), _Pool(price, version))
        pool.add(series)
    by_price: dict[int, list[_Pool]] = {}
    for key in sorted(pools):
        by_price.setdefault(key[0], []).append(pools[key])
    lines = []
    for segments in by_price.values():
        reached = _Reached(whole=sum((segment.quantity for segment in segments), ZERO))
        for index, segment in enumerate(segments):
            following = segments[index + 1].version.valid_from if index + 1 < len(segments) else None
            line = segment.line(month, following, reached, currency)
            reached = reached.after(segment, line)
            lines.append(line)
    return lines, unpriced


@dataclass(frozen=True, slots=True)
class _Reached:
    """How far earlier segments of the same price have come within the month, and the month's whole quantity."""

    whole: Decimal
    quantity: Decimal = ZERO
    events: int = 0
    billed: Decimal = ZERO

    def after(self, segment: "_Pool", line: Line) -> "_Reached":
        quantity, events = self.quantity + segment.quantity, self.events + segment.events
        return _Reached(self.whole, quantity, events, self.billed + line.unrounded)


class _Pool:
    """The usage of one price version within a month."""

    def __init__(self, price: ListedPrice, version: Version) -> None:
        self.price, self.version = price, version
        self.quantity, self.events = ZERO, 0
        self.series: set[int] = set()

    def add(self, series: SeriesQuantity) -> None:
        self.quantity += series.quantity
        self.events += series.events
        self.series.add(series.series_id)

    def line(self, month: Month, following: date | None, reached: _Reached, currency: str) -> Line:
        """The line of this version; `following` is the day from which the next one holds."""
        terms = self.version.terms
        result = self._charge(reached, period_ends=following is None)
        first = max(month.first_day, self.version.valid_from)
        return Line(
            kind=LineKind.USAGE,
            description=self.price.name,
            quantity=self.quantity,
            unit=self.price.unit,
            unit_amount=terms.unit_amount if not terms.tiers else None,
            unrounded=result.amount,
            amount=round_to_minor(result.amount, currency),
            period_start=first,
            period_end=following - timedelta(days=1) if following else month.last_day,
            derivation={
                "price": self.price.name,
                "valid_from": self.version.valid_from.isoformat(),
                "terms": terms_to_json(terms),
                "already": plain(reached.quantity),
                "events": self.events,
                "steps": _steps(result),
            },
            references={"price_version_id": self.version.id},
            series=tuple(sorted(self.series)),
        )

    def _charge(self, reached: _Reached, *, period_ends: bool) -> Charge:
        """Price the quantity; one that corrections have made negative is credited as it would have been charged."""
        if self.quantity >= 0 and reached.quantity >= 0:
            return charge(
                self.version.terms,
                self.quantity,
                already=reached.quantity,
                period_quantity=reached.whole,
                already_billed=reached.billed,
                period_ends=period_ends,
                events=self.events,
                already_events=reached.events,
            )
        # A minimum or maximum is a rule for what is charged, not for what is given back.
        terms = replace(self.version.terms, minimum=ZERO, maximum=None)
        if min(reached.quantity, reached.quantity + self.quantity) >= 0:
            # Back down the same tiers: what the quantity before cost, less what the smaller one costs.
            before = charge(terms, reached.quantity, events=reached.events)
            after = charge(terms, reached.quantity + self.quantity, events=reached.events)
            amount = after.amount - before.amount
            return Charge(amount, (Step(self.quantity, ZERO, amount, amount),))
        size = charge(terms, abs(self.quantity), events=self.events)
        return size if self.quantity >= 0 else Charge(-size.amount, size.steps)


def _steps(result: Charge) -> list[dict[str, str]]:
    return [
        {
            "kind": step.kind.value,
            "quantity": plain(step.quantity),
            "unit_amount": plain(step.unit_amount),
            "flat_amount": plain(step.flat_amount),
            "amount": plain(step.amount),
        }
        for step in result.steps
    ]


def _subscription_lines(organization: Organization, month: Month, pricebook: Pricebook) -> tuple[list[Line], list[str]]:
    """The fees of the periods that start in this month, in advance; a first period is prorated by the second."""
    lines, unpriced = [], []
    for subscription in subscriptions_between(organization.id, month.start, month.end):
        first_day = max(subscription.started_at, month.start).astimezone(UTC).date()
        price = pricebook.price_of_plan(subscription.plan_id, first_day)
        version = price.version_on(first_day) if price else None
        if version is None:
            unpriced.append(subscription.plan.name)
        else:
            lines.append(_subscription_line(subscription, version, month, organization.currency))
    return lines, unpriced


def _subscription_line(subscription: Subscription, version: Version, month: Month, currency: str) -> Line:
    start: datetime = max(subscription.started_at, month.start)
    share = part_of(start, month.end, month.start, month.end)
    exact = Fraction(version.terms.unit_amount) * subscription.quantity * share
    label = f"{subscription.plan.name} · {subscription.label}" if subscription.label else subscription.plan.name
    derivation: dict[str, Any] = {
        "price": subscription.plan.name,
        "valid_from": version.valid_from.isoformat(),
        "terms": terms_to_json(version.terms),
        "share": str(share),
    }
    return Line(
        kind=LineKind.RECURRING,
        description=label,
        quantity=Decimal(subscription.quantity),
        unit=subscription.plan.unit,
        unit_amount=version.terms.unit_amount,
        unrounded=_shown(exact),
        amount=round_fraction(exact, currency),
        period_start=start.date(),
        period_end=month.last_day,
        derivation=derivation,
        references={"price_version_id": version.id, "subscription_id": subscription.id},
    )


def _shown(exact: Fraction) -> Decimal:
    """A fraction with 15 decimals, for people; the amount itself is rounded from the fraction."""
    with localcontext() as context:
        context.prec = 60
        return (Decimal(exact.numerator) / Decimal(exact.denominator)).quantize(_SHOWN_DECIMALS, ROUND_DOWN).normalize()


def one_off_items_of(organization_id: int, month: Month) -> list[OneOffItem]:
    """The one-off items on an organization's invoice of a month that have not been removed."""
    return list(
        db.session.scalars(
            select(OneOffItem)
            .join(Invoice, Invoice.id == OneOffItem.invoice_id)
            .where(
                OneOffItem.organization_id == organization_id,
                Invoice.period_start == month.first_day,
                Invoice.state != "void",
                OneOffItem.removed_at.is_(None),
            )
            .order_by(OneOffItem.id)
        )
    )


def _one_off_line(item: OneOffItem, month: Month) -> Line:
    credit = item.kind == "credit"
    return Line(
        kind=LineKind.CREDIT if credit else LineKind.ONE_OFF,
        description=item.description,
        quantity=item.quantity,
        unit="",
        unit_amount=-item.unit_amount if credit else item.unit_amount,
        unrounded=item.quantity * item.unit_amount * (-1 if credit else 1),
        amount=item.amount,
        period_start=month.first_day,
        period_end=month.last_day,
        derivation={"one_off_item": str(item.public_id)},
        references={"one_off_item_id": item.id},
    )
