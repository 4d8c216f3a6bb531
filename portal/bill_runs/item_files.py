"""The items of a run as rows of a file."""

from collections.abc import Iterable, Iterator
from typing import Any

from portal.bill_runs.models import BillRunItem
from portal.core.money import major_text

HEAD = (
    *("organization", "organization_id", "state", "reason", "flags", "currency", "last_month", "total", "amount_due"),
    *("invoice", "number", "decided_by", "decided_at", "score", "assigned_to", "held_until"),
)


def file_rows(items: Iterable[BillRunItem]) -> Iterator[tuple[Any, ...]]:
    """The rows below HEAD, one an organization; amounts in the major unit."""
    for item in items:
        amounts = (item.total_before, item.total, item.amount_due)
        yield (
            item.organization.name,
            item.organization.public_id,
            item.state,
            item.reason,
            " ".join(flag["sentence"] for flag in item.flags),
            item.currency,
            *(None if amount is None else major_text(amount, item.currency) for amount in amounts),
            item.invoice.public_id if item.invoice else None,
            item.invoice.number if item.invoice else None,
            item.decided_by,
            item.decided_at.isoformat() if item.decided_at else None,
            item.score,
            item.assigned_to,
            item.held_until,
        )
