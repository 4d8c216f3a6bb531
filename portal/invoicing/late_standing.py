"""What has become of usage that was reported after its month was billed: counted on a draft, billed, or credited."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import select

from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month
from portal.core.statement import LineKind
from portal.infra.db import db
from portal.invoicing.billed import billable
from portal.invoicing.late_usage import adjustments_of
from portal.invoicing.models import Invoice, InvoiceItem
from portal.usage.queries import late_months


@dataclass(frozen=True, slots=True)
class LateUsage:
    """The difference that late usage makes for a product, in minor units, and where it stands.

    `invoice` is the one that asks for it or gives it back; None while it counts on the draft of `month`.
    """

    description: str
    amount: int
    month: Month
    invoice: Invoice | None

    @property
    def state(self) -> Literal["counted now", "billed", "credited"]:
        """What has become of it."""
        if self.invoice is None:
            return "counted now"
        return "billed" if self.amount > 0 else "credited"


def late_usage_of(invoice: Invoice, *, now: datetime) -> list[LateUsage]:
    """Everything that was heard of the month of a final invoice after it was billed, oldest first."""
    found = [
        LateUsage(item.description, item.amount, asking.month, asking)
        for item, asking in db.session.execute(
            select(InvoiceItem, Invoice)
            .join(Invoice, Invoice.id == InvoiceItem.invoice_id)
            .where(
                InvoiceItem.organization_id == invoice.organization_id,
                InvoiceItem.kind == LineKind.ADJUSTMENT,
                InvoiceItem.period_start == invoice.period_start,
                Invoice.state.in_([InvoiceState.SCHEDULED, InvoiceState.FINALIZED]),
            )
            .order_by(Invoice.period_start, InvoiceItem.position)
        )
    ]
    if invoice.month in late_months(invoice.organization_id):
        found += _on_a_draft(invoice, now)
    return found


def _on_a_draft(invoice: Invoice, now: datetime) -> list[LateUsage]:
    """What the first open invoice takes of the month."""
    month = invoice.month.next
    while month <= Month.of(now).next:
        bill = billable(invoice.organization_id, month)
        if invoice.month in bill.late and _is_open(invoice.organization_id, month):
            lines, _ = adjustments_of(invoice.organization, bill)
            return [
                LateUsage(line.description, line.amount, month, None)
                for line in lines
                if line.period_start == invoice.period_start
            ]
        month = month.next
    return []


def _is_open(organization_id: int, month: Month) -> bool:
    closed = select(Invoice.id).where(
        Invoice.organization_id == organization_id,
        Invoice.period_start == month.first_day,
        Invoice.state.in_([InvoiceState.SCHEDULED, InvoiceState.FINALIZED]),
    )
    return db.session.scalar(closed) is None
