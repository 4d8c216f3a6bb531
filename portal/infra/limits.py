"""Counting against limits a minute: in Redis for all processes together, or in this process while Redis is away.

All counters of a request are looked at and raised in one round trip by one script: either every one has room and all
are raised, or none is. That is why it is a script of our own: libraries take one trip for each counter.
A window is a minute of the clock. Redis holds nothing else of it: losing it forgets a minute's counts.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

WINDOW_SECONDS = 60
_TIMEOUT_SECONDS = 0.25
_LEAVE_ALONE_SECONDS = 5
# KEYS: counters. ARGV: the cost and the limit of each, and the seconds to keep them. Answers 1 if there was room, and
# what each counter says now.
_SCRIPT = """
local used, fits = {}, 1
for place, key in ipairs(KEYS) do
    used[place] = tonumber(redis.call('GET', key) or '0')
    if used[place] + tonumber(ARGV[2 * place - 1]) > tonumber(ARGV[2 * place]) then fits = 0 end
end
if fits == 1 then
    for place, key in ipairs(KEYS) do
        used[place] = redis.call('INCRBY', key, ARGV[2 * place - 1])
        redis.call('EXPIRE', key, ARGV[#ARGV])
    end
end
return {fits, used}
"""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limit:
    """One counter: its name, how much of it this request takes, and how much a minute may take."""

    name: str
    cost: int
    most: int


@dataclass(frozen=True, slots=True)
class Standing:
    """The limit that matters most now: the one that had no room, else the one with the smallest share left."""

    limit: Limit
    has_room: bool
    remaining: int
    reset_seconds: int


class Counters:
    """The counters of this minute."""

    def __init__(self, redis_url: str) -> None:
        client: redis.Redis = redis.Redis.from_url(
            redis_url,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            # One more try, for a connection that went stale; without a wait, because a request is waiting.
            retry=Retry(NoBackoff(), 1),
        )
        self._script = client.register_script(_SCRIPT)
        self._leave_alone_until = 0
        self._lock = threading.Lock()
        self._window = 0
        self._own: dict[str, int] = {}

    def take(self, limits: Sequence[Limit], *, now: datetime) -> Standing:
        """Count a request against all its limits, or against none if one of them has no room.

        While Redis is away the same limits hold for this process alone, so nobody is turned away for its sake.
        """
        window, second = divmod(int(now.timestamp()), WINDOW_SECONDS)
        counted = None
        if time.monotonic() >= self._leave_alone_until:
            counted = self._take_in_redis(limits, window)
        fits, used = counted or self._take_here(limits, window)
        return _standing(limits, used, fits, WINDOW_SECONDS - second)

    def _take_in_redis(self, limits: Sequence[Limit], window: int) -> tuple[bool, list[int]] | None:
        keys = [f"limit:{limit.name}:{window}" for limit in limits]
        numbers = [number for limit in limits for number in (limit.cost, limit.most)]
        try:
            fits, used = self._script(keys=keys, args=[*numbers, 2 * WINDOW_SECONDS])
        except redis.RedisError as error:
            # Left alone for a while, so that a Redis that hangs does not hold up every request.
            self._leave_alone_until = int(time.monotonic()) + _LEAVE_ALONE_SECONDS
            log.warning("redis away, limits are counted in each process", extra={"error": type(error).__name__})
            return None
        return bool(fits), used

    def _take_here(self, limits: Sequence[Limit], window: int) -> tuple[bool, list[int]]:
        with self._lock:
            if window != self._window:
                self._window, self._own = window, {}
            used = [self._own.get(limit.name, 0) for limit in limits]
            fits = all(before + limit.cost <= limit.most for before, limit in zip(used, limits, strict=True))
            if fits:
                used = [before + limit.cost for before, limit in zip(used, limits, strict=True)]
                self._own.update((limit.name, after) for limit, after in zip(limits, used, strict=True))
        return fits, used


def _standing(limits: Sequence[Limit], used: Sequence[int], fits: bool, reset_seconds: int) -> Standing:
    counters = list(zip(limits, used, strict=True))
    if not fits:
        counters = [(limit, before) for limit, before in counters if before + limit.cost > limit.most]
    limit, taken = max(counters, key=lambda counter: counter[1] * 1_000_000 // counter[0].most)
    return Standing(limit, fits, max(limit.most - taken, 0), reset_seconds)
