"""The dashboard's hand: what someone does in Stripe's own pages, behind the portal's back."""

from typing import Any

from . import customers, invoices, lines, refunds, settling
from .cards import CARDS
from .errors import StripeError
from .events import emit
from .rendering import render
from .store import Json, Store
from .totals import existing, recompute

ACTIONS = (
    *("void", "edit", "delete", "finalize", "pay", "mark_uncollectible", "delete_customer"),
    *("refund", "fail_refund", "dispute", "close_dispute"),
)


def act(store: Store, body: dict[str, Any]) -> Json:
    """Do one thing as the dashboard would, with its rules and its events."""
    action, id = body.get("action"), str(body.get("invoice", ""))
    match action:
        case "void":
            return settling.void(store, {}, id)
        case "delete":
            return invoices.delete(store, {}, id)
        case "finalize":
            return settling.finalize(store, {}, id)
        case "mark_uncollectible":
            return settling.mark_uncollectible(store, {}, id)
        case "pay":
            return _pay(store, id, body.get("outcome", "succeeds"))
        case "edit":
            return _edit(store, id, body)
        case "delete_customer":
            return customers.delete(store, {}, str(body.get("customer", "")))
        case "refund":
            return refunds.of_invoice(store, id, body.get("amount"))
        case "fail_refund":
            return refunds.fail(store, str(body.get("refund", "")))
        case "dispute":
            return refunds.dispute(store, id)
        case "close_dispute":
            return refunds.close(store, str(body.get("dispute", "")), str(body.get("outcome", "")))
    raise StripeError(f"action must be one of {', '.join(ACTIONS)}")


def _pay(store: Store, id: str, outcome: str) -> Json:
    if outcome not in CARDS:
        raise StripeError(f"outcome must be one of {', '.join(CARDS)}", param="outcome")
    invoice = existing(store, id)
    settling.attempt(store, invoice, outcome)
    return render(store, invoice)


def _edit(store: Store, id: str, body: dict[str, Any]) -> Json:
    """Change fields and lines.

    With `force` fields of a finalized invoice change too. Stripe would not allow that: it is how a test
    makes the two sides differ in any field.
    """
    invoice = existing(store, id)
    if invoice["status"] != "draft" and not body.get("force"):
        raise StripeError("This invoice is finalized; pass force to change it all the same.")
    unknown = set(body.get("changes", {})) - set(invoice)
    if unknown:
        raise StripeError(f"An invoice has no field {', '.join(sorted(unknown))}.")
    if "add_line" in body:
        store.lines[id].append(lines.new_line(store, invoice, body["add_line"]))
    if "remove_line" in body:
        store.lines[id] = [line for line in store.lines[id] if line["id"] != body["remove_line"]]
    recompute(store, invoice)
    invoice.update(body.get("changes", {}))
    emit(store, "invoice.updated", render(store, invoice))
    return render(store, invoice)
