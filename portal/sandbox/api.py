"""One call of the API from the key to the answer, in the order in which Stripe does it."""

import hashlib
import json
import secrets
import time
from typing import Any

from flask import Response, request

from . import wire
from .calls import Calls
from .errors import Answer, StripeError, server_error, unauthorized
from .events import caused_by
from .faults import Fault, Faults, refusal, spoiled
from .forms import decode
from .idempotency import Keys
from .limits import ObjectLocks, RateLimit
from .routes import Route
from .shapes import read
from .store import Json, Store
from .webhooks import Deliverer


class Api:
    """Answers calls: key, limits, faults, parameters, idempotency, locks, and then the work itself."""

    def __init__(self, store: Store, deliverer: Deliverer) -> None:
        self.store = store
        self.deliverer = deliverer
        self.faults = Faults()
        self.limit = RateLimit()
        self.keys = Keys(store)
        self.calls = Calls(store)
        self._locks = ObjectLocks()

    def handle(self, route: Route, **ids: str) -> Response:
        """Answer one call and write it down."""
        request_id = f"req_{secrets.token_hex(7)}"
        key = request.headers.get("Idempotency-Key") if route.method == "POST" else None
        call = self.calls.start(route.method, request.path, key, request_id)
        caused_by(request_id, key)
        fault = None
        try:
            _authenticate(request.headers.get("Authorization", ""))
            self.limit.count(f"{route.method} {route.path}")
            _require_a_form()
            content = request.get_data(as_text=True) or request.query_string.decode()
            fault = self.faults.take(f"{route.method} {request.path}", f"{request.path} {content}")
            call.update(fault=fault.mode if fault else None, params=decode(content))
            answer = self._answer(route, ids, call, fault)
        except StripeError as error:
            answer = error.answer()
        self._note(call, route, ids, answer)
        return self._respond(answer, fault, request_id)

    def _answer(self, route: Route, ids: dict[str, str], call: Json, fault: Fault | None) -> Answer:
        if fault is not None and fault.stage == "edge":
            return refusal(fault)
        params = read(call["params"], route.shape, route.required)
        key = call["idempotency_key"]
        if key is None:
            return self._execute(route, params, ids, fault)
        fingerprint = hashlib.sha256(json.dumps(call["params"], sort_keys=True).encode()).hexdigest()
        known = self.keys.begin(key, request.path, fingerprint)
        if known is not None:
            return known
        try:
            answer = self._execute(route, params, ids, fault)
        except BaseException:
            self.keys.abandon(key)
            raise
        self.keys.finish(key, request.path, fingerprint, call["request_id"], answer)
        return answer

    def _execute(self, route: Route, params: dict[str, Any], ids: dict[str, str], fault: Fault | None) -> Answer:
        with self._locks.hold(_objects_written(route, params, ids)):
            if fault is not None and fault.name == "slow":
                time.sleep(float(fault.argument))
            if fault is not None and fault.name == "500_before":
                return server_error().answer()
            answer = self._work(route, params, ids)
            if fault is not None and fault.name == "500_after":
                return server_error().answer()
            return answer

    def _work(self, route: Route, params: dict[str, Any], ids: dict[str, str]) -> Answer:
        with self.store.lock:
            try:
                # Encoded under the lock: the payload shares its parts with the store.
                return Answer.of(route.handler(self.store, params, *ids.values()))
            except StripeError as error:
                return error.answer()
            finally:
                self.deliverer.take_new()
                self.store.touch()

    def _note(self, call: Json, route: Route, ids: dict[str, str], answer: Answer) -> None:
        invoice = ids.get("id") if route.path.startswith("/v1/invoices/") else None
        if invoice is None and route.method == "POST" and answer.status < 400:
            payload = json.loads(answer.body) if answer.content_type == "application/json" else {}
            invoice = payload["id"] if payload.get("object") == "invoice" else payload.get("invoice")
        replayed = "Idempotent-Replayed" in answer.headers
        endpoint = f"{route.method} {route.path}"
        self.calls.finish(call, endpoint, status=answer.status, replayed=replayed, invoice=invoice)

    def _respond(self, answer: Answer, fault: Fault | None, request_id: str) -> Response:
        body: Any = answer.body
        if fault is not None and fault.name in ("timeout_before", "timeout_after"):
            seconds = fault.seconds
            wire.hang_up(request.environ, lambda connection: self.faults.wait(seconds))
        elif fault is not None and fault.name == "reset_after":
            wire.hang_up(request.environ, wire.reset)
        elif fault is not None and fault.stage == "wire" and fault.name != "cut_after":
            answer = spoiled(answer, fault)
            body = answer.body
        response = Response(body, answer.status, {"Request-Id": request_id, **answer.headers})
        response.content_type = answer.content_type
        if fault is not None and fault.name == "cut_after":
            response.response = wire.cut(answer.body, int(fault.argument))
            response.content_length = len(answer.body)
        return response


def _authenticate(header: str) -> None:
    scheme, _, key = header.partition(" ")
    if scheme != "Bearer" or not key:
        raise unauthorized(
            "You did not provide an API key. You need to provide your API key in the Authorization header, "
            "using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
        )
    if key.startswith("sk_live_"):
        raise unauthorized("This is the sandbox: it never takes a live key.")
    if not key.startswith("sk_"):
        raise unauthorized(f"Invalid API Key provided: {key[:4]}****")


def _require_a_form() -> None:
    if request.get_data() and request.mimetype != "application/x-www-form-urlencoded":
        raise StripeError(f"The body must be form-encoded, not {request.mimetype or 'of no type at all'}.")


def _objects_written(route: Route, params: dict[str, Any], ids: dict[str, str]) -> set[str]:
    """What the call locks: the object that its path names, and the customer or invoice it is made for."""
    if route.method == "GET":
        return set()
    named = {params.get("customer"), params.get("invoice"), *ids.values()}
    return {id for id in named if id}
