"""The independent truth that tests compare the portal with."""

from typing import Any

from .store import Json, Store


def whole(store: Store, faults: list[Json]) -> Json:
    """Everything: customers, invoices with all their lines, credit notes, events, calls and counts."""
    return {
        "now": store.clock.now(),
        "customers": [{**customer, "card": store.cards.get(id, "none")} for id, customer in store.customers.items()],
        "invoices": [{**invoice, "lines": store.lines[id]} for id, invoice in store.invoices.items()],
        "invoice_items": list(store.items.values()),
        "credit_notes": list(store.credit_notes.values()),
        "refunds": list(store.refunds.values()),
        "disputes": list(store.disputes.values()),
        "payment_methods": list(store.payment_methods.values()),
        "checkout_sessions": list(store.checkout_sessions.values()),
        "portal_sessions": list(store.portal_sessions.values()),
        "events": [
            {
                "id": id,
                "type": event["type"],
                "created": event["created"],
                **store.deliveries[id],
            }
            for id, event in store.events.items()
        ],
        "calls": list(store.calls),
        "counts": dict(store.counts),
        "totals": totals(store),
        "faults": faults,
    }


def totals(store: Store) -> dict[str, dict[str, dict[str, int]]]:
    """Per currency and status: how many invoices, and their sum."""
    sums: dict[str, dict[str, dict[str, int]]] = {}
    for invoice in store.invoices.values():
        by_status = sums.setdefault(invoice["currency"], {})
        cell = by_status.setdefault(invoice["status"], {"invoices": 0, "total": 0})
        cell["invoices"] += 1
        cell["total"] += invoice["total"]
    return sums


def calls(store: Store, filters: dict[str, str]) -> dict[str, Any]:
    """The calls that fit all of `invoice`, `method`, `path` and `idempotency_key`."""
    wanted = {name: filters[name] for name in ("invoice", "method", "path", "idempotency_key") if name in filters}
    found = [call for call in store.calls if all(call[name] == value for name, value in wanted.items())]
    return {"calls": found, "count": len(found)}
