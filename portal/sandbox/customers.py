"""Customers: who is invoiced, what they are owed or owe, and how their card behaves."""

from typing import Any

from .cards import CARDS, card_of_payment_method
from .currencies import check_currency
from .errors import StripeError, no_such
from .events import emit
from .lists import newest_first, page, within
from .shapes import ADDRESS, NO_EXPAND, PAGE, Shape, integer, metadata, moments, not_imitated, one_of, text
from .store import Json, Store, new_id

_FIELDS: Shape = {
    "address": ADDRESS,
    "balance": integer,
    "business_name": text,
    "description": text,
    "email": text,
    "individual_name": text,
    "invoice_prefix": text,
    "invoice_settings": {
        "custom_fields": [{"name": text, "value": text}],
        "default_payment_method": text,
        "footer": text,
        **not_imitated("rendering_options"),
    },
    "metadata": metadata,
    "name": text,
    "next_invoice_sequence": integer,
    "phone": text,
    "preferred_locales": [text],
    "shipping": {"address": ADDRESS, "name": text, "phone": text},
    "tax_exempt": one_of("exempt", "none", "reverse"),
    **NO_EXPAND,
    **not_imitated("cash_balance", "source", "tax", "validate"),
}
CREATE_SHAPE: Shape = {**_FIELDS, "payment_method": text, **not_imitated("tax_id_data", "test_clock")}
UPDATE_SHAPE: Shape = {**_FIELDS, **not_imitated("default_source")}
LIST_SHAPE: Shape = {**PAGE, **NO_EXPAND, "created": moments, "email": text, **not_imitated("test_clock")}
_DEFAULT_METHOD = "invoice_settings.default_payment_method"


def new_customer(store: Store, id: str) -> Json:
    """A customer with every field at its default."""
    return {
        "id": id,
        "object": "customer",
        "address": None,
        "balance": 0,
        "business_name": None,
        "created": store.clock.now(),
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "individual_name": None,
        "invoice_credit_balance": {},
        "invoice_prefix": id[-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }


def create(store: Store, params: dict[str, Any]) -> Json:
    """Create a customer."""
    customer = new_customer(store, new_id("cus"))
    card = _card_named_in(store, params)
    _apply(customer, params)
    store.customers[customer["id"]] = customer
    store.cards[customer["id"]] = card or "none"
    emit(store, "customer.created", customer)
    return customer


def retrieve(store: Store, params: dict[str, Any], id: str) -> Json:
    """One customer, with the default payment method in full when asked for; of a deleted one only the id is left."""
    if id not in store.customers:
        raise no_such("customer", id)
    customer = store.customers[id]
    if unknown := [name for name in params.get("expand") or [] if name != _DEFAULT_METHOD]:
        raise StripeError(f"This property cannot be expanded ({unknown[0]}).", param="expand")
    if not params.get("expand") or customer.get("deleted"):
        return customer
    settings = customer["invoice_settings"]
    method = store.payment_methods.get(settings["default_payment_method"])
    return {**customer, "invoice_settings": {**settings, "default_payment_method": method}}


def update(store: Store, params: dict[str, Any], id: str) -> Json:
    """Change a customer."""
    customer = living(store, id)
    card = _card_named_in(store, params)
    _apply(customer, params)
    if card:
        store.cards[id] = card
    emit(store, "customer.updated", customer)
    return customer


def list_all(store: Store, params: dict[str, Any]) -> Json:
    """Customers, newest first; deleted ones are not listed."""
    rows = [
        customer
        for customer in store.customers.values()
        if not customer.get("deleted")
        and params.get("email") in (None, customer["email"])
        and within(customer["created"], params.get("created"))
    ]
    return page(newest_first(rows), params, "/v1/customers", "customer")


def delete(store: Store, params: dict[str, Any], id: str) -> Json:
    """Delete a customer for good; invoices keep its id."""
    customer = living(store, id)
    emit(store, "customer.deleted", customer)
    store.customers[id] = {"id": id, "object": "customer", "deleted": True}
    return store.customers[id]


def living(store: Store, id: str, *, param: str | None = None) -> Json:
    """The customer with this id.

    :raise StripeError: there is none, or it was deleted
    """
    customer = store.customers.get(id)
    if customer is None or customer.get("deleted"):
        raise no_such("customer", id, param=param)
    return customer


def balance_of(customer: Json, currency: str) -> int:
    """What is carried on the customer's balance: negative is credit, positive is owed."""
    balance = customer["invoice_credit_balance"].get(currency)
    if balance is None:
        balance = customer["balance"] if customer["currency"] in (None, currency) else 0
    return int(balance)


def set_balance(store: Store, customer: Json, currency: str, balance: int) -> None:
    """Carry this balance from now on; the first currency used becomes the customer's own."""
    if balance == balance_of(customer, currency):
        return
    customer["currency"] = customer["currency"] or check_currency(currency)
    customer["invoice_credit_balance"][currency] = balance
    if customer["currency"] == currency:
        customer["balance"] = balance
    emit(store, "customer.updated", customer)


def _apply(customer: Json, params: dict[str, Any]) -> None:
    for name, value in params.items():
        if name == "metadata":
            customer[name] = merged_metadata(customer[name], value)
        elif name == "invoice_settings":
            customer[name] = {**customer[name], **(value or {})}
        elif name == "balance" and customer["currency"]:
            customer[name] = customer["invoice_credit_balance"][customer["currency"]] = value
        elif name not in ("expand", "payment_method"):
            customer[name] = None if value == "" else value


def merged_metadata(known: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    """Metadata after an update: given names win, empty values unset, an empty whole unsets all."""
    if not given:
        return {}
    return {name: value for name, value in {**known, **given}.items() if value != ""}


def _card_named_in(store: Store, params: dict[str, Any]) -> str | None:
    settings = params.get("invoice_settings") or {}
    method = settings.get("default_payment_method") or params.get("payment_method")
    return card_of_payment_method(store, method) if method else None


def set_card(store: Store, id: str, card: str) -> None:
    """Decide how the customer's card behaves from now on."""
    living(store, id)
    if card not in CARDS:
        raise StripeError(f"card must be one of {', '.join(CARDS)}", param="card")
    store.cards[id] = card
