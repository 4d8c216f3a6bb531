"""Events: what Stripe says happened. Whoever changes the state emits them here."""

import json
import threading
from typing import Any

from .errors import no_such
from .lists import newest_first, page, within
from .packing import pack, unpack
from .shapes import NO_EXPAND, PAGE, boolean, moments, text
from .store import Json, Store, new_id

# The version that stripe-python 16.1 pins; an event of another version can be asked for in a test.
API_VERSION = "2026-10-28.endive"

LIST_SHAPE = {**PAGE, **NO_EXPAND, "type": text, "types": [text], "delivery_success": boolean, "created": moments}
RETRIEVE_SHAPE = NO_EXPAND

_cause = threading.local()


def caused_by(request_id: str | None, key: str | None) -> None:
    """Name the request whose events follow on this thread."""
    _cause.request = {"id": request_id, "idempotency_key": key}


def emit(store: Store, type: str, subject: Json, **fields: Any) -> str:
    """Record an event with a snapshot of its subject, ready to be delivered; return its id."""
    id = new_id("evt")
    event: Json = {
        "id": id,
        "object": "event",
        "api_version": store.api_version or API_VERSION,
        "created": store.clock.now(),
        "data": pack(json.dumps({"object": subject}).encode()),
        "livemode": False,
        "pending_webhooks": 1,
        "request": getattr(_cause, "request", {"id": None, "idempotency_key": None}),
        "type": type,
        **fields,
    }
    store.events[id] = event
    store.deliveries[id] = {
        "object": subject.get("id"),
        "state": "new",
        "attempts": 0,
        "last_status": None,
        "last_error": None,
    }
    store.touch()
    return id


def shown(store: Store, id: str) -> Json:
    """The event as Stripe answers and delivers it."""
    event = store.events[id]
    return {**event, "data": json.loads(unpack(event["data"]))}


def retrieve(store: Store, params: dict[str, Any], id: str) -> Json:
    """One event by its id."""
    if id not in store.events:
        raise no_such("event", id)
    return shown(store, id)


def list_all(store: Store, params: dict[str, Any]) -> Json:
    """Events, newest first; `delivery_success=false` finds those that never arrived."""
    wanted = set(params.get("types") or ()) | ({params["type"]} if "type" in params else set())
    rows = [
        event
        for event in store.events.values()
        if (not wanted or any(_matches(event["type"], pattern) for pattern in wanted))
        and within(event["created"], params.get("created"))
        and params.get("delivery_success") in (None, store.deliveries[event["id"]]["state"] == "delivered")
    ]
    found = page(newest_first(rows), params, "/v1/events", "event")
    found["data"] = [shown(store, event["id"]) for event in found["data"]]
    return found


def _matches(type: str, pattern: str) -> bool:
    return type == pattern or (pattern.endswith("*") and type.startswith(pattern[:-1]))
