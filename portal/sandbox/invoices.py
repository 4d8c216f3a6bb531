"""Invoices: their fields, creating, reading, changing and deleting them."""

from typing import Any

from . import items
from .currencies import check_currency
from .customers import living, merged_metadata
from .errors import StripeError, no_such, not_editable
from .events import emit
from .lists import newest_first, page, within
from .method_types import METHOD_TYPES
from .rendering import render
from .shapes import EXPAND, PAGE, Shape, boolean, integer, metadata, moments, not_imitated, one_of, text
from .store import Json, Store, new_id
from .totals import existing, recompute

STATUSES = ("draft", "open", "paid", "uncollectible", "void")
AUTO_FINALIZE_SECONDS = 3600
DAY_SECONDS = 86400

_FIELDS: Shape = {
    "auto_advance": boolean,
    "automatic_tax": {"enabled": boolean, **not_imitated("liability")},
    "automatically_finalizes_at": integer,
    "collection_method": one_of("charge_automatically", "send_invoice"),
    "custom_fields": [{"name": text, "value": text}],
    "days_until_due": integer,
    "default_payment_method": text,
    "description": text,
    "due_date": integer,
    "effective_at": integer,
    "footer": text,
    "metadata": metadata,
    "number": text,
    "payment_settings": {
        "payment_method_types": [one_of(*METHOD_TYPES)],
        **not_imitated("default_mandate", "payment_method_options"),
    },
    "statement_descriptor": text,
    **EXPAND,
    **not_imitated(
        "account_tax_ids", "application_fee_amount", "default_source", "default_tax_rates", "discounts",
        "issuer", "on_behalf_of", "rendering", "shipping_cost", "shipping_details", "transfer_data",
    ),
}  # fmt: skip
CREATE_SHAPE: Shape = {
    **_FIELDS,
    "currency": text,
    "customer": text,
    "pending_invoice_items_behavior": one_of("exclude", "include"),
    **not_imitated("customer_account", "from_invoice", "subscription"),
}
UPDATE_SHAPE: Shape = _FIELDS
LIST_SHAPE: Shape = {
    **PAGE,
    "collection_method": one_of("charge_automatically", "send_invoice"),
    "created": moments,
    "customer": text,
    "due_date": moments,
    "status": one_of(*STATUSES),
    **not_imitated("customer_account", "subscription"),
}

_CHANGEABLE_ALWAYS = {"auto_advance", "metadata", "default_payment_method", "expand"}
_LONGEST_CUSTOM_FIELD = {"name": 40, "value": 140}
_MOST_CUSTOM_FIELDS = 4


def new_invoice(store: Store, id: str, customer_id: str, currency: str) -> Json:
    """A draft with every field at its default."""
    now = store.clock.now()
    customer = store.customers.get(customer_id, {})
    return {
        "id": id,
        "object": "invoice",
        "account_country": "US",
        "account_name": "Sandbox",
        "amount_due": 0,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": 0,
        "amount_shipping": 0,
        "application": None,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": False,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "automatically_finalizes_at": None,
        "billing_reason": "manual",
        "collection_method": "charge_automatically",
        "created": now,
        "currency": currency,
        "custom_fields": None,
        "customer": customer_id,
        "customer_address": customer.get("address"),
        "customer_email": customer.get("email"),
        "customer_name": customer.get("name"),
        "customer_tax_exempt": customer.get("tax_exempt", "none"),
        "days_until_due": None,
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "due_date": None,
        "effective_at": None,
        "ending_balance": None,
        "footer": None,
        "invoice_pdf": None,
        "issuer": {"type": "self"},
        "last_finalization_error": None,
        "livemode": False,
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "parent": None,
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "period_end": now,
        "period_start": now,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": None,
        "starting_balance": 0,
        "statement_descriptor": None,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "subtotal": 0,
        "subtotal_excluding_tax": 0,
        "test_clock": None,
        "total": 0,
        "total_discount_amounts": [],
        "total_excluding_tax": 0,
        "total_taxes": [],
        "webhooks_delivered_at": None,
    }


