"""Pacing: slots in Redis for all processes that call Stripe, so that it never has to turn us away.

So many calls a second are so many slots. A call takes a slot of its endpoint and one of all calls' together, or none
and waits; a slot is free again one second after the call's answer. Between taking and answer lies the moment at which
Stripe counts the call, so no second there sees more calls than slots, however long the way takes. An answer that takes
its time (Stripe works on it, or the process died) holds the slot no longer than the way there may take.
Redis' clock rules; an empty Redis means free slots. While Redis is away every process keeps slots of its own, a tenth
as many.
"""

import logging
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import redis
from flask import current_app
from redis.backoff import NoBackoff
from redis.retry import Retry

SECOND = 1_000_000  # in microseconds
LONGEST_WAIT = 10 * SECOND
SHARE_WITHOUT_REDIS = 10
# A call that is not answered by then has long reached Stripe.
LONGEST_WAY = SECOND // 5
# Those that wait for the same slot do not all come at once.
_APART = SECOND // 200
_TIMEOUT_SECONDS = 1
_LEAVE_ALONE_NS = 5 * 10**9
# A sorted set for each name: calls by the moment at which their slot is free again.
# KEYS: the sets. ARGV: the call, how long it holds its slots at most, and how many each set has. Answers how long to
# wait (0: taken), and the time.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local wait = 0
for place, key in ipairs(KEYS) do
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    local over = redis.call('ZCARD', key) - tonumber(ARGV[2 + place])
    if over >= 0 then
        wait = math.max(wait, redis.call('ZRANGE', key, over, over, 'WITHSCORES')[2] - now)
    end
end
if wait == 0 then
    for place, key in ipairs(KEYS) do
        redis.call('ZADD', key, string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
        redis.call('PEXPIRE', key, 60000)
    end
end
return {string.format('%.0f', wait), string.format('%.0f', now)}
"""
# KEYS: the sets. ARGV: the call, and how long its slots rest.
_GIVE_BACK = """
local time = redis.call('TIME')
local free_at = string.format('%.0f', time[1] * 1000000 + time[2] + tonumber(ARGV[2]))
for _, key in ipairs(KEYS) do
    redis.call('ZADD', key, 'XX', 'LT', free_at, ARGV[1])
end
"""
log = logging.getLogger(__name__)


class NoTurn(Exception):
    """So many calls wait that this one has no turn within the longest wait; it was not made."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How many calls of one name a second takes at most."""

    name: str
    most: int


class Slots:
    """The slots of all processes, or this one's own while Redis is away."""

    def __init__(self, redis_url: str) -> None:
        client: redis.Redis = redis.Redis.from_url(
            redis_url,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            # One more try, for a connection that went stale.
            retry=Retry(NoBackoff(), 1),
        )
        self._take, self._give_back = client.register_script(_TAKE), client.register_script(_GIVE_BACK)
        self._left_alone_until = 0
        self._own: OwnSlots = {}
        self._lock = threading.Lock()

    def take(self, limits: Sequence[Limit], call: str) -> tuple[int, int]:
        """Take a slot of each limit, or none. How long to wait, in microseconds (0: taken), and when that was."""
        if time.monotonic_ns() >= self._left_alone_until:
            arguments: list[str | int] = [call, SECOND + LONGEST_WAY, *(limit.most for limit in limits)]
            try:
                wait, now = self._take(keys=_keys(limits), args=arguments)
                return int(wait), int(now)
            except redis.RedisError as error:
                self._leave_alone(error)
        fewer = [Limit(limit.name, max(1, limit.most // SHARE_WITHOUT_REDIS)) for limit in limits]
        with self._lock:
            now = time.monotonic_ns() // 1_000
            return take_from(self._own, fewer, call, now), now

    def give_back(self, limits: Sequence[Limit], call: str) -> None:
        """The call was answered: its slots are free in a second. Without Redis they are a little later."""
        if time.monotonic_ns() >= self._left_alone_until:
            try:
                self._give_back(keys=_keys(limits), args=[call, SECOND])
            except redis.RedisError as error:
                self._leave_alone(error)

    def _leave_alone(self, error: redis.RedisError) -> None:
        self._left_alone_until = time.monotonic_ns() + _LEAVE_ALONE_NS
        log.warning("redis away, each process paces its calls to Stripe", extra={"error": type(error).__name__})


# By name and call: the moment at which a slot is free again, in microseconds.
OwnSlots = dict[str, dict[str, int]]


def take_from(own: OwnSlots, limits: Sequence[Limit], call: str, now: int) -> int:
    """The same as the script, for slots in this process: microseconds to wait, or 0 and a slot of each is taken."""
    wait = 0
    for limit in limits:
        held = own[limit.name] = {each: free_at for each, free_at in own.get(limit.name, {}).items() if free_at > now}
        if len(held) >= limit.most:
            wait = max(wait, sorted(held.values())[len(held) - limit.most] - now)
    if not wait:
        for limit in limits:
            own[limit.name][call] = now + SECOND + LONGEST_WAY
    return wait


def _keys(limits: Sequence[Limit]) -> list[str]:
    return [f"stripe-slots:{limit.name}" for limit in limits]


@contextmanager
def turn(method: str, url: str) -> Iterator[None]:
    """Hold the slots of this call for the length of the block, once it has its turn.

    Raises NoTurn, with nothing taken, if that would be after 10 s.
    """
    settings = current_app.config["SETTINGS"]
    if "stripe_slots" not in current_app.extensions:
        current_app.extensions["stripe_slots"] = Slots(settings.redis_url)
    slots: Slots = current_app.extensions["stripe_slots"]
    limits = (
        Limit(endpoint_of(method, url), settings.stripe_endpoint_calls_per_second),
        Limit("all", settings.stripe_calls_per_second),
    )
    call = secrets.token_hex(8)
    until = time.monotonic_ns() + LONGEST_WAIT * 1_000
    while wait := slots.take(limits, call)[0]:
        wait += secrets.randbelow(_APART)
        if time.monotonic_ns() + wait * 1_000 > until:
            raise NoTurn
        time.sleep(wait / SECOND)
    try:
        yield
    finally:
        slots.give_back(limits, call)


def endpoint_of(method: str, url: str) -> str:
    """What Stripe counts together: "POST /v1/invoices/*/finalize". Every other part of a path is an id."""
    version, *parts = urlsplit(url).path.strip("/").split("/")
    return f"{method.upper()} /" + "/".join(
        [version, *("*" if place % 2 else part for place, part in enumerate(parts))]
    )


def full_jitter(attempts: int, *, first: int, most: int) -> int:
    """Seconds until the next try: at random up to a bound that doubles with each attempt, so that no two tries meet."""
    return 1 + secrets.randbelow(min(most, first * 2 ** min(attempts, 16)))
