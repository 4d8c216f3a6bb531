"""What a month comes to, computed from rollups and prices: the live draft, and the same figures when frozen."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, or_, select

from portal.catalog.pricebook import pricebook_for
from portal.catalog.queries import contract_of, subscriptions_between
from portal.core.money import LARGEST_AMOUNT, major_text
from portal.core.periods import Month, midnight
from portal.core.statement import Line, LineKind, Statement, compose
from portal.infra.db import db
from portal.invoicing.as_of import DraftAsOf
from portal.invoicing.billed import billable
from portal.invoicing.crediting import credit_for
from portal.invoicing.fee_lines import fees_of
from portal.invoicing.late_usage import adjustments_of
from portal.invoicing.models import BalanceEntry, Invoice, OneOffItem
from portal.invoicing.reductions import coupons_of, prepaid, promotional, tax_terms_of
from portal.invoicing.usage_lines import usage_lines
from portal.organizations.models import Organization
from portal.usage.queries import SeriesQuantity, Source, usage_by_series
from portal.usage.waiting_queries import waiting_sentences


@dataclass(frozen=True, slots=True)
class Draft:
    """The figures of one organization's month as they stand."""

    organization_id: int
    month: Month
    statement: Statement
    unpriced: tuple[SeriesQuantity, ...]
    unpriced_plans: tuple[str, ...]
    waits_for: tuple[Month, ...]
    waiting_usage: tuple[str, ...]
    fingerprint: str

    @property
    def blockers(self) -> tuple[str, ...]:
        """Why the draft cannot be finalized as it stands, in sentences; empty if it can."""
        sentences = list(self.waiting_usage)
        if self.unpriced:
            meters = ", ".join(sorted({series.meter_name for series in self.unpriced}))
            sentences.append(f"Some usage has no price: {meters}.")
        if self.unpriced_plans:
            sentences.append(f"A plan has no price: {', '.join(self.unpriced_plans)}.")
        sentences += [
            f"The invoice of {month} comes first: this one gives back a part of a fee of it."
            for month in self.waits_for
        ]
        if self.statement.is_too_large:
            currency = self.statement.currency
            largest = major_text(LARGEST_AMOUNT, currency)
            sentences.append(f"The total is above {currency} {largest}, the largest amount of one invoice.")
        return tuple(sentences)


def draft_of(
    organization: Organization,
    month: Month,
    *,
    frozen_invoice_id: int | None = None,
    known_on: date | DraftAsOf | None = None,
    usage: Source | None = None,
) -> Draft:
    """Compute a draft in a handful of queries, however much usage there was.

    With `frozen_invoice_id` the usage is what that invoice has frozen, instead of what the rollups hold now. With
    `known_on` usage and one-off items are those that were known at the end of that day, or at an instant for which the
    usage has been computed, under today's prices. `usage` replaces the month's own usage: by that of a forecast.
    """
    subscriptions = subscriptions_between(organization.id, month.start, month.end)
    pricebook = pricebook_for(organization.id, organization.currency, map(contract_of, subscriptions))
    cuts = pricebook.change_days(month.first_day, month.last_day)
    bill = billable(organization.id, month, frozen_invoice_id=frozen_invoice_id, known_on=known_on)
    used = usage_by_series(organization.id, month, cuts=cuts, source=usage or bill.own)
    lines, unpriced = usage_lines(used, pricebook, month, organization.currency)
    fees = fees_of(subscriptions, month, pricebook, organization.currency, used=sum(line.amount for line in lines))
    adjustments, late_unpriced = adjustments_of(organization, bill)
    lines += [*fees.lines, *adjustments]
    unpriced += late_unpriced
    lines += [one_off_line(item, month) for item in one_off_items_of(organization.id, month, known_on=known_on)]
    credit = credit_for(organization.id, month, frozen_invoice_id=frozen_invoice_id)
    statement = compose(
        lines,
        currency=organization.currency,
        # What this very invoice has taken of the balance already, in its hold window, is still its own. A forecast is
        # of the total, which comes before the balance.
        balance=0 if usage else balance_of(organization.id, without_invoice_id=frozen_invoice_id),
        reductions=[*fees.reservations, *coupons_of(organization.id, month), *promotional(credit)],
        prepaid=prepaid(credit),
        tax=tax_terms_of(organization, month),
    )
    return Draft(
        organization_id=organization.id,
        month=month,
        statement=statement,
        unpriced=tuple(unpriced),
        unpriced_plans=fees.unpriced,
        waits_for=fees.waits_for,
        waiting_usage=tuple(waiting_sentences(organization.id, month)),
        fingerprint=statement.fingerprint(),
    )


def balance_of(organization_id: int, *, without_invoice_id: int | None = None) -> int:
    """The credit that an organization has left over, in minor units; on wish without one invoice's movements."""
    query = select(func.sum(BalanceEntry.amount)).where(BalanceEntry.organization_id == organization_id)
    if without_invoice_id is not None:
        query = query.where(BalanceEntry.invoice_id != without_invoice_id)
    return int(db.session.scalar(query) or 0)


def one_off_items_of(
    organization_id: int, month: Month, *, known_on: date | DraftAsOf | None = None
) -> list[OneOffItem]:
    """The one-off items on an organization's invoice of a month that have not been removed: now, or as was known."""
    there: ColumnElement[bool] = OneOffItem.removed_at.is_(None)
    if known_on is not None:
        end = _end_of(known_on)
        there = and_(OneOffItem.created_at < end, or_(there, OneOffItem.removed_at >= end))
    return list(
        db.session.scalars(
            select(OneOffItem)
            .join(Invoice, Invoice.id == OneOffItem.invoice_id)
            .where(
                OneOffItem.organization_id == organization_id,
                Invoice.period_start == month.first_day,
                Invoice.state != "void",
                there,
            )
            .order_by(OneOffItem.id)
        )
    )


def _end_of(known_on: date | DraftAsOf) -> datetime:
    """The first moment of which nothing was known."""
    if isinstance(known_on, DraftAsOf):
        return known_on.instant + timedelta(microseconds=1)
    return midnight(known_on + timedelta(days=1))


def one_off_line(item: OneOffItem, month: Month) -> Line:
    """A one-off item as the line that it is on its invoice."""
    credit = item.kind == "credit"
    first_day, last_day = item.service_period or (month.first_day, month.last_day)
    return Line(
        kind=LineKind.CREDIT if credit else LineKind.ONE_OFF,
        description=item.description,
        quantity=item.quantity,
        unit="",
        unit_amount=-item.unit_amount if credit else item.unit_amount,
        unrounded=item.quantity * item.unit_amount * (-1 if credit else 1),
        amount=item.amount,
        period_start=first_day,
        period_end=last_day,
        product=item.product or "",
        derivation={"one_off_item": str(item.public_id)},
        references={"one_off_item_id": item.id},
    )
