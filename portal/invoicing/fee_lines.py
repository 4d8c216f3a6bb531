"""What a month's subscriptions come to: fees in advance, what is given back, true-ups, and reservations' credits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal, localcontext
from fractions import Fraction
from functools import cached_property

from sqlalchemy import select

from portal.catalog.models import Plan, Subscription
from portal.catalog.pricebook import Pricebook, Version
from portal.catalog.queries import contract_of, plans_of
from portal.core.commitments import true_up_of
from portal.core.exact import plain
from portal.core.lifecycle import InvoiceState
from portal.core.money import exponent_of, round_fraction, to_major
from portal.core.periods import Month
from portal.core.pricing import Charge, charge, steps_to_json
from portal.core.statement import Line, LineKind, Reduction
from portal.core.subscriptions import FeePart, Period, Phase
from portal.infra.db import db
from portal.invoicing.models import Invoice, InvoiceItem

_SHOWN_DECIMALS = Decimal(1).scaleb(-15)


@dataclass(slots=True)
class Fees:
    """The lines of an organization's subscriptions, the credits of its reservations, and what stands in the way:
    plans without a price, and earlier months whose invoice has to be final before a fee of it is given back."""

    lines: list[Line] = field(default_factory=list)
    reservations: list[Reduction] = field(default_factory=list)
    unpriced: tuple[str, ...] = ()
    waits_for: tuple[Month, ...] = ()
    commitments: tuple["_Commitment", ...] = ()

    def lines_with(self, used: int, month: Month, currency: str) -> list[Line]:
        """The lines as they are when usage comes to another sum: only what is missing to a commitment depends on it."""
        lines = [line for line in self.lines if line.kind is not LineKind.TRUE_UP]
        return lines + (_true_up(self.commitments, used, month, currency) if self.commitments else [])


@dataclass(frozen=True, slots=True)
class _Commitment:
    """A plan's minimum for its part of the month, and the part of its fee that counts towards it; in minor units."""

    plan: Plan
    amount: Fraction
    fee: Fraction
    share: Fraction


def fees_of(
    subscriptions: Sequence[Subscription], month: Month, pricebook: Pricebook, currency: str, *, used: int
) -> Fees:
    """The fees of a month. `used` is what its usage comes to, in minor units: it counts towards commitments."""
    fees, unpriced, waits_for = Fees(), list[str](), set[Month]()
    commitments: list[_Commitment] = []
    earlier = _Earlier(subscriptions, month)
    for subscription in subscriptions:
        plans = plans_of(subscription)
        contract = contract_of(subscription)
        charged: dict[tuple[Phase, datetime], int] = {}
        for part in contract.fee_parts(month.start, month.end):
            plan = plans[part.phase.plan]
            version = _version(pricebook, plan, part.charged_at.astimezone(UTC).date())
            if version is None:
                unpriced.append(plan.name)
                continue
            fee = _Fee(subscription, plan, version, part, currency)
            key = (part.phase, part.charged_at)
            if not part.given_back:
                charged[key] = len(fees.lines)
                fees.lines.append(fee.charged())
            elif key in charged:
                place = charged[key]
                line = fee.given_back(None)
                fees.lines[place] = replace(fees.lines[place], given_back=-line.amount)
                fees.lines.append(line)
            elif (item := earlier.charge_of(subscription, part)) is not None:
                fees.lines.append(fee.given_back(item))
            elif (charged_in := Month.of(part.charged_at)) in earlier.open_months:
                fees.lines.append(fee.given_back(None))
                waits_for.add(charged_in)
        reserved: dict[int, list[_Reserved]] = {}
        for phase, charged_at, span in _paid_spans(subscription, month):
            plan = plans[phase.plan]
            version = _version(pricebook, plan, charged_at.astimezone(UTC).date())
            if version is None:
                unpriced.append(plan.name)
                continue
            share = Period(month.start, month.end).share(span.start, span.end)
            if version.terms.monthly_credit:
                reserved.setdefault(plan.id, []).append(_Reserved(plan, version, phase.quantity, share))
            if version.terms.commitment:
                commitments.append(_commitment(plan, version, phase, share, currency))
        fees.reservations += [_reservation(subscription, parts, currency) for parts in reserved.values()]
    if commitments:
        fees.lines += _true_up(commitments, used, month, currency)
    fees.unpriced = tuple(dict.fromkeys(unpriced))
    fees.waits_for = tuple(sorted(waits_for))
    fees.commitments = tuple(commitments)
    return fees


