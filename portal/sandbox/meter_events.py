"""Meter events: usage that is pushed to Stripe one by one. Only taken, for the comparison with our way."""

from typing import Any

from .customers import living
from .errors import StripeError
from .shapes import NO_EXPAND, Shape, integer, text, words
from .store import Json, Store

CREATE_SHAPE: Shape = {
    "event_name": text,
    "identifier": text,
    "payload": words,
    "timestamp": integer,
    **NO_EXPAND,
}
PAST_DAYS = 35
AHEAD_SECONDS = 300


def create(store: Store, params: dict[str, Any]) -> Json:
    """Take one event. Nothing is added up: the sandbox imitates no meters."""
    now = store.clock.now()
    living(store, params["payload"].get("stripe_customer_id", ""), param="payload[stripe_customer_id]")
    if not params["payload"].get("value"):
        raise StripeError("The payload has no value.", param="payload[value]")
    moment = params.get("timestamp", now)
    if not now - PAST_DAYS * 86400 <= moment <= now + AHEAD_SECONDS:
        raise StripeError("The timestamp lies too far in the past or in the future.", param="timestamp")
    return {
        "object": "billing.meter_event",
        "created": now,
        "event_name": params["event_name"],
        "identifier": params.get("identifier"),
        "livemode": False,
        "payload": params["payload"],
        "timestamp": moment,
    }
