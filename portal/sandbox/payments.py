"""What became of an invoice's collection: its payment, and the payment intent behind it.

An invoice that is merely open does not tell whether its card was declined or waits for its owner;
the payment intent does, here as at Stripe.
"""

from typing import Any

from .errors import no_such
from .store import Json, Store, new_id

_STATUS_OF_CARD = {"succeeds": "succeeded", "requires_action": "requires_action"}


def record(store: Store, invoice: Json, card: str) -> None:
    """Note how an attempt with such a card ended."""
    payment = store.payments.get(invoice["id"]) or _new_payment(store, invoice)
    intent = store.payment_intents[payment["payment"]["payment_intent"]]
    declined = card not in _STATUS_OF_CARD
    intent.update(
        amount=invoice["amount_remaining"],
        status=_STATUS_OF_CARD.get(card, "requires_payment_method"),
        last_payment_error=_DECLINED if declined else None,
    )
    if card == "succeeds":
        intent["amount_received"] = payment["amount_paid"] = invoice["amount_remaining"]
        payment["status"] = "paid"
        payment["status_transitions"]["paid_at"] = store.clock.now()


def retrieve_intent(store: Store, params: dict[str, Any], id: str) -> Json:
    """One payment intent by its id."""
    if id not in store.payment_intents:
        raise no_such("payment_intent", id)
    return store.payment_intents[id]


def of_invoice(store: Store, invoice_id: str, *, with_intents: bool) -> Json:
    """The invoice's payments as a list, with their intents in full when asked for."""
    payment = store.payments.get(invoice_id)
    if payment is not None and with_intents:
        intent = store.payment_intents[payment["payment"]["payment_intent"]]
        payment = {**payment, "payment": {**payment["payment"], "payment_intent": intent}}
    return {
        "object": "list",
        "data": [] if payment is None else [payment],
        "has_more": False,
        "url": "/v1/invoice_payments",
    }


_DECLINED: Json = {
    "type": "card_error",
    "code": "card_declined",
    "decline_code": "generic_decline",
    "message": "Your card was declined.",
}


def _new_payment(store: Store, invoice: Json) -> Json:
    now = store.clock.now()
    intent = {
        "id": new_id("pi"),
        "object": "payment_intent",
        "amount": invoice["amount_remaining"],
        "amount_received": 0,
        "created": now,
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "last_payment_error": None,
        "livemode": False,
        "metadata": {},
        "status": "requires_payment_method",
    }
    store.payment_intents[intent["id"]] = intent
    store.payments[invoice["id"]] = {
        "id": new_id("inpay"),
        "object": "invoice_payment",
        "amount_paid": None,
        "amount_requested": invoice["amount_remaining"],
        "created": now,
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": True,
        "livemode": False,
        "payment": {"type": "payment_intent", "payment_intent": intent["id"]},
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    }
    return store.payments[invoice["id"]]