def _version(pricebook: Pricebook, plan: Plan, day: date) -> Version | None:
    price = pricebook.price_of_plan(plan.id, day)
    return price.version_on(day) if price else None


def _paid_spans(subscription: Subscription, month: Month) -> Iterator[tuple[Phase, datetime, Period]]:
    """Which of its phases a subscription has within a month, by the fees that pay for them: charged when, for when."""
    contract = contract_of(subscription)
    for phase, end in contract.spans():
        paid_from = max(phase.start, contract.trial_ends_at or phase.start)
        until = min(end or month.end, month.end)
        for period in contract.schedule_of(phase).periods_between(max(paid_from, month.start), until):
            start = max(period.start, paid_from, month.start)
            yield phase, max(period.start, paid_from), Period(start, min(period.end, until))


class _Fee:
    """One part of a fee on its way to a line."""

    def __init__(self, subscription: Subscription, plan: Plan, version: Version, part: FeePart, currency: str) -> None:
        self._subscription, self._plan, self._version, self._part = subscription, plan, version, part
        self._currency = currency
        self._whole = _whole_fee(version, part.phase)

    def charged(self) -> Line:
        return self._line(Fraction(self._whole.amount) * self._part.share)

    def given_back(self, item: InvoiceItem | None) -> Line:
        """What is left of a fee when its phase ends: of what a final invoice asked for it, or of what is to be charged.

        Promotional credit that paid for it is not money and stays used; tax goes back at the rate it was taken at.
        """
        part = self._part
        if item is None:
            return self._line(-Fraction(self._whole.amount) * part.share)
        billed = item.amount - item.discount - item.credited
        exact = -Fraction(to_major(billed, self._currency)) * part.share / part.share_charged
        percent = item.derivation.get("tax_percent", "0")
        return replace(self._line(exact, billed), tax_percent=Decimal(percent))

    def _line(self, exact: Fraction, billed: int | None = None) -> Line:
        part, terms = self._part, self._version.terms
        label = f"{self._plan.name} · {self._subscription.label}" if self._subscription.label else self._plan.name
        return Line(
            kind=LineKind.RECURRING,
            description=f"{label}, unused time" if part.given_back else label,
            quantity=Decimal(part.phase.quantity),
            unit=self._plan.unit,
            unit_amount=None if terms.tiers else terms.unit_amount,
            unrounded=_shown(exact),
            amount=round_fraction(exact, self._currency),
            period_start=part.start.astimezone(UTC).date(),
            period_end=_last_day(part.period.end),
            derivation={
                "price": self._plan.name,
                "valid_from": self._version.valid_from.isoformat(),
                "terms": self._version.document,
                "interval": part.phase.interval.value,
                "period": [part.period.start.isoformat(), part.period.end.isoformat()],
                "share": str(part.share),
                "charged_at": part.charged_at.isoformat(),
                "steps": steps_to_json(self._whole),
                **({"given_back": True} if part.given_back else {}),
                **({} if billed is None else {"billed": billed, "share_billed": str(part.share_charged)}),
            },
            references={"price_version_id": self._version.id, "subscription_id": self._subscription.id},
            product=self._plan.product.name,
        )


def _whole_fee(version: Version, phase: Phase) -> Charge:
    """The fee of a whole period, in the major unit: a plan is priced by its quantity, as usage is."""
    return charge(version.terms, Decimal(phase.quantity))


def _last_day(end: datetime) -> date:
    """The last day that lies, at least in part, before a moment."""
    return (end - timedelta(microseconds=1)).astimezone(UTC).date()


def _shown(exact: Fraction) -> Decimal:
    """A fraction with 15 decimals, for people; the amount itself is rounded from the fraction."""
    with localcontext() as context:
        context.prec = 60
        return (Decimal(exact.numerator) / Decimal(exact.denominator)).quantize(_SHOWN_DECIMALS, ROUND_DOWN).normalize()


