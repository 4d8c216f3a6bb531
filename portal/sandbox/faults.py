"""Faults that a test asks for: which call they hit, and what they do to it."""

import json
import re
import threading
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

from .errors import Answer, StripeError, lock_timeout, rate_limited

HOLD_SECONDS = 30.0

# The mode of each fault, and when it strikes. At the edge Stripe has not looked at the call yet, so nothing
# is kept for its idempotency key; on the wire the work is done and kept, and only the answer suffers.
MODES = {
    "429": "edge",
    "lock_timeout": "edge",
    "html_502": "edge",
    "400": "edge",
    "redirect": "edge",
    "timeout_before": "edge",
    "500_before": "before",
    "slow": "before",
    "500_after": "after",
    "timeout_after": "wire",
    "reset_after": "wire",
    "garbage_body": "wire",
    "html_502_after": "wire",
    "cut_after": "wire",
    "wrong_total": "wire",
    "missing_field": "wire",
}
_NEED_ARGUMENT = {"slow": float, "redirect": str, "cut_after": int, "missing_field": str}


@dataclass
class Fault:
    """One fault: strikes the nth matching call and `times` in all, or for ever when sticky."""

    id: int
    match: str
    mode: str
    nth: int = 1
    times: int = 1
    sticky: bool = False
    seconds: float = HOLD_SECONDS
    contains: str = ""
    seen: int = 0
    struck: int = 0
    _pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        method, _, path = self.match.partition(" ")
        if not path.startswith("/"):
            raise StripeError('match must look like "POST /v1/invoices", with * for one part of the path')
        words = [re.escape(method) if method != "*" else r"[A-Z]+", re.escape(path).replace(r"\*", "[^/]+")]
        self._pattern = re.compile("^" + " ".join(words) + "$")
        if self.name not in MODES:
            raise StripeError(f"mode must be one of {', '.join(MODES)}")
        if reader := _NEED_ARGUMENT.get(self.name):
            try:
                usable = bool(self.argument) and reader(self.argument) is not None
            except ValueError:
                usable = False
            if not usable:
                raise StripeError(f"mode {self.name} needs an argument behind a colon")

    @property
    def name(self) -> str:
        """The mode without its argument."""
        return self.mode.partition(":")[0]

    @property
    def argument(self) -> str:
        """What stands behind the colon."""
        return self.mode.partition(":")[2]

    @property
    def stage(self) -> str:
        """When it strikes: edge, before, after, or wire."""
        return MODES[self.name]

    def strikes(self, endpoint: str, content: str) -> bool:
        """Count the call if it matches, and say whether this is one to hit."""
        if not self._pattern.match(endpoint) or self.contains not in content:
            return False
        self.seen += 1
        if self.seen < self.nth or (not self.sticky and self.seen >= self.nth + self.times):
            return False
        self.struck += 1
        return True

    def shown(self) -> dict[str, Any]:
        """As JSON data."""
        return {name: value for name, value in asdict(self).items() if not name.startswith("_")}


class Faults:
    """The faults that are set just now."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._released = threading.Event()

    def add(self, **wanted: Any) -> Fault:
        """Set one more fault.

        :raise StripeError: it is not described well
        """
        try:
            fault = Fault(id=next(self._numbers), **wanted)
        except TypeError as error:
            raise StripeError(f"Invalid fault: {error}") from None
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self, id: int | None = None) -> None:
        """Remove one fault or all; clearing all also lets go of every call that is held."""
        with self._lock:
            self._faults = [fault for fault in self._faults if id is not None and fault.id != id]
            if id is None:
                self._released.set()
                self._released = threading.Event()

    def shown(self) -> list[dict[str, Any]]:
        """All of them, spent ones included."""
        with self._lock:
            return [fault.shown() for fault in self._faults]

    def take(self, endpoint: str, content: str) -> Fault | None:
        """The fault that hits this call, if any; every matching fault counts the call."""
        with self._lock:
            struck = [fault for fault in self._faults if fault.strikes(endpoint, content)]
        return struck[0] if struck else None

    def wait(self, seconds: float) -> None:
        """Hold a call for so long, or until all faults are cleared."""
        with self._lock:
            released = self._released
        released.wait(seconds)


def refusal(fault: Fault) -> Answer:
    """The answer of a fault that strikes at the edge, before Stripe looks at the call."""
    if fault.name == "429":
        return rate_limited().answer()
    if fault.name == "lock_timeout":
        return lock_timeout().answer()
    if fault.name == "400":
        return StripeError("This request was refused on request.", param="sandbox").answer()
    if fault.name == "redirect":
        return Answer(302, b"", {"Location": fault.argument}, "text/html")
    return bad_gateway()


def bad_gateway() -> Answer:
    """What a proxy answers when it lost the server behind it."""
    page = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
    return Answer(502, page, {}, "text/html")


def spoiled(answer: Answer, fault: Fault) -> Answer:
    """A good answer made unusable on its way back; what is kept for the key stays good."""
    if fault.name == "html_502_after":
        return bad_gateway()
    if fault.name == "garbage_body":
        return Answer(answer.status, b'{"id": "in_', answer.headers)
    if answer.status >= 400:
        return answer
    payload = json.loads(answer.body)
    for row in payload["data"] if payload.get("object") == "list" else [payload]:
        if fault.name == "missing_field":
            row.pop(fault.argument, None)
        elif fault.name == "wrong_total" and "total" in row:
            row["total"] += int(fault.argument or 1)
    return Answer.of(payload, answer.status, answer.headers)
