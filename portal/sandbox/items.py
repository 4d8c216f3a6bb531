"""Invoice items: charges that wait for an invoice, or belong to one already."""

from typing import Any

from . import lines as invoice_lines
from .currencies import check_currency
from .customers import living
from .errors import no_such, not_editable
from .events import emit
from .lists import newest_first, page, within
from .shapes import EXPAND, PAGE, Shape, boolean, integer, metadata, moments, not_imitated, text
from .store import Json, Store, new_id

CREATE_SHAPE: Shape = {
    "amount": integer,
    "currency": text,
    "customer": text,
    "description": text,
    "invoice": text,
    "metadata": metadata,
    "period": {"start": integer, "end": integer},
    **EXPAND,
    **not_imitated(
        "customer_account", "discountable", "discounts", "price_data", "pricing", "quantity",
        "quantity_decimal", "subscription", "tax_behavior", "tax_code", "tax_rates", "unit_amount_decimal",
    ),
}  # fmt: skip
LIST_SHAPE: Shape = {
    **PAGE,
    "created": moments,
    "customer": text,
    "invoice": text,
    "pending": boolean,
    **not_imitated("customer_account"),
}


def create(store: Store, params: dict[str, Any]) -> Json:
    """Create an item: on a draft when one is named, else pending for the customer's next invoice."""
    customer = living(store, params["customer"], param="customer")
    invoice = None
    if "invoice" in params:
        invoice = store.invoices.get(params["invoice"])
        if invoice is None:
            raise no_such("invoice", params["invoice"], param="invoice")
        if invoice["status"] != "draft":
            raise not_editable("This invoice is no longer editable.")
        invoice_lines.check_room(store, invoice, 1)
    now = store.clock.now()
    currency = invoice["currency"] if invoice else params.get("currency") or customer["currency"] or "usd"
    item = {
        "id": new_id("ii"),
        "object": "invoiceitem",
        "amount": params.get("amount", 0),
        "created": now,
        "currency": check_currency(currency),
        "customer": customer["id"],
        "date": now,
        "description": params.get("description"),
        "discountable": True,
        "discounts": [],
        "invoice": None,
        "livemode": False,
        "metadata": params.get("metadata", {}),
        "net_amount": params.get("amount", 0),
        "parent": None,
        "period": params.get("period") or {"start": now, "end": now},
        "pricing": None,
        "proration": False,
        "quantity": 1,
        "quantity_decimal": "1",
        "tax_rates": [],
        "test_clock": None,
    }
    store.items[item["id"]] = item
    emit(store, "invoiceitem.created", item)
    if invoice:
        _attach(store, invoice, item)
        invoice_lines.changed(store, invoice)
    return item


def retrieve(store: Store, params: dict[str, Any], id: str) -> Json:
    """One item by its id."""
    if id not in store.items:
        raise no_such("invoiceitem", id)
    return store.items[id]


def list_all(store: Store, params: dict[str, Any]) -> Json:
    """Items, newest first; `pending=true` finds those that no invoice has taken yet."""
    rows = [
        item
        for item in store.items.values()
        if params.get("customer") in (None, item["customer"])
        and params.get("invoice") in (None, item["invoice"])
        and params.get("pending") in (None, item["invoice"] is None)
        and within(item["created"], params.get("created"))
    ]
    return page(newest_first(rows), params, "/v1/invoiceitems", "invoiceitem")


def pull_pending(store: Store, invoice: Json) -> None:
    """Move the customer's pending items of this currency onto the new draft."""
    for item in store.items.values():
        wanted = (item["customer"], item["currency"]) == (invoice["customer"], invoice["currency"])
        if wanted and item["invoice"] is None:
            _attach(store, invoice, item)


def release(store: Store, invoice_id: str) -> None:
    """Forget the items of a deleted draft, as Stripe does."""
    for id in [id for id, item in store.items.items() if item["invoice"] == invoice_id]:
        del store.items[id]


def _attach(store: Store, invoice: Json, item: Json) -> None:
    item["invoice"] = invoice["id"]
    store.lines[invoice["id"]].append(
        invoice_lines.new_line(
            store,
            invoice,
            {name: item[name] for name in ("amount", "description", "metadata", "period")},
            invoice_item=item["id"],
        )
    )
