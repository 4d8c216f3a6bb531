"""Late usage: what a closed month came to after all, less what was billed for it, on the next invoice.

A final invoice never changes. The closed month is rated again, whole, with its own prices, tiers, reservations and
commitments, as it is known now; the difference is an adjustment, one for each product, taxed as that month was.
Coupons and credits of that month stay as they were.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import and_, or_, select

from portal.catalog.models import Meter, Price, PriceVersion, Product
from portal.catalog.pricebook import pricebook_for
from portal.catalog.queries import contract_of, subscriptions_between
from portal.core.exact import plain
from portal.core.lifecycle import InvoiceState
from portal.core.money import to_major
from portal.core.periods import Month
from portal.core.statement import Line, LineKind, compose
from portal.infra.db import db
from portal.invoicing.billed import Billable
from portal.invoicing.fee_lines import fees_of
from portal.invoicing.models import Invoice, InvoiceItem
from portal.invoicing.reductions import tax_terms_of
from portal.invoicing.usage_lines import usage_lines
from portal.organizations.models import Organization
from portal.usage.queries import SeriesQuantity, usage_by_series

_OF_THE_MONTH = (LineKind.USAGE, LineKind.TRUE_UP, LineKind.RESERVATION)


@dataclass(slots=True)
class _Sum:
    """What a product's usage of a month comes to, in minor units, and the lines that say so."""

    amount: int = 0
    facts: list[dict[str, Any]] = field(default_factory=list)

    def add(self, description: str, quantity: Decimal, amount: int) -> None:
        self.amount += amount
        self.facts.append({"description": description, "quantity": plain(quantity), "amount": amount})


def adjustments_of(organization: Organization, bill: Billable) -> tuple[list[Line], list[SeriesQuantity]]:
    """The lines of each closed month whose usage has changed since it was billed, and its series without a price."""
    lines, unpriced = [], list[SeriesQuantity]()
    for month in bill.late:
        known, without_price = _known(organization, month, bill)
        unpriced += without_price
        billed = _billed(organization.id, month, except_invoice_id=bill.invoice_id)
        tax = tax_terms_of(organization, month)
        for product in sorted(known.keys() | billed.keys()):
            pair = known.get(product, _Sum()), billed.get(product, _Sum())
            if pair[0].amount != pair[1].amount:
                lines.append(_line(organization.currency, month, product, *pair, tax.percent_of(product)))
    return lines, unpriced


def _known(organization: Organization, month: Month, bill: Billable) -> tuple[dict[str, _Sum], list[SeriesQuantity]]:
    """What a month's usage comes to as it is known now, after its reservations and with its true-up."""
    subscriptions = subscriptions_between(organization.id, month.start, month.end)
    pricebook = pricebook_for(organization.id, organization.currency, map(contract_of, subscriptions))
    cuts = pricebook.change_days(month.first_day, month.last_day)
    used = usage_by_series(organization.id, month, cuts=cuts, source=bill.known)
    lines, unpriced = usage_lines(used, pricebook, month, organization.currency)
    total = sum(line.amount for line in lines)
    fees = fees_of(subscriptions, month, pricebook, organization.currency, used=total)
    lines += [line for line in fees.lines if line.kind is LineKind.TRUE_UP]
    sums: dict[str, _Sum] = {}
    for line in compose(lines, currency=organization.currency, reductions=fees.reservations).lines:
        if line.kind is not LineKind.RESERVATION:
            sums.setdefault(line.product, _Sum()).add(line.description, line.quantity, line.amount - line.discount)
    return sums, unpriced


def _billed(organization_id: int, month: Month, *, except_invoice_id: int) -> dict[str, _Sum]:
    """What invoices have asked for a month's usage: its own, and adjustments of later ones."""
    rows = db.session.execute(
        select(InvoiceItem, Product.name)
        .join(Invoice, Invoice.id == InvoiceItem.invoice_id)
        .outerjoin(PriceVersion, PriceVersion.id == InvoiceItem.price_version_id)
        .outerjoin(Price, Price.id == PriceVersion.price_id)
        .outerjoin(Meter, Meter.id == Price.meter_id)
        .outerjoin(Product, Product.id == Meter.product_id)
        .where(
            InvoiceItem.organization_id == organization_id,
            or_(
                and_(InvoiceItem.kind.in_(_OF_THE_MONTH), Invoice.period_start == month.first_day),
                and_(InvoiceItem.kind == LineKind.ADJUSTMENT, InvoiceItem.period_start == month.first_day),
            ),
            Invoice.state.in_([InvoiceState.SCHEDULED, InvoiceState.FINALIZED]),
            Invoice.id != except_invoice_id,
        )
        .order_by(InvoiceItem.id)
    ).all()
    reserved = _reserved(item for item, _ in rows)
    sums: dict[str, _Sum] = {}
    for item, name in rows:
        if item.kind != LineKind.RESERVATION:
            product = name or item.derivation.get("product", "")
            amount = item.amount - reserved.get((item.invoice_id, item.position), 0)
            sums.setdefault(product, _Sum()).add(item.description, item.quantity, amount)
    return sums


def _reserved(items: Iterable[InvoiceItem]) -> dict[tuple[int, int], int]:
    """What reservations have paid of each line, by its invoice and position."""
    paid: dict[tuple[int, int], int] = {}
    for item in items:
        if item.kind == LineKind.RESERVATION:
            for number, part in item.derivation["parts"]:
                key = item.invoice_id, number - 1
                paid[key] = paid.get(key, 0) + part
    return paid


def _line(currency: str, month: Month, product: str, known: _Sum, billed: _Sum, tax_percent: Decimal) -> Line:
    difference = known.amount - billed.amount
    return Line(
        kind=LineKind.ADJUSTMENT,
        description=f"Late usage of {month} · {product}" if product else f"Late usage of {month}",
        quantity=Decimal(1),
        unit="",
        unit_amount=None,
        unrounded=to_major(difference, currency),
        amount=difference,
        period_start=month.first_day,
        period_end=month.last_day,
        derivation={"month": str(month), "product": product, "rated": known.facts, "billed": billed.facts},
        product=product,
        tax_percent=tax_percent,
    )
