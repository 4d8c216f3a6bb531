"""Which of Stripe's endpoints the sandbox imitates, and what each accepts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import (
    checkout,
    credit_notes,
    customers,
    events,
    invoices,
    items,
    lines,
    meter_events,
    methods,
    payments,
    refunds,
    settling,
)
from .shapes import EXPAND, NO_EXPAND, Shape
from .store import Json, Store


@dataclass(frozen=True)
class Route:
    """One endpoint. The handler gets the store, the parameters, and the ids of the path."""

    method: str
    path: str
    handler: Callable[..., Json]
    shape: Shape
    required: tuple[str, ...] = ()


def account(store: Store, params: dict[str, Any]) -> Json:
    """The account that every key of the sandbox belongs to."""
    return {
        "id": "acct_sandbox",
        "object": "account",
        "business_profile": {"name": "Sandbox"},
        "charges_enabled": True,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": True,
        "email": None,
        "payouts_enabled": True,
        "settings": {"dashboard": {"display_name": "Sandbox", "timezone": "Etc/UTC"}},
        "type": "standard",
    }


_INVOICE = "/v1/invoices/<id>"

ROUTES = (
    Route("GET", "/v1/account", account, EXPAND),
    Route("POST", "/v1/customers", customers.create, customers.CREATE_SHAPE),
    Route("GET", "/v1/customers", customers.list_all, customers.LIST_SHAPE),
    Route("GET", "/v1/customers/<id>", customers.retrieve, EXPAND),
    Route("POST", "/v1/customers/<id>", customers.update, customers.UPDATE_SHAPE),
    Route("DELETE", "/v1/customers/<id>", customers.delete, {}),
    Route("GET", "/v1/customers/<id>/payment_methods", methods.list_of_customer, methods.LIST_SHAPE),
    Route("GET", "/v1/payment_methods/<id>", methods.retrieve, EXPAND),
    Route("POST", "/v1/payment_methods/<id>/detach", methods.detach, methods.DETACH_SHAPE),
    Route(
        "POST",
        "/v1/checkout/sessions",
        checkout.create,
        checkout.CREATE_SHAPE,
        ("mode", "customer", "success_url", "currency"),
    ),
    Route("GET", "/v1/checkout/sessions/<id>", checkout.retrieve, EXPAND),
    Route("GET", "/v1/setup_intents/<id>", checkout.retrieve_intent, EXPAND),
    Route("POST", "/v1/billing_portal/sessions", checkout.open_portal, checkout.PORTAL_SHAPE, ("customer",)),
    Route("POST", "/v1/invoices", invoices.create, invoices.CREATE_SHAPE, ("customer",)),
    Route("GET", "/v1/invoices", invoices.list_all, invoices.LIST_SHAPE),
    Route("GET", _INVOICE, invoices.retrieve, EXPAND),
    Route("POST", _INVOICE, settling.update, invoices.UPDATE_SHAPE),
    Route("DELETE", _INVOICE, invoices.delete, {}),
    Route("GET", f"{_INVOICE}/lines", lines.list_all, lines.LIST_SHAPE),
    Route("POST", f"{_INVOICE}/add_lines", lines.add, lines.ADD_SHAPE, ("lines",)),
    Route("POST", f"{_INVOICE}/update_lines", lines.update, lines.UPDATE_SHAPE, ("lines",)),
    Route("POST", f"{_INVOICE}/remove_lines", lines.remove, lines.REMOVE_SHAPE, ("lines",)),
    Route("POST", f"{_INVOICE}/finalize", settling.finalize, settling.FINALIZE_SHAPE),
    Route("POST", f"{_INVOICE}/pay", settling.pay, settling.PAY_SHAPE),
    Route("POST", f"{_INVOICE}/send", settling.send, settling.PLAIN_SHAPE),
    Route("POST", f"{_INVOICE}/void", settling.void, settling.PLAIN_SHAPE),
    Route("POST", f"{_INVOICE}/mark_uncollectible", settling.mark_uncollectible, settling.PLAIN_SHAPE),
    Route("POST", "/v1/invoiceitems", items.create, items.CREATE_SHAPE, ("customer",)),
    Route("GET", "/v1/invoiceitems", items.list_all, items.LIST_SHAPE),
    Route("GET", "/v1/invoiceitems/<id>", items.retrieve, EXPAND),
    Route("POST", "/v1/credit_notes", credit_notes.create, credit_notes.CREATE_SHAPE, ("invoice",)),
    Route("GET", "/v1/credit_notes", credit_notes.list_all, credit_notes.LIST_SHAPE),
    Route("GET", "/v1/credit_notes/<id>", credit_notes.retrieve, NO_EXPAND),
    Route("POST", "/v1/credit_notes/<id>/void", credit_notes.void, NO_EXPAND),
    Route("POST", "/v1/refunds", refunds.create, refunds.CREATE_SHAPE, ("payment_intent",)),
    Route("GET", "/v1/refunds", refunds.list_all, refunds.LIST_SHAPE),
    Route("GET", "/v1/refunds/<id>", refunds.retrieve, EXPAND),
    Route("GET", "/v1/disputes", refunds.list_disputes, refunds.LIST_SHAPE),
    Route("GET", "/v1/invoice_payments", refunds.list_payments, refunds.PAYMENTS_SHAPE),
    Route("GET", "/v1/payment_intents/<id>", payments.retrieve_intent, EXPAND),
    Route(
        "POST",
        "/v1/billing/meter_events",
        meter_events.create,
        meter_events.CREATE_SHAPE,
        ("event_name", "payload"),
    ),
    Route("GET", "/v1/events", events.list_all, events.LIST_SHAPE),
    Route("GET", "/v1/events/<id>", events.retrieve, events.RETRIEVE_SHAPE),
)
