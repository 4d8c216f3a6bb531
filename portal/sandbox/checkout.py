"""Checkout sessions that set up a payment method, and sessions of the customer's own portal."""

from typing import Any

from flask import has_request_context, request

from . import methods
from .customers import living
from .errors import StripeError, no_such
from .events import emit
from .shapes import EXPAND, Shape, metadata, not_imitated, one_of, text
from .store import Json, Store, new_id

_NOT_IMITATED = (
    "adaptive_pricing", "after_expiration", "allow_promotion_codes", "allowed_payment_method_types", "automatic_tax",
    "billing_address_collection", "branding_settings", "client_reference_id", "consent_collection", "custom_fields",
    "custom_text", "customer_account", "customer_creation", "customer_email", "customer_update", "discounts",
    "excluded_payment_method_types", "expires_at", "integration_identifier", "invoice_creation", "line_items",
    "locale", "managed_payments", "name_collection", "optional_items", "origin_context", "payment_intent_data",
    "payment_method_collection", "payment_method_configuration", "payment_method_data", "payment_method_options",
    "permissions", "phone_number_collection", "redirect_on_completion", "return_url", "saved_payment_method_options",
    "setup_intent_data", "shipping_address_collection", "shipping_options", "submit_type", "subscription_data",
    "tax_id_collection", "ui_mode", "wallet_options",
)  # fmt: skip
CREATE_SHAPE: Shape = {
    "cancel_url": text,
    "currency": text,
    "customer": text,
    "metadata": metadata,
    "mode": one_of("payment", "setup", "subscription"),
    "success_url": text,
    **EXPAND,
    **not_imitated(*_NOT_IMITATED),
}
PORTAL_SHAPE: Shape = {
    "customer": text,
    "return_url": text,
    **EXPAND,
    **not_imitated("after_expiration", "configuration", "customer_account", "flow_data", "locale", "on_behalf_of"),
}
LIFETIME_SECONDS = 86400
_INTENT, _METHOD = "setup_intent", "setup_intent.payment_method"


def create(store: Store, params: dict[str, Any]) -> Json:
    """Open a page on which a customer leaves a card."""
    if params["mode"] != "setup":
        raise StripeError("The sandbox imitates checkout in mode=setup only.", param="mode")
    customer = living(store, params["customer"], param="customer")
    id, now = new_id("cs"), store.clock.now()
    intent: Json = {
        "id": new_id("seti"),
        "object": "setup_intent",
        "created": now,
        "customer": customer["id"],
        "last_setup_error": None,
        "livemode": False,
        "metadata": {},
        "payment_method": None,
        "status": "requires_payment_method",
        "usage": "off_session",
    }
    store.setup_intents[intent["id"]] = intent
    store.checkout_sessions[id] = {
        "id": id,
        "object": "checkout.session",
        "cancel_url": params.get("cancel_url"),
        "created": now,
        "currency": params.get("currency"),
        "customer": customer["id"],
        "expires_at": now + LIFETIME_SECONDS,
        "livemode": False,
        "metadata": params.get("metadata", {}),
        "mode": params["mode"],
        "payment_status": "no_payment_required",
        "setup_intent": intent["id"],
        "status": "open",
        "success_url": params["success_url"],
        "url": _page("checkout", id),
    }
    return store.checkout_sessions[id]


def retrieve(store: Store, params: dict[str, Any], id: str) -> Json:
    """One session, with its intent and payment method in full when asked for."""
    if id not in store.checkout_sessions:
        raise no_such("checkout.session", id)
    session = store.checkout_sessions[id]
    wanted = params.get("expand") or []
    if unknown := [name for name in wanted if name not in (_INTENT, _METHOD)]:
        raise StripeError(f"This property cannot be expanded ({unknown[0]}).", param="expand")
    if not wanted:
        return session
    intent = store.setup_intents[session["setup_intent"]]
    if _METHOD in wanted and intent["payment_method"]:
        intent = {**intent, "payment_method": store.payment_methods[intent["payment_method"]]}
    return {**session, "setup_intent": intent}


def retrieve_intent(store: Store, params: dict[str, Any], id: str) -> Json:
    """One setup intent by its id."""
    if id not in store.setup_intents:
        raise no_such("setupintent", id)
    return store.setup_intents[id]


def open_portal(store: Store, params: dict[str, Any]) -> Json:
    """Open the page on which a customer sees and removes cards."""
    customer = living(store, params["customer"], param="customer")
    id = new_id("bps")
    store.portal_sessions[id] = {
        "id": id,
        "object": "billing_portal.session",
        "created": store.clock.now(),
        "customer": customer["id"],
        "livemode": False,
        "return_url": params.get("return_url"),
        "url": _page("portal", id),
    }
    return store.portal_sessions[id]


def complete(store: Store, session: Json, number: str, month: int, year: int) -> None:
    """Keep the card that was entered; the session is over.

    :raise StripeError: the card is refused, or the session is not open any more
    """
    if session["status"] != "open" or session["expires_at"] <= store.clock.now():
        raise StripeError("This session is over; go back and begin again.")
    method = methods.attach_card(store, session["customer"], number, month, year)
    intent = store.setup_intents[session["setup_intent"]]
    intent.update(payment_method=method["id"], status="succeeded")
    session["status"] = "complete"
    emit(store, "setup_intent.succeeded", intent)
    emit(store, "checkout.session.completed", session)


def _page(kind: str, id: str) -> str:
    base = request.host_url if has_request_context() else "/"
    return f"{base}{kind}/{id}"
