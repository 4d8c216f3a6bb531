"""Everything the sandbox remembers, in plain dictionaries behind one lock."""

import secrets
import string
import threading
from collections import Counter, deque
from typing import Any

from .clock import Clock

Json = dict[str, Any]

KEPT_CALLS = 5000
SAVED_CALLS = 200
_ALPHABET = string.ascii_letters + string.digits
_SAVED_TABLES = (
    "customers", "cards", "invoices", "lines", "items", "credit_notes", "events", "deliveries", "keys",
    "payments", "payment_intents", "payment_methods", "setup_intents", "checkout_sessions", "portal_sessions",
    "refunds", "disputes",
)  # fmt: skip


class Store:
    """The world of the sandbox. Whoever reads or changes it holds `lock`."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.clock = Clock()
        self.changes = 0
        # The version that events carry from now on; None is the one the library pins.
        self.api_version: str | None = None
        self.clear()

    def clear(self) -> None:
        """Forget everything except the clock."""
        self.customers: dict[str, Json] = {}
        self.cards: dict[str, str] = {}
        self.invoices: dict[str, Json] = {}
        self.lines: dict[str, list[Json]] = {}
        self.items: dict[str, Json] = {}
        self.payments: dict[str, Json] = {}
        self.payment_intents: dict[str, Json] = {}
        self.payment_methods: dict[str, Json] = {}
        self.refunds: dict[str, Json] = {}
        self.disputes: dict[str, Json] = {}
        self.setup_intents: dict[str, Json] = {}
        self.checkout_sessions: dict[str, Json] = {}
        self.portal_sessions: dict[str, Json] = {}
        self.credit_notes: dict[str, Json] = {}
        self.events: dict[str, Json] = {}
        self.deliveries: dict[str, Json] = {}
        self.keys: dict[str, Json] = {}
        self.calls: deque[Json] = deque(maxlen=KEPT_CALLS)
        self.counts: Counter[str] = Counter()
        self.touch()

    def touch(self) -> None:
        """Note that something changed, for whoever keeps the state on disk."""
        self.changes += 1

    def export(self) -> Json:
        """The whole state as JSON data; of the calls only the last ones."""
        state: Json = {name: getattr(self, name) for name in _SAVED_TABLES}
        state["calls"] = list(self.calls)[-SAVED_CALLS:]
        state["counts"] = dict(self.counts)
        state["clock_offset"] = self.clock.offset
        return state

    def restore(self, state: Json) -> None:
        """Take up a state that was exported before."""
        self.clear()
        for name in _SAVED_TABLES:
            getattr(self, name).update(state.get(name, {}))
        self.calls.extend(state.get("calls", []))
        self.counts.update(state.get("counts", {}))
        self.clock.offset = state.get("clock_offset", 0)


def new_id(prefix: str) -> str:
    """A fresh id. It is random, so a reset sandbox never hands out an id the portal has seen before."""
    return f"{prefix}_sandbox{''.join(secrets.choice(_ALPHABET) for _ in range(17))}"
