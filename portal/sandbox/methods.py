"""Payment methods: cards that a customer has left, and which of them pays by default."""

from typing import Any

from .cards import CARD_NUMBERS
from .customers import living
from .errors import StripeError, card_error, no_such
from .events import emit
from .lists import newest_first, page
from .shapes import EXPAND, PAGE, Shape, not_imitated
from .store import Json, Store, new_id

LIST_SHAPE: Shape = {**PAGE, **not_imitated("allow_redisplay", "type")}
DETACH_SHAPE: Shape = EXPAND


def retrieve(store: Store, params: dict[str, Any], id: str) -> Json:
    """One payment method by its id; one that was detached keeps its card and has no customer."""
    if id not in store.payment_methods:
        raise no_such("PaymentMethod", id)
    return store.payment_methods[id]


def list_of_customer(store: Store, params: dict[str, Any], id: str) -> Json:
    """The payment methods of a customer, newest first."""
    living(store, id)
    rows = [method for method in store.payment_methods.values() if method["customer"] == id]
    return page(newest_first(rows), params, f"/v1/customers/{id}/payment_methods", "payment_method")


def detach(store: Store, params: dict[str, Any], id: str) -> Json:
    """Take a payment method from its customer for good."""
    method = retrieve(store, params, id)
    if method["customer"] is None:
        raise StripeError("The payment method you provided is not attached to a customer so detachment is impossible.")
    customer = living(store, method["customer"])
    method["customer"] = None
    if customer["invoice_settings"]["default_payment_method"] == id:
        customer["invoice_settings"]["default_payment_method"] = None
        store.cards[customer["id"]] = "none"
        emit(store, "customer.updated", customer)
    emit(store, "payment_method.detached", method)
    return method


def attach_card(store: Store, customer: str, number: str, month: int, year: int) -> Json:
    """A card of this number, kept for the customer.

    :raise StripeError: the number is not one of the test cards, or the bank refuses the card at once
    """
    card = CARD_NUMBERS.get(number)
    if card is None:
        raise card_error("Your card number is incorrect.", "incorrect_number")
    if card.refused_at_once:
        raise card_error("Your card was declined.", "card_declined", "generic_decline")
    living(store, customer)
    method: Json = {
        "id": new_id("pm"),
        "object": "payment_method",
        "billing_details": {"address": None, "email": None, "name": None, "phone": None},
        "card": {
            "brand": card.brand,
            "country": "US",
            "exp_month": month,
            "exp_year": year,
            "funding": "credit",
            "last4": number[-4:],
        },
        "created": store.clock.now(),
        "customer": customer,
        "livemode": False,
        "metadata": {},
        "type": "card",
    }
    store.payment_methods[method["id"]] = method
    emit(store, "payment_method.attached", method)
    return method
