"""An invoice's lines as Stripe takes them: whole amounts in its own units, at most 250."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

from portal.core.periods import midnight
from portal.invoicing.models import Invoice, InvoiceItem
from portal.payments.stripe_units import to_stripe

LINES_PER_INVOICE = 250
_LONGEST_DESCRIPTION = 500


def stripe_lines(invoice: Invoice, items: Sequence[InvoiceItem]) -> tuple[dict[str, Any], ...]:
    """Our lines as Stripe takes them. Raises InvalidInput for an amount that Stripe cannot take.

    Tax and coupons are lines already; what credit and balance pay is one line each, so that totals agree.
    Above the limit the largest lines stay and the rest is one line; the portal shows all of them.
    """
    paid_with = [
        (text, key, amount)
        for text, key, amount in (
            ("Prepaid credit applied", "credits", invoice.credits_applied),
            ("Credit balance applied", "balance", invoice.balance_applied),
        )
        if amount
    ]
    shown, rest = list(items), list[InvoiceItem]()
    if len(items) + len(paid_with) > LINES_PER_INVOICE:
        by_size = sorted(items, key=lambda item: (-abs(item.amount), item.position))
        kept = {item.id for item in by_size[: LINES_PER_INVOICE - 1 - len(paid_with)]}
        shown = [item for item in items if item.id in kept]
        rest = [item for item in items if item.id not in kept]
    lines = [
        _line(invoice, item.amount, _description(item), str(item.public_id), item.period_start, item.period_end)
        for item in shown
    ]
    period = invoice.period_start, invoice.period_end - timedelta(days=1)
    if rest:
        text = f"{len(rest)} further lines, each of them shown in the portal"
        lines.append(_line(invoice, sum(item.amount for item in rest), text, f"rest-{invoice.public_id}", *period))
    lines += [_line(invoice, -amount, text, f"{key}-{invoice.public_id}", *period) for text, key, amount in paid_with]
    return tuple(lines)


def _line(invoice: Invoice, amount: int, description: str, item_id: str, first: Any, last: Any) -> dict[str, Any]:
    end = datetime.combine(last, time(23, 59, 59), tzinfo=UTC)
    return {
        "amount": to_stripe(amount, invoice.currency),
        "description": description[:_LONGEST_DESCRIPTION],
        "period": {"start": int(midnight(first).timestamp()), "end": int(end.timestamp())},
        "metadata": {"item_id": item_id},
    }


def _description(item: InvoiceItem) -> str:
    quantity = f"{item.quantity.normalize():f}"
    return f"{item.description} ({quantity} {item.unit})" if item.unit and quantity != "1" else item.description
