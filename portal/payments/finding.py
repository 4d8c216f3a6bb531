"""What a call of ours made at Stripe, found by the marks that we give everything: our ids in its metadata.

Only lists by customer and moment of creation are asked; Stripe's search lags and decides nothing.
"""

from datetime import timedelta
from functools import partial
from typing import Any

from portal.infra.outbox import GiveUp, RetryLater
from portal.payments import gateway
from portal.payments.adopting import LookUp, Search
from portal.payments.journal import read_now

# Stripe's clock and ours may differ, and a call may take effect after its answer was given up.
SLACK = timedelta(hours=1)
READ_AGAIN_SECONDS = 60


def customer(search: Search) -> dict[str, Any] | None:
    """The customer that a creating call made."""
    listed = read_now(partial(gateway.customers_made, search.since - SLACK, search.until + SLACK))
    return _ours(listed, "organization_id", search, "customers")


def invoice(search: Search) -> dict[str, Any] | None:
    """The invoice that a creating call made, in whatever state it is now."""
    wanted = search.parameters["customer"]
    listed = read_now(partial(gateway.invoices_made, wanted, search.since - SLACK, search.until + SLACK))
    return _ours(listed, "invoice_id", search, "invoices")


def finalized(stripe_id: str) -> LookUp:
    """Whether an invoice is no draft any more."""

    def look_up(_: Search) -> dict[str, Any] | None:
        found: dict[str, Any] = read_now(partial(gateway.read_invoice, stripe_id))
        return None if found["status"] == "draft" else found

    return look_up


def mark_of(line: dict[str, Any]) -> str | None:
    """Our mark on a line; None on one that somebody else added."""
    mark: str | None = (line.get("metadata") or {}).get("item_id")
    return mark


def _ours(listed: list[dict[str, Any]], name: str, search: Search, what: str) -> dict[str, Any] | None:
    wanted = search.parameters["metadata"][name]
    if not all(isinstance(each.get("metadata"), dict) and "id" in each for each in listed):
        raise RetryLater("Stripe's list cannot be understood; it is read again.", seconds=READ_AGAIN_SECONDS)
    found = [each for each in listed if each["metadata"].get(name) == wanted]
    if len(found) > 1:
        ids = ", ".join(sorted(each["id"] for each in found))
        raise GiveUp(
            f"Stripe has {len(found)} {what} that carry our id: {ids}. Delete all but one there, then sync again."
        )
    return found[0] if found else None
