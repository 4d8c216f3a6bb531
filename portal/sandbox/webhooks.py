"""Delivers events to the webhook endpoint: signed, in order, again when it fails; badly when asked to."""

import hashlib
import heapq
import hmac
import http.client
import json
import math
import threading
import time
from urllib.parse import urlsplit

from . import events
from .store import Json, Store

RETRY_SECONDS = (1, 2, 5, 10, 20, 30, 60, 60)
TIMEOUT_SECONDS = 10.0
REORDER_WINDOW_SECONDS = 0.5
MODES = ("deliver", "drop", "double", "delay", "reorder")


def signature(secret: str, body: bytes, moment: int) -> str:
    """The value of `Stripe-Signature`: an HMAC over the moment and the raw body."""
    signed = hmac.new(secret.encode(), b"%d.%b" % (moment, body), hashlib.sha256).hexdigest()
    return f"t={moment},v1={signed}"


class Deliverer:
    """One background thread that sends what the store's events leave to be sent.

    An endpoint that is down does not hold up later events: a failed one waits for its own next try.
    """

    def __init__(self, store: Store, url: str, secret: str) -> None:
        self._store = store
        self.url = url
        self.secret = secret
        self.mode = "deliver"
        self.delay_seconds = 0.0
        # Added to the moment that is signed, so that a test can send a delivery from the past or future.
        self.signature_offset_seconds = 0
        self._due: list[tuple[float, int, str]] = []
        self._order = 0
        self._busy = False
        self._stopped = False
        self._changed = threading.Condition()

    def start(self) -> None:
        """Take up what an earlier run left unsent, and begin."""
        with self._store.lock:
            for id, delivery in self._store.deliveries.items():
                if delivery["state"] == "pending":
                    self._plan(id, 0)
        threading.Thread(target=self._run, name="sandbox-webhooks", daemon=True).start()

    def stop(self) -> None:
        """Send nothing more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def take_new(self) -> None:
        """Plan the deliveries of events emitted since the last call; the caller holds the store's lock."""
        fresh = []
        for id in reversed(self._store.deliveries):
            if self._store.deliveries[id]["state"] != "new":
                break
            fresh.append(id)
        for id in reversed(fresh):
            self._plan_new(id)

    def redeliver(self, ids: list[str] | None = None) -> int:
        """Send these events again, or every event that has not arrived; return how many."""
        with self._store.lock:
            if ids is None:
                ids = [id for id, delivery in self._store.deliveries.items() if delivery["state"] != "delivered"]
            for id in ids:
                self._store.deliveries[id].update(state="pending", attempts=0)
                self._plan(id, 0)
        return len(ids)

    def forget(self) -> None:
        """Drop everything that waits."""
        with self._changed:
            self._due.clear()

    def waiting(self) -> int:
        """How many deliveries are planned or under way."""
        with self._changed:
            return len(self._due) + self._busy

    def _plan_new(self, id: str) -> None:
        delivery = self._store.deliveries[id]
        if self.mode == "drop" or not self.url:
            delivery["state"] = "dropped"
            return
        delivery["state"] = "pending"
        self._plan(id, self.delay_seconds if self.mode == "delay" else 0)
        if self.mode == "double":
            self._plan(id, 0)

    def _plan(self, id: str, in_seconds: float) -> None:
        with self._changed:
            self._order += 1
            due, order = time.monotonic() + in_seconds, self._order
            if self.mode == "reorder":
                # All of one window fall due together, the latest first.
                due, order = math.ceil(due / REORDER_WINDOW_SECONDS) * REORDER_WINDOW_SECONDS, -order
            heapq.heappush(self._due, (due, order, id))
            self._changed.notify_all()

    def _run(self) -> None:
        while (id := self._next()) is not None:
            self._deliver(id)
            with self._changed:
                self._busy = False

    def _next(self) -> str | None:
        with self._changed:
            while not self._stopped:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    self._busy = True
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
        return None

    def _deliver(self, id: str) -> None:
        with self._store.lock:
            if id not in self._store.events:
                return
            body = json.dumps(events.shown(self._store, id), indent=2).encode()
        status, error = self._post(body)
        delivered = status is not None and 200 <= status < 300
        with self._store.lock:
            delivery = self._store.deliveries.get(id)
            if delivery is None:
                return
            delivery["attempts"] += 1
            delivery.update(last_status=status, last_error=error)
            if delivered:
                delivery["state"] = "delivered"
                self._store.events[id]["pending_webhooks"] = 0
            elif delivery["state"] != "delivered":
                self._try_again(id, delivery)
            self._store.touch()

    def _try_again(self, id: str, delivery: Json) -> None:
        if delivery["attempts"] > len(RETRY_SECONDS):
            delivery["state"] = "failed"
            return
        self._plan(id, RETRY_SECONDS[delivery["attempts"] - 1])

    def _post(self, body: bytes) -> tuple[int | None, str | None]:
        target = urlsplit(self.url)
        kind = http.client.HTTPSConnection if target.scheme == "https" else http.client.HTTPConnection
        # The moment is the real one: the receiver checks it against its own wall clock.
        moment = int(time.time()) + self.signature_offset_seconds
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(self.secret, body, moment),
            "User-Agent": "Stripe/1.0 (sandbox)",
        }
        connection = None
        try:
            connection = kind(target.hostname or "", target.port, timeout=TIMEOUT_SECONDS)
            path = target.path or "/"
            connection.request("POST", f"{path}?{target.query}" if target.query else path, body, headers)
            return connection.getresponse().status, None
        except (OSError, http.client.HTTPException, ValueError) as error:
            return None, f"{type(error).__name__}: {error}"
        finally:
            if connection is not None:
                connection.close()
