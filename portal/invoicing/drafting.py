"""What a month comes to, computed from rollups and prices: the live draft, and the same figures when frozen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from portal.core.money import LARGEST_AMOUNT, major_text
from portal.core.periods import Month
from portal.core.statement import Line, LineKind, Statement, compose
from portal.core.taxes import TaxTerms
from portal.invoicing.as_of import DraftAsOf
from portal.invoicing.draft_facts import Facts, read_facts, read_usage_again
from portal.invoicing.fee_lines import fees_of
from portal.invoicing.late_usage import adjustments_of
from portal.invoicing.models import OneOffItem
from portal.invoicing.reductions import coupons_of, prepaid, promotional, tax_terms_of
from portal.invoicing.sections import Payer, Section
from portal.invoicing.usage_lines import usage_lines
from portal.organizations.models import Organization
from portal.usage.queries import SeriesQuantity, Source


@dataclass(frozen=True, slots=True)
class Draft:
    """The figures of one organization's month as they stand, and the facts that they were computed from.

    `payer` and `sections` are what links add, where somebody has asked for them (see linked_drafts.py).
    """

    organization_id: int
    month: Month
    statement: Statement
    unpriced: tuple[SeriesQuantity, ...]
    unpriced_plans: tuple[str, ...]
    waits_for: tuple[Month, ...]
    waiting_usage: tuple[str, ...]
    fingerprint: str
    facts: Facts = field(repr=False, compare=False)
    payer: Payer | None = None
    sections: tuple[Section, ...] = ()

    @property
    def moved(self) -> int:
        """What comes from the sections (above zero), or goes to the payer's invoice (below zero)."""
        return -self.statement.amount_due if self.payer else sum(section.amount for section in self.sections)

    @property
    def amount_due(self) -> int:
        """What the invoice asks for, with what is moved."""
        return self.statement.amount_due + self.moved

    @property
    def whole_total(self) -> int:
        """Its own total and what it asks for in the name of others: how large the bill is that somebody approves."""
        return self.statement.total + sum(section.amount for section in self.sections)

    @property
    def is_too_large(self) -> bool:
        """Whether it is more than one invoice may bill."""
        return self.statement.is_too_large or self.amount_due > LARGEST_AMOUNT

    @property
    def waits_for_parts(self) -> tuple[str, ...]:
        """Why it cannot be finalized yet though nothing is wrong with it, in sentences: what it pays for is open."""
        return tuple(
            f"The invoice of {section.name} for {self.month} is not final, and this one pays for it."
            for section in self.sections
            if section.invoice_id is None
        )

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
        if self.is_too_large:
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
    frozen = {} if frozen_invoice_id is None else {organization.id: frozen_invoice_id}
    return drafts_of([organization], month, frozen=frozen, known_on=known_on, usage=usage)[organization.id]


def drafts_of(
    organizations: Sequence[Organization],
    month: Month,
    *,
    frozen: Mapping[int, int],
    known_on: date | DraftAsOf | None = None,
    usage: Source | None = None,
) -> dict[int, Draft]:
    """The drafts of many organizations, by their ids, in as many queries as of one.

    `frozen` names the invoices, by organization, that have frozen their usage. Only late usage, and a fee of an
    earlier month that is given back, are looked up for each organization that has them.
    """
    known = read_facts(organizations, month, frozen=frozen, known_on=known_on, usage=usage)
    return {each.id: _composed(each, month, known[each.id]) for each in organizations}


def draft_again(
    organization: Organization,
    draft: Draft,
    *,
    known_on: date | DraftAsOf | None = None,
    usage: Source | None = None,
) -> Draft:
    """The same month with usage as it was known then, or with other usage; the rest is as that draft has read it."""
    facts = read_usage_again(organization.id, draft.month, draft.facts, known_on=known_on, usage=usage)
    return _composed(organization, draft.month, facts)


def _composed(organization: Organization, month: Month, facts: Facts) -> Draft:
    currency = organization.currency
    lines, unpriced = usage_lines(facts.used, facts.pricebook, month, currency)
    fees = fees_of(facts.subscriptions, month, facts.pricebook, currency, used=sum(line.amount for line in lines))
    adjustments, late_unpriced = adjustments_of(organization, facts.bill)
    tax = tax_terms_of(organization, month, facts.tax_rates)
    lines += [*fees.lines, *adjustments, *(one_off_line(item, month, tax) for item in facts.items)]
    statement = compose(
        lines,
        currency=currency,
        balance=facts.balance,
        reductions=[*fees.reservations, *coupons_of(facts.coupons), *promotional(facts.credit)],
        prepaid=prepaid(facts.credit),
        tax=tax,
    )
    return Draft(
        organization_id=organization.id,
        month=month,
        statement=statement,
        unpriced=(*unpriced, *late_unpriced),
        unpriced_plans=fees.unpriced,
        waits_for=fees.waits_for,
        waiting_usage=tuple(facts.waiting),
        fingerprint=statement.fingerprint(),
        facts=facts,
    )


def one_off_line(item: OneOffItem, month: Month, tax: TaxTerms) -> Line:
    """A one-off item as the line that it is on its invoice, taxed as its own tax code says if it has one."""
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
        # Only where there is a code: so items from before there were any have the same fingerprint.
        derivation={"one_off_item": str(item.public_id), **({"tax_code": item.tax_code} if item.tax_code else {})},
        tax_percent=tax.percent_of_code(item.tax_code) if item.tax_code else None,
        references={"one_off_item_id": item.id},
    )