class _Earlier:
    """The fees on earlier invoices that this month may give back: read once, and only if it does."""

    def __init__(self, subscriptions: Sequence[Subscription], month: Month) -> None:
        self._month = month
        self._subscriptions = subscriptions

    def charge_of(self, subscription: Subscription, part: FeePart) -> InvoiceItem | None:
        """The line of a final invoice that asked for the fee; None if no final invoice did."""
        for item in self._items:
            if item.subscription_id == subscription.id and _is_charge_of(item, part):
                return item
        return None

    @cached_property
    def open_months(self) -> set[Month]:
        """The earlier months whose invoice is still a draft: what they will ask for is not known yet."""
        days = db.session.scalars(
            select(Invoice.period_start).where(
                Invoice.organization_id == self._subscriptions[0].organization_id,
                Invoice.state == InvoiceState.DRAFT,
                Invoice.period_start < self._month.first_day,
            )
        )
        return {Month.of(day) for day in days}

    @cached_property
    def _items(self) -> list[InvoiceItem]:
        return list(
            db.session.scalars(
                select(InvoiceItem)
                .join(Invoice, Invoice.id == InvoiceItem.invoice_id)
                .where(
                    InvoiceItem.organization_id == self._subscriptions[0].organization_id,
                    InvoiceItem.subscription_id.in_([each.id for each in self._subscriptions]),
                    InvoiceItem.kind == LineKind.RECURRING,
                    Invoice.state.in_([InvoiceState.SCHEDULED, InvoiceState.FINALIZED]),
                    Invoice.period_start < self._month.first_day,
                )
                .order_by(InvoiceItem.id.desc())
            )
        )


def _is_charge_of(item: InvoiceItem, part: FeePart) -> bool:
    if item.derivation.get("given_back"):
        return False
    charged_at = item.derivation.get("charged_at")
    if charged_at is None:
        # A line from before changes could be given back: it says only the day.
        return item.period_start == part.charged_at.astimezone(UTC).date()
    return datetime.fromisoformat(charged_at) == part.charged_at


@dataclass(frozen=True, slots=True)
class _Reserved:
    """A reservation's credit for a part of the month."""

    plan: Plan
    version: Version
    quantity: int
    share: Fraction

    @property
    def exact(self) -> Fraction:
        return Fraction(self.version.terms.monthly_credit) * self.quantity * self.share


def _reservation(subscription: Subscription, parts: Sequence[_Reserved], currency: str) -> Reduction:
    """The month's credit of a reservation, rounded once; what usage does not need of it is lost."""
    plan = parts[0].plan
    return Reduction(
        kind=LineKind.RESERVATION,
        description=f"{plan.name}, credit for usage",
        fixed=round_fraction(sum((part.exact for part in parts), Fraction(0)), currency),
        meters=frozenset(plan.credit_meters),
        references={"subscription_id": subscription.id, "price_version_id": parts[-1].version.id},
        derivation={
            "price": plan.name,
            "granted": [
                {
                    "monthly_credit": plain(part.version.terms.monthly_credit),
                    "quantity": part.quantity,
                    "share": str(part.share),
                }
                for part in parts
            ],
            "meters": sorted(plan.credit_meters),
        },
    )


def _commitment(plan: Plan, version: Version, phase: Phase, share: Fraction, currency: str) -> _Commitment:
    scale = 10 ** exponent_of(currency)
    monthly = Fraction(_whole_fee(version, phase).amount) / phase.interval.months
    return _Commitment(plan, Fraction(version.terms.commitment) * scale, monthly * scale, share)


def _true_up(commitments: Sequence[_Commitment], used: int, month: Month, currency: str) -> list[Line]:
    """One line for what usage and fees are below all commitments together; none if they are reached."""
    wanted = sum(((each.amount - each.fee) * each.share for each in commitments), Fraction(0))
    amount = true_up_of(wanted, used=used)
    if not amount:
        return []
    names = " and ".join(dict.fromkeys(each.plan.name for each in commitments))
    return [
        Line(
            kind=LineKind.TRUE_UP,
            description=f"Up to the minimum commitment of {names}",
            quantity=Decimal(1),
            unit="",
            unit_amount=None,
            unrounded=_shown((wanted - used) / 10 ** exponent_of(currency)),
            amount=amount,
            period_start=month.first_day,
            period_end=month.last_day,
            derivation={
                "product": commitments[0].plan.product.name,
                "used": used,
                "commitments": [
                    {"plan": each.plan.name, "amount": str(each.amount), "fee": str(each.fee), "share": str(each.share)}
                    for each in commitments
                ],
            },
            product=commitments[0].plan.product.name,
        )
    ]
