"""A draft by day: by how much its total rose on each day on which something came, and the lines that did it.

A day's figures are what was known at its end (see draft_of's `known_on`), all under today's prices and agreements.
Everything is read once, in a fixed number of queries; the days are computed in memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise

from portal.catalog.pricebook import Pricebook
from portal.core.commitments import CreditGrant as Left
from portal.core.periods import Month
from portal.core.statement import Reduction, Statement, compose
from portal.core.taxes import TaxTerms
from portal.invoicing.changes import LineChange, line_changes
from portal.invoicing.draft_facts import Facts
from portal.invoicing.drafting import Draft, one_off_line
from portal.invoicing.fee_lines import Fees, fees_of
from portal.invoicing.models import OneOffItem
from portal.invoicing.queries import items_ever_on
from portal.invoicing.reductions import coupons_of, prepaid, promotional, tax_terms_of
from portal.invoicing.usage_lines import usage_lines
from portal.organizations.models import Organization
from portal.usage.heard_by_day import KnownOn, usage_by_day_of_hearing
from portal.usage.queries import SeriesQuantity


@dataclass(frozen=True, slots=True)
class DayChange:
    """One day: the draft's total at its end, by how much it rose, and the lines, the largest change first.

    `day` is None for what the draft held before anything came: fees and credits that were agreed to.
    """

    day: date | None
    total: int
    change: int
    lines: tuple[LineChange, ...]


def change_log(organization: Organization, month: Month, live: Draft, *, most: int | None = None) -> list[DayChange]:
    """The days on which something came for an open month, newest first; at most so many of them.

    The newest day ends with the live draft, so the changes of a whole log add up to its total.
    """
    known = _Known.of(organization, month, live.facts)
    days: list[date | None] = [None, *known.days()]
    if most is not None:
        # One more, because a change is a difference.
        days = days[-(most + 1) :]
    statements = [known.statement_on(day) for day in days[:-1]] + [live.statement]
    first = days[0]
    log = []
    if first is None:
        log.append(_change(None, compose([], currency=organization.currency), statements[0]))
    log += [_change(day, *pair) for day, pair in zip(days[1:], pairwise(statements), strict=True)]
    newest_first = [each for each in reversed(log) if each.lines or each.change]
    return newest_first[:most]


@dataclass(frozen=True, slots=True)
class _Known:
    """All that a month's drafts are computed from, with the day on which it became known."""

    month: Month
    currency: str
    pricebook: Pricebook
    fees: Fees
    usage: Mapping[date, Sequence[KnownOn]]
    items: Sequence[OneOffItem]
    balance: int
    reductions: Sequence[Reduction]
    prepaid: Sequence[Left]
    tax: TaxTerms

    @classmethod
    def of(cls, organization: Organization, month: Month, facts: Facts) -> "_Known":
        currency = organization.currency
        fees = fees_of(facts.subscriptions, month, facts.pricebook, currency, used=0)
        return cls(
            month=month,
            currency=currency,
            pricebook=facts.pricebook,
            fees=fees,
            usage=usage_by_day_of_hearing(
                organization.id, month, cuts=facts.pricebook.change_days(month.first_day, month.last_day)
            ),
            items=items_ever_on(organization.id, month),
            balance=facts.balance,
            reductions=[*fees.reservations, *coupons_of(facts.coupons), *promotional(facts.credit)],
            prepaid=prepaid(facts.credit),
            tax=tax_terms_of(organization, month, facts.tax_rates),
        )

    def days(self) -> list[date]:
        """The days on which anything came or went, oldest first."""
        moments = [moment for item in self.items for moment in (item.created_at, item.removed_at) if moment]
        return sorted({*self.usage, *map(_day, moments)})

    def statement_on(self, day: date | None) -> Statement:
        """What was known at the end of a day; without one, before anything came."""
        used = [] if day is None else _used_on(self.usage, day)
        lines, _ = usage_lines(used, self.pricebook, self.month, self.currency)
        items = [] if day is None else [item for item in self.items if _was_there(item, day)]
        return compose(
            [
                *lines,
                *self.fees.lines_with(sum(line.amount for line in lines), self.month, self.currency),
                *(one_off_line(item, self.month, self.tax) for item in items),
            ],
            currency=self.currency,
            balance=self.balance,
            reductions=self.reductions,
            prepaid=self.prepaid,
            tax=self.tax,
        )


def _used_on(usage: Mapping[date, Sequence[KnownOn]], day: date) -> list[SeriesQuantity]:
    """What each series had come to by a day's end, in the order in which a draft reads them."""
    latest = {each.place: each for heard, found in sorted(usage.items()) if heard <= day for each in found}
    used = (latest[place].series for place in sorted(latest))
    return [series for series in used if series.quantity or series.events]


def _was_there(item: OneOffItem, day: date) -> bool:
    return _day(item.created_at) <= day and (item.removed_at is None or _day(item.removed_at) > day)


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


def _change(day: date | None, before: Statement, after: Statement) -> DayChange:
    lines = tuple(line_changes(before, after))
    return DayChange(day, after.total, after.total - before.total, lines)
