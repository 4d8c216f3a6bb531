"""The hand that breaks things: `/_ctl`, JSON in and out, from this machine only.

GET     ledger, counts, calls?invoice=&method=&path=&idempotency_key=, faults, clock, webhooks
POST    faults              {match, mode, nth?, times?, sticky?, seconds?, contains?}
DELETE  faults, faults/ID
POST    clock               {advance_seconds} or {now}
POST    webhooks            {mode?, url?, secret?, signature_offset_seconds?, api_version?}
POST    webhooks/redeliver  {events?}
POST    events              {type, object, livemode?, account?}
POST    customers/ID        {card}
POST    dashboard           {action, invoice, ...}
POST    load                {customers?, invoices?}
POST    rate_limit          {per_endpoint?, total?}
POST    reset               {}
"""

from typing import Any

from flask import Blueprint, Response, jsonify, request

from . import customers, dashboard, ledger, seeding, settling
from .api import Api
from .errors import StripeError
from .events import caused_by, emit
from .limits import PER_ENDPOINT, TOTAL
from .nearby import is_from_here
from .webhooks import MODES


def make_blueprint(api: Api) -> Blueprint:
    """The control endpoints of one sandbox."""
    control = Blueprint("control", __name__, url_prefix="/_ctl")
    store, deliverer = api.store, api.deliverer

    @control.before_request
    def only_from_here() -> tuple[Response, int] | None:
        if not is_from_here():
            return jsonify(error="the control endpoints answer this machine only"), 403
        caused_by(None, None)
        return None

    @control.errorhandler(StripeError)
    def refused(error: StripeError) -> tuple[Response, int]:
        return jsonify(error=error.error), error.status

    @control.get("/faults")
    def list_faults() -> Response:
        return jsonify(faults=api.faults.shown())

    @control.post("/faults")
    def add_fault() -> Response:
        return jsonify(api.faults.add(**_body()).shown())

    @control.delete("/faults")
    def clear_faults() -> Response:
        api.faults.clear()
        return jsonify(faults=[])

    @control.delete("/faults/<int:id>")
    def clear_fault(id: int) -> Response:
        api.faults.clear(id)
        return jsonify(faults=api.faults.shown())

    @control.post("/clock")
    def move_clock() -> Response:
        body = _body("advance_seconds", "now")
        with store.lock:
            if "now" in body:
                store.clock.set(int(body["now"]))
            store.clock.advance(int(body.get("advance_seconds", 0)))
            settling.pass_time(store)
            deliverer.take_new()
            store.touch()
        api.keys.forget_old()
        return jsonify(now=store.clock.now(), offset_seconds=store.clock.offset)

    @control.get("/clock")
    def read_clock() -> Response:
        return jsonify(now=store.clock.now(), offset_seconds=store.clock.offset)

    @control.get("/webhooks")
    def webhook_state() -> Response:
        return jsonify(_webhooks(api))

    @control.post("/webhooks")
    def set_webhooks() -> Response:
        body = _body("mode", "url", "secret", "signature_offset_seconds", "api_version")
        if "mode" in body:
            mode, _, argument = str(body["mode"]).partition(":")
            if mode not in MODES:
                raise StripeError(f"mode must be one of {', '.join(MODES)}")
            deliverer.mode, deliverer.delay_seconds = mode, float(argument or 0)
        store.api_version = body.get("api_version", store.api_version)
        deliverer.url = body.get("url", deliverer.url)
        deliverer.secret = body.get("secret", deliverer.secret)
        deliverer.signature_offset_seconds = int(
            body.get("signature_offset_seconds", deliverer.signature_offset_seconds)
        )
        return jsonify(_webhooks(api))

    @control.post("/webhooks/redeliver")
    def redeliver() -> Response:
        return jsonify(redelivered=deliverer.redeliver(_body("events").get("events")))

    @control.post("/events")
    def send_event() -> Response:
        body = _body("type", "object", "livemode", "account")
        if not isinstance(body.get("type"), str) or not isinstance(body.get("object"), dict):
            raise StripeError("An event needs a type and an object.")
        extra = {name: body[name] for name in ("livemode", "account") if name in body}
        with store.lock:
            event = emit(store, body["type"], body["object"], **extra)
            deliverer.take_new()
        return jsonify(event=event)

    @control.post("/customers/<id>")
    def set_card(id: str) -> Response:
        with store.lock:
            customers.set_card(store, id, _body("card").get("card", ""))
            store.touch()
        return jsonify(customer=id, card=store.cards[id])

    @control.post("/dashboard")
    def use_dashboard() -> Response:
        with store.lock:
            try:
                return jsonify(dashboard.act(store, _body()))
            finally:
                deliverer.take_new()
                store.touch()

    @control.post("/load")
    def load() -> Response:
        body = _body("customers", "invoices")
        with store.lock:
            return jsonify(seeding.load(store, body.get("customers", []), body.get("invoices", [])))

    @control.post("/rate_limit")
    def set_rate_limit() -> Response:
        body = _body("per_endpoint", "total")
        api.limit.set(body.get("per_endpoint", PER_ENDPOINT), body.get("total", TOTAL))
        return jsonify(per_endpoint=api.limit.per_endpoint, total=api.limit.total)

    @control.post("/reset")
    def reset() -> Response:
        api.faults.clear()
        api.limit.set(None, None)
        deliverer.forget()
        deliverer.mode, deliverer.signature_offset_seconds = "deliver", 0
        with store.lock:
            store.clear()
            store.clock.offset = 0
            store.api_version = None
        return jsonify(reset=True)

    @control.get("/ledger")
    def read_ledger() -> Response:
        with store.lock:
            return jsonify(ledger.whole(store, api.faults.shown()))

    @control.get("/counts")
    def read_counts() -> Response:
        with store.lock:
            rate = {"busiest_second": api.limit.busiest_second, "turned_away": api.limit.turned_away}
            return jsonify(counts=dict(store.counts), totals=ledger.totals(store), rate=rate)

    @control.get("/calls")
    def read_calls() -> Response:
        with store.lock:
            return jsonify(ledger.calls(store, request.args.to_dict()))

    return control


def _body(*allowed: str) -> dict[str, Any]:
    """The JSON object that was sent; a name outside `allowed` is a mistake worth hearing about."""
    body = request.get_json()
    if not isinstance(body, dict):
        raise StripeError("The body must be a JSON object.")
    if allowed and (unknown := set(body) - set(allowed)):
        raise StripeError(f"Unknown: {', '.join(sorted(unknown))}; known are {', '.join(allowed)}")
    return body


def _webhooks(api: Api) -> dict[str, Any]:
    with api.store.lock:
        states = [delivery["state"] for delivery in api.store.deliveries.values()]
    return {
        "mode": api.deliverer.mode,
        "delay_seconds": api.deliverer.delay_seconds,
        "url": api.deliverer.url,
        "signature_offset_seconds": api.deliverer.signature_offset_seconds,
        "waiting": api.deliverer.waiting(),
        "states": {state: states.count(state) for state in sorted(set(states))},
    }
