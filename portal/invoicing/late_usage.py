"""Late usage: what a closed month came to after all, less what was billed for it, as one line of the next invoice.

A final invoice never changes. The closed month is rated again, whole, with its own prices and tiers, as it is known
now; the difference is an adjustment. Coupons, credits and commitments of that month stay as they were.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from portal.catalog.pricebook import pricebook_for
from portal.catalog.queries import contract_of, subscriptions_between
from portal.core.exact import plain
from portal.core.lifecycle import InvoiceState
from portal.core.money import to_major
from portal.core.periods import Month
from portal.core.statement import Line, LineKind
from portal.infra.db import db
from portal.invoicing.billed import Billable
from portal.invoicing.models import Invoice, InvoiceItem
from portal.invoicing.usage_lines import usage_lines
from portal.organizations.models import Organization
from portal.usage.queries import SeriesQuantity, usage_by_series


def adjustments_of(organization: Organization, bill: Billable) -> tuple[list[Line], list[SeriesQuantity]]:
    """One line for each closed month whose usage has changed since it was billed, and its series without a price."""
    lines, unpriced = [], list[SeriesQuantity]()
    for month in bill.late:
        rated, without_price = _rated(organization, month, bill)
        unpriced += without_price
        billed = _billed_items(organization.id, month, except_invoice_id=bill.invoice_id)
        difference = sum(line.amount for line in rated) - sum(item.amount for item in billed)
        if difference:
            lines.append(_line(organization.currency, month, rated, billed, difference))
    return lines, unpriced


def _rated(organization: Organization, month: Month, bill: Billable) -> tuple[list[Line], list[SeriesQuantity]]:
    subscriptions = subscriptions_between(organization.id, month.start, month.end)
    pricebook = pricebook_for(organization.id, organization.currency, map(contract_of, subscriptions))
    cuts = pricebook.change_days(month.first_day, month.last_day)
    used = usage_by_series(organization.id, month, cuts=cuts, source=bill.known)
    return usage_lines(used, pricebook, month, organization.currency)


def _billed_items(organization_id: int, month: Month, *, except_invoice_id: int) -> Sequence[InvoiceItem]:
    """The lines that have billed a month's usage: of its own invoice, and adjustments of later ones."""
    return list(
        db.session.scalars(
            select(InvoiceItem)
            .join(Invoice, Invoice.id == InvoiceItem.invoice_id)
            .where(
                InvoiceItem.organization_id == organization_id,
                InvoiceItem.kind.in_([LineKind.USAGE, LineKind.ADJUSTMENT]),
                InvoiceItem.period_start >= month.first_day,
                InvoiceItem.period_end <= month.last_day,
                Invoice.state.in_([InvoiceState.SCHEDULED, InvoiceState.FINALIZED]),
                Invoice.id != except_invoice_id,
            )
            .order_by(InvoiceItem.id)
        )
    )


def _line(currency: str, month: Month, rated: Sequence[Line], billed: Sequence[InvoiceItem], difference: int) -> Line:
    return Line(
        kind=LineKind.ADJUSTMENT,
        description=f"Late usage of {month}",
        quantity=Decimal(1),
        unit="",
        unit_amount=None,
        unrounded=to_major(difference, currency),
        amount=difference,
        period_start=month.first_day,
        period_end=month.last_day,
        derivation={
            "month": str(month),
            "rated": [_facts(line.description, line.quantity, line.amount) for line in rated],
            "billed": [_facts(item.description, item.quantity, item.amount) for item in billed],
        },
    )


def _facts(description: str, quantity: Decimal, amount: int) -> dict[str, Any]:
    return {"description": description, "quantity": plain(quantity), "amount": amount}
