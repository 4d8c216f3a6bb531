"""An invoice's lines: added, changed and removed in bulk while it is a draft."""

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from .currencies import check_amount
from .customers import living, merged_metadata
from .errors import StripeError, missing_parameter, no_such, not_editable
from .events import emit
from .lists import page
from .rendering import render
from .shapes import EXPAND, PAGE, Shape, boolean, integer, metadata, not_imitated, one_of, text
from .store import Json, Store, new_id
from .totals import existing, recompute

MOST_LINES = 250
_MOST_DECIMALS = 12


def _decimal(value: Any, name: str) -> str:
    try:
        number = Decimal(text(value, name))
    except InvalidOperation:
        raise StripeError(f"Invalid decimal: {value}", param=name) from None
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > _MOST_DECIMALS:
        raise StripeError(f"Invalid decimal: at most {_MOST_DECIMALS} decimal places.", param=name)
    return str(value)


_LINE: Shape = {
    "amount": integer,
    "description": text,
    "discountable": boolean,
    "metadata": metadata,
    "period": {"start": integer, "end": integer},
    "price_data": {
        "currency": text,
        "product": text,
        "product_data": {
            "name": text,
            "description": text,
            "metadata": metadata,
            "unit_label": text,
            **not_imitated("images", "tax_code", "tax_details"),
        },
        "tax_behavior": one_of("exclusive", "inclusive", "unspecified"),
        "unit_amount": integer,
        "unit_amount_decimal": _decimal,
    },
    "quantity": integer,
    **not_imitated("discounts", "pricing", "quantity_decimal", "tax_amounts", "tax_rates"),
}
_BULK: Shape = {"invoice_metadata": metadata, **EXPAND}
ADD_SHAPE: Shape = {**_BULK, "lines": [{**_LINE, **not_imitated("invoice_item")}]}
UPDATE_SHAPE: Shape = {**_BULK, "lines": [{**_LINE, "id": text}]}
REMOVE_SHAPE: Shape = {**_BULK, "lines": [{"id": text, "behavior": one_of("delete", "unassign")}]}
LIST_SHAPE: Shape = PAGE


def list_all(store: Store, params: dict[str, Any], invoice_id: str) -> Json:
    """The lines of one invoice, in the order in which they were added."""
    existing(store, invoice_id)
    return page(store.lines[invoice_id], params, f"/v1/invoices/{invoice_id}/lines", "line_item")


def add(store: Store, params: dict[str, Any], invoice_id: str) -> Json:
    """Add lines to a draft: all of them, or none."""
    invoice = _draft(store, invoice_id)
    given = params.get("lines") or []
    check_room(store, invoice, len(given))
    fresh = [new_line(store, invoice, line, param=f"lines[{index}]") for index, line in enumerate(given)]
    store.lines[invoice_id].extend(fresh)
    return _finish(store, invoice, params)


def update(store: Store, params: dict[str, Any], invoice_id: str) -> Json:
    """Change lines of a draft: all of them, or none."""
    invoice = _draft(store, invoice_id)
    changed_lines = {}
    for index, given in enumerate(params.get("lines") or []):
        line = _line(store, invoice_id, given, f"lines[{index}]")
        changed_lines[line["id"]] = _with_changes(line, given, invoice["currency"], f"lines[{index}]")
    lines = store.lines[invoice_id]
    lines[:] = [changed_lines.get(line["id"], line) for line in lines]
    return _finish(store, invoice, params)


def remove(store: Store, params: dict[str, Any], invoice_id: str) -> Json:
    """Remove lines from a draft; `unassign` makes an item's line pending again."""
    invoice = _draft(store, invoice_id)
    gone = set()
    for index, given in enumerate(params.get("lines") or []):
        line = _line(store, invoice_id, given, f"lines[{index}]")
        gone.add(line["id"])
        item = store.items.get(line["parent"]["invoice_item_details"]["invoice_item"])
        if item is not None and given.get("behavior") == "unassign":
            item["invoice"] = None
    lines = store.lines[invoice_id]
    lines[:] = [line for line in lines if line["id"] not in gone]
    return _finish(store, invoice, params)