def create(store: Store, params: dict[str, Any]) -> Json:
    """Create a draft; pending items of the customer come along unless they are excluded."""
    customer = living(store, params["customer"], param="customer")
    currency = check_currency(params.get("currency") or customer["currency"] or "usd")
    _check_fields(params, params.get("collection_method", "charge_automatically"))
    invoice = new_invoice(store, new_id("in"), customer["id"], currency)
    _apply(store, invoice, params)
    store.invoices[invoice["id"]] = invoice
    store.lines[invoice["id"]] = []
    if params.get("pending_invoice_items_behavior") == "include":
        items.pull_pending(store, invoice)
    recompute(store, invoice)
    emit(store, "invoice.created", render(store, invoice))
    return render(store, invoice, params.get("expand"))


def retrieve(store: Store, params: dict[str, Any], id: str) -> Json:
    """One invoice by its id."""
    return render(store, existing(store, id), params.get("expand"))


def list_all(store: Store, params: dict[str, Any]) -> Json:
    """Invoices, newest first, by customer, status, collection method and moment."""
    if "customer" in params and params["customer"] not in store.customers:
        raise no_such("customer", params["customer"], param="customer")
    same = {name: params[name] for name in ("customer", "status", "collection_method") if name in params}
    rows = [
        invoice
        for invoice in store.invoices.values()
        if all(invoice[name] == value for name, value in same.items())
        and within(invoice["created"], params.get("created"))
        and within(invoice["due_date"], params.get("due_date"))
    ]
    found = page(newest_first(rows), params, "/v1/invoices", "invoice")
    expand = [name.removeprefix("data.") for name in params.get("expand") or ()]
    found["data"] = [render(store, invoice, expand) for invoice in found["data"]]
    return found


def change(store: Store, params: dict[str, Any], id: str) -> Json:
    """Change a draft; of a finalized invoice only what does not alter the document.

    Returns the stored invoice, for the caller to go on with and to render.
    """
    invoice = existing(store, id)
    if invoice["status"] != "draft" and (refused := set(params) - _CHANGEABLE_ALWAYS):
        raise not_editable(f"Finalized invoices can't be updated in this way ({', '.join(sorted(refused))}).")
    _check_fields(params, params.get("collection_method") or invoice["collection_method"])
    _apply(store, invoice, params)
    recompute(store, invoice)
    emit(store, "invoice.updated", render(store, invoice))
    return invoice


def delete(store: Store, params: dict[str, Any], id: str) -> Json:
    """Delete a draft for good."""
    invoice = existing(store, id)
    if invoice["status"] != "draft":
        raise not_editable("You can only delete draft invoices. To cancel a finalized one, void it.")
    emit(store, "invoice.deleted", render(store, invoice))
    del store.invoices[id], store.lines[id]
    items.release(store, id)
    return {"id": id, "object": "invoice", "deleted": True}


def _check_fields(params: dict[str, Any], collection_method: str) -> None:
    dated = params.get("days_until_due") is not None or params.get("due_date") is not None
    if dated and collection_method != "send_invoice":
        raise StripeError(
            "You can only set `days_until_due` or `due_date` if collection_method is `send_invoice`.",
            param="days_until_due",
        )
    fields = params.get("custom_fields") or []
    if len(fields) > _MOST_CUSTOM_FIELDS:
        raise StripeError(f"You can have up to {_MOST_CUSTOM_FIELDS} custom fields.", param="custom_fields")
    for index, field in enumerate(fields):
        for part, longest in _LONGEST_CUSTOM_FIELD.items():
            if not 1 <= len(field.get(part, "")) <= longest:
                raise StripeError(
                    f"A custom field's {part} must have 1 to {longest} characters.",
                    param=f"custom_fields[{index}][{part}]",
                )


def _apply(store: Store, invoice: Json, params: dict[str, Any]) -> None:
    for name, value in params.items():
        if name == "metadata":
            invoice[name] = merged_metadata(invoice[name], value)
        elif name in ("automatic_tax", "payment_settings"):
            invoice[name] = {**invoice[name], **(value or {})}
        elif name not in ("expand", "customer", "currency", "pending_invoice_items_behavior"):
            invoice[name] = None if value == "" else value
    if invoice["status"] != "draft":
        return
    if invoice["days_until_due"] is not None:
        invoice["due_date"] = store.clock.now() + invoice["days_until_due"] * DAY_SECONDS
    if not invoice["auto_advance"]:
        invoice["automatically_finalizes_at"] = None
    elif invoice["automatically_finalizes_at"] is None:
        invoice["automatically_finalizes_at"] = store.clock.now() + AUTO_FINALIZE_SECONDS
