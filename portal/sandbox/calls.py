"""The record of every call: what was asked, under which key, and how it was answered."""

import threading
from typing import Any

from .store import Json, Store


class Calls:
    """Writes the record into the store, for the ledger."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._number = max((call["n"] for call in store.calls), default=0)

    def start(self, method: str, path: str, key: str | None, request_id: str) -> Json:
        """Begin a record; the caller fills in the rest as it becomes known."""
        with self._lock:
            self._number += 1
            number = self._number
        call: Json = {
            "n": number,
            "at": self._store.clock.now(),
            "method": method,
            "path": path,
            "idempotency_key": key,
            "params": {},
            "status": None,
            "replayed": False,
            "fault": None,
            "invoice": None,
            "request_id": request_id,
        }
        with self._store.lock:
            self._store.calls.append(call)
        return call

    def finish(self, call: Json, endpoint: str, **known: Any) -> None:
        """Complete the record and count the call."""
        with self._store.lock:
            call.update(known)
            self._store.counts[endpoint] += 1
            self._store.counts["total"] += 1
            self._store.counts["writes"] += call["method"] != "GET"
            self._store.counts["replayed"] += call["replayed"]
            self._store.touch()
