"""How an invoice is shown: with its first lines, its hosted page and what was asked to be expanded."""

from typing import Any

from flask import has_request_context, request

from . import payments
from .errors import StripeError
from .store import Json, Store

EMBEDDED_LINES = 10
_INTENTS = "payments.data.payment.payment_intent"


def render(store: Store, invoice: Json, expand: list[str] | None = None) -> Json:
    """The invoice as Stripe answers it."""
    id = invoice["id"]
    lines = store.lines[id]
    shown: dict[str, Any] = {
        **invoice,
        "hosted_invoice_url": None if invoice["status"] == "draft" else hosted_url(id),
        "lines": {
            "object": "list",
            "data": lines[:EMBEDDED_LINES],
            "has_more": len(lines) > EMBEDDED_LINES,
            "total_count": len(lines),
            "url": f"/v1/invoices/{id}/lines",
        },
    }
    for name in expand or ():
        if name == "customer":
            shown["customer"] = store.customers[invoice["customer"]]
        elif name in ("payments", _INTENTS):
            shown["payments"] = payments.of_invoice(store, id, with_intents=_INTENTS in (expand or ()))
        else:
            raise StripeError(f"This property cannot be expanded ({name}).", param="expand")
    return shown


def hosted_url(id: str) -> str:
    """Where the customer can look at the invoice and pay it, on whatever port we are reached just now."""
    base = request.host_url if has_request_context() else "/"
    return f"{base}hosted/{id}"
