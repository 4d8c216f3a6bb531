"""What drafts are composed from, read for many organizations at once: so many queries, however many there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, or_, select

from portal.catalog.coupons import active_coupons_of_many
from portal.catalog.models import CouponRedemption, Subscription, TaxRate
from portal.catalog.pricebook import Pricebook, pricebooks_for
from portal.catalog.queries import contract_of, subscriptions_of_many
from portal.catalog.tax_rates import tax_rates_of_many
from portal.core.commitments import CreditGrant as Left
from portal.core.periods import Month, midnight
from portal.infra.db import among, db
from portal.invoicing.as_of import DraftAsOf
from portal.invoicing.billed import Billable, billables
from portal.invoicing.crediting import credit_for_many
from portal.invoicing.models import BalanceEntry, CreditGrant, Invoice, OneOffItem
from portal.organizations.models import Organization
from portal.usage.queries import SeriesQuantity, Source, usage_of_many
from portal.usage.waiting_queries import waiting_sentences_of_many


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of one organization for its draft of a month; the balance is in minor units."""

    subscriptions: Sequence[Subscription]
    pricebook: Pricebook
    bill: Billable
    used: Sequence[SeriesQuantity]
    items: Sequence[OneOffItem]
    credit: Sequence[tuple[CreditGrant, Left]]
    balance: int
    coupons: Sequence[CouponRedemption]
    tax_rates: Sequence[TaxRate]
    waiting: Sequence[str]


def read_facts(
    organizations: Sequence[Organization],
    month: Month,
    *,
    frozen: Mapping[int, int],
    known_on: date | DraftAsOf | None = None,
    usage: Source | None = None,
) -> dict[int, Facts]:
    """Read what drafts of a month need, by organization; for `frozen`, `known_on` and `usage` see `drafting`."""
    ids = [organization.id for organization in organizations]
    subscriptions = subscriptions_of_many(ids, month.start, month.end)
    contracts = {each: [contract_of(one) for one in of_one] for each, of_one in subscriptions.items() if of_one}
    pricebooks = pricebooks_for({each.id: each.currency for each in organizations}, contracts)
    bills = billables(ids, month, frozen=frozen, known_on=known_on)
    used = _used(ids, month, pricebooks, {each: usage or bills[each].own for each in ids})
    items = one_off_items_of_many(ids, month, known_on=known_on)
    # What these very invoices have taken of credit and balance already, in their hold window, is still their own.
    own = list(frozen.values())
    credit = credit_for_many(ids, month, frozen_invoice_ids=own)
    # A forecast is of the total, which comes before the balance.
    balances = {} if usage else balances_of(ids, without_invoice_ids=own)
    coupons = active_coupons_of_many(ids, month)
    tax_rates = tax_rates_of_many(ids)
    waiting = waiting_sentences_of_many(ids, month)
    return {
        each: Facts(
            subscriptions[each],
            pricebooks[each],
            bills[each],
            used[each],
            items.get(each, ()),
            credit[each],
            balances.get(each, 0),
            coupons[each],
            tax_rates[each],
            waiting.get(each, ()),
        )
        for each in ids
    }


def read_usage_again(
    organization_id: int,
    month: Month,
    known: Facts,
    *,
    known_on: date | DraftAsOf | None = None,
    usage: Source | None = None,
) -> Facts:
    """The same facts with usage as it was known then, or with other usage: one or two queries instead of a dozen."""
    bill, items, balance = known.bill, known.items, known.balance
    if known_on is not None:
        bill = billables([organization_id], month, frozen={}, known_on=known_on)[organization_id]
        items = one_off_items_of_many([organization_id], month, known_on=known_on).get(organization_id, ())
    if usage is not None:
        balance = 0
    used = _used([organization_id], month, {organization_id: known.pricebook}, {organization_id: usage or bill.own})
    return replace(known, bill=bill, items=items, balance=balance, used=used[organization_id])


def _used(
    organization_ids: Sequence[int], month: Month, pricebooks: Mapping[int, Pricebook], sources: Mapping[int, Source]
) -> dict[int, list[SeriesQuantity]]:
    """The usage of organizations: one query for all whose month is cut on the same days and read from one source."""
    alike: dict[tuple[int, tuple[date, ...]], list[int]] = {}
    cuts = {id(book): tuple(book.change_days(month.first_day, month.last_day)) for book in pricebooks.values()}
    for each in organization_ids:
        alike.setdefault((id(sources[each]), cuts[id(pricebooks[each])]), []).append(each)
    found: dict[int, list[SeriesQuantity]] = {}
    for (_, days), ids in alike.items():
        found |= usage_of_many(ids, month, cuts=days, source=sources[ids[0]])
    return found


def balance_of(organization_id: int) -> int:
    """The credit that an organization has left over, in minor units."""
    return balances_of([organization_id]).get(organization_id, 0)


def balances_of(organization_ids: Sequence[int], *, without_invoice_ids: Sequence[int] = ()) -> dict[int, int]:
    """The same of many, on wish without some invoices' movements; those without any are missing."""
    query = select(BalanceEntry.organization_id, func.sum(BalanceEntry.amount)).where(
        among(BalanceEntry.organization_id, organization_ids)
    )
    if without_invoice_ids:
        query = query.where(~among(BalanceEntry.invoice_id, without_invoice_ids))
    return {row[0]: int(row[1]) for row in db.session.execute(query.group_by(BalanceEntry.organization_id))}


def one_off_items_of_many(
    organization_ids: Sequence[int], month: Month, *, known_on: date | DraftAsOf | None = None
) -> dict[int, list[OneOffItem]]:
    """The one-off items on invoices of a month that have not been removed: now, or as was known."""
    there: ColumnElement[bool] = OneOffItem.removed_at.is_(None)
    if known_on is not None:
        end = _end_of(known_on)
        there = and_(OneOffItem.created_at < end, or_(there, OneOffItem.removed_at >= end))
    found: dict[int, list[OneOffItem]] = {}
    for item in db.session.scalars(
        select(OneOffItem)
        .join(Invoice, Invoice.id == OneOffItem.invoice_id)
        .where(
            among(OneOffItem.organization_id, organization_ids),
            Invoice.period_start == month.first_day,
            Invoice.state != "void",
            there,
        )
        .order_by(OneOffItem.id)
    ):
        found.setdefault(item.organization_id, []).append(item)
    return found


def _end_of(known_on: date | DraftAsOf) -> datetime:
    """The first moment of which nothing was known."""
    if isinstance(known_on, DraftAsOf):
        return known_on.instant + timedelta(microseconds=1)
    return midnight(known_on + timedelta(days=1))
