"""How much Stripe takes: requests in a second, and writes to one object at a time."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import lock_timeout, rate_limited

# Stripe's own figures for its test mode, used when a test switches the limit on without naming any.
PER_ENDPOINT = 25
TOTAL = 100
LOCK_WAIT_SECONDS = 2.0


class RateLimit:
    """Requests within the last second, per endpoint and in total; off until a test sets it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.set(None, None)

    def set(self, per_endpoint: int | None, total: int | None) -> None:
        """Set both limits in requests per second; None switches one off."""
        with self._lock:
            self.per_endpoint = per_endpoint
            self.total = total
            self.busiest_second = self.turned_away = 0
            self._recent: defaultdict[str, deque[float]] = defaultdict(deque)
            self._asked: deque[float] = deque()

    def count(self, endpoint: str) -> None:
        """Count one request of this endpoint.

        :raise StripeError: it is one too many
        """
        with self._lock:
            windows = [(endpoint, self.per_endpoint), ("", self.total)]
            now = time.monotonic()
            self._note(now)
            for name, limit in windows:
                recent = self._recent[name]
                _forget(recent, now)
                if limit is not None and len(recent) >= limit:
                    self.turned_away += 1
                    raise rate_limited()
            for name, limit in windows:
                if limit is not None:
                    self._recent[name].append(now)

    def _note(self, now: float) -> None:
        """Remember the most requests of any one second, those that are turned away too."""
        _forget(self._asked, now)
        self._asked.append(now)
        self.busiest_second = max(self.busiest_second, len(self._asked))


def _forget(moments: deque[float], now: float) -> None:
    while moments and moments[0] <= now - 1:
        moments.popleft()


class ObjectLocks:
    """One writer for each object; the next one waits a little, and is then sent away."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, ids: set[str]) -> Iterator[None]:
        """Hold all of these objects for the length of the block.

        :raise StripeError: another request kept one of them for too long
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._held.isdisjoint(ids), LOCK_WAIT_SECONDS):
                raise lock_timeout()
            self._held |= ids
        try:
            yield
        finally:
            with self._changed:
                self._held -= ids
                self._changed.notify_all()