def new_line(
    store: Store,
    invoice: Json,
    given: dict[str, Any],
    *,
    invoice_item: str | None = None,
    param: str = "line",
) -> Json:
    """A line of this invoice from what a caller gave.

    :raise StripeError: it has no amount, or one that Stripe refuses
    """
    now = store.clock.now()
    amount = _amount(given, param)
    return {
        "id": given.get("id") or new_id("il"),
        "object": "line_item",
        "amount": check_amount(amount, invoice["currency"], f"{param}[amount]"),
        "currency": invoice["currency"],
        "description": given.get("description"),
        "discount_amounts": [],
        "discountable": given.get("discountable", True),
        "discounts": [],
        "invoice": invoice["id"],
        "livemode": False,
        "metadata": given.get("metadata") or {},
        "parent": {
            "type": "invoice_item_details",
            "invoice_item_details": {
                "invoice_item": invoice_item or new_id("ii"),
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": None,
            },
            "subscription_item_details": None,
        },
        "period": given.get("period") or {"start": now, "end": now},
        "pretax_credit_amounts": [],
        "pricing": None,
        "quantity": given.get("quantity", 1),
        "subscription": None,
        "subtotal": amount,
        "taxes": [],
    }


def check_room(store: Store, invoice: Json, more: int) -> None:
    """Refuse what would take the invoice past Stripe's limit of lines."""
    if len(store.lines[invoice["id"]]) + more > MOST_LINES:
        raise StripeError(f"Invoices can have at most {MOST_LINES} line items.", param="lines")


def changed(store: Store, invoice: Json) -> None:
    """Bring the totals up to date after lines changed, and say so."""
    recompute(store, invoice)
    emit(store, "invoice.updated", render(store, invoice))


def _finish(store: Store, invoice: Json, params: dict[str, Any]) -> Json:
    if "invoice_metadata" in params:
        invoice["metadata"] = merged_metadata(invoice["metadata"], params["invoice_metadata"])
    changed(store, invoice)
    return render(store, invoice, params.get("expand"))


def _draft(store: Store, invoice_id: str) -> Json:
    invoice = existing(store, invoice_id)
    living(store, invoice["customer"], param="customer")
    if invoice["status"] != "draft":
        raise not_editable("You cannot change the lines of an invoice that is not a draft.")
    return invoice


def _line(store: Store, invoice_id: str, given: dict[str, Any], param: str) -> Json:
    if "id" not in given:
        raise missing_parameter(f"{param}[id]")
    for line in store.lines[invoice_id]:
        if line["id"] == given["id"]:
            return line
    raise no_such("line_item", given["id"], param=f"{param}[id]")


def _with_changes(line: Json, given: dict[str, Any], currency: str, param: str) -> Json:
    after: Json = {**line}
    after.update((name, given[name]) for name in ("description", "discountable", "quantity") if name in given)
    if given.get("period"):
        after["period"] = given["period"]
    if "metadata" in given:
        after["metadata"] = merged_metadata(line["metadata"], given["metadata"])
    if "amount" in given or "price_data" in given:
        amount = _amount(given, param)
        after["amount"] = after["subtotal"] = check_amount(amount, currency, f"{param}[amount]")
    return after


def _amount(given: dict[str, Any], param: str) -> int:
    if "amount" in given:
        return int(given["amount"])
    price = given.get("price_data") or {}
    unit = price.get("unit_amount_decimal", price.get("unit_amount"))
    if unit is None:
        raise missing_parameter(f"{param}[amount]")
    # Stripe rounds here, half up, which is why the portal sends amounts and never prices.
    return int((Decimal(unit) * given.get("quantity", 1)).to_integral_value(ROUND_HALF_UP))
