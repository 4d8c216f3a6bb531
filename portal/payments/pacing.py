"""Pacing: one token bucket in Redis for all processes that call Stripe, so that it never has to turn us away.

A call takes a token of its endpoint's bucket and one of all calls' together, or none and waits. A bucket of B tokens
that is refilled with R a second gives at most B + R - 1 in any second, and that sum is the limit. A bucket is kept as
one number, the moment at which it would be full again, by Redis' own clock; an empty Redis means full buckets.
While Redis is away every process keeps buckets of its own, with a tenth of the limits.
"""

import logging
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import redis
from flask import current_app
from redis.backoff import NoBackoff
from redis.retry import Retry

SECOND = 1_000_000  # in microseconds
LONGEST_WAIT = 10 * SECOND
SHARE_WITHOUT_REDIS = 10
_TIMEOUT_SECONDS = 1
_LEAVE_ALONE_NS = 5 * 10**9
# KEYS: buckets. ARGV: the interval and the tolerance of each, in microseconds. Answers how long to wait (0: taken), and
# the time.
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full, wait = {}, 0
for place, key in ipairs(KEYS) do
    full[place] = math.max(tonumber(redis.call('GET', key) or '0'), now)
    wait = math.max(wait, full[place] - tonumber(ARGV[2 * place]) - now)
end
if wait == 0 then
    for place, key in ipairs(KEYS) do
        redis.call('SET', key, string.format('%.0f', full[place] + tonumber(ARGV[2 * place - 1])), 'PX', 60000)
    end
end
return {string.format('%.0f', wait), string.format('%.0f', now)}
"""
log = logging.getLogger(__name__)


class NoTurn(Exception):
    """So many calls wait that this one has no turn within the longest wait; it was not made."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """How many calls of one name a second takes at most."""

    name: str
    most: int

    @property
    def size(self) -> int:
        """How many may go at once after a pause: a twentieth and one more, so that who wakes late loses no turn.

        Each of them is taken off the rate of a long row, so there are no more than that.
        """
        return self.most // 20 + 1

    @property
    def interval(self) -> int:
        """Microseconds between two calls of a long row."""
        return -(-SECOND // (self.most + 1 - self.size))

    @property
    def tolerance(self) -> int:
        """How far ahead of a full bucket a call may be, in microseconds."""
        return (self.size - 1) * self.interval


class Buckets:
    """The buckets of all processes, or this one's own while Redis is away."""

    def __init__(self, redis_url: str) -> None:
        client: redis.Redis = redis.Redis.from_url(
            redis_url,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            # One more try, for a connection that went stale.
            retry=Retry(NoBackoff(), 1),
        )
        self._script = client.register_script(_SCRIPT)
        self._left_alone_until = 0
        self._own: dict[str, int] = {}
        self._lock = threading.Lock()

    def take(self, buckets: Sequence[Bucket]) -> tuple[int, int]:
        """Take a token of each bucket, or none. How long to wait, in microseconds (0: taken), and when that was."""
        if time.monotonic_ns() >= self._left_alone_until:
            arguments = [number for bucket in buckets for number in (bucket.interval, bucket.tolerance)]
            try:
                wait, now = self._script(keys=[f"stripe-pace:{bucket.name}" for bucket in buckets], args=arguments)
                return int(wait), int(now)
            except redis.RedisError as error:
                self._left_alone_until = time.monotonic_ns() + _LEAVE_ALONE_NS
                log.warning("redis away, each process paces its calls to Stripe", extra={"error": type(error).__name__})
        fewer = [Bucket(bucket.name, max(1, bucket.most // SHARE_WITHOUT_REDIS)) for bucket in buckets]
        with self._lock:
            now = time.monotonic_ns() // 1_000
            return take_from(self._own, fewer, now), now


def take_from(full_at: dict[str, int], buckets: Sequence[Bucket], now: int) -> int:
    """The same as the script, for buckets in this process: microseconds to wait, or 0 and every bucket is charged."""
    full = {bucket: max(full_at.get(bucket.name, 0), now) for bucket in buckets}
    wait = max(0, *(moment - bucket.tolerance - now for bucket, moment in full.items()))
    if not wait:
        full_at.update((bucket.name, moment + bucket.interval) for bucket, moment in full.items())
    return wait


def wait_for_turn(method: str, url: str) -> None:
    """Return when this call may go out. Raises NoTurn, with nothing taken, if that would be after 10 s."""
    settings = current_app.config["SETTINGS"]
    if "stripe_buckets" not in current_app.extensions:
        current_app.extensions["stripe_buckets"] = Buckets(settings.redis_url)
    buckets: Buckets = current_app.extensions["stripe_buckets"]
    wanted = (
        Bucket(endpoint_of(method, url), settings.stripe_endpoint_calls_per_second),
        Bucket("all", settings.stripe_calls_per_second),
    )
    until = time.monotonic_ns() + LONGEST_WAIT * 1_000
    while wait := buckets.take(wanted)[0]:
        # A little more, at random: those that wait for the same token do not all come at once.
        wait += secrets.randbelow(wait // 4 + 1)
        if time.monotonic_ns() + wait * 1_000 > until:
            raise NoTurn
        time.sleep(wait / SECOND)


def endpoint_of(method: str, url: str) -> str:
    """What Stripe counts together: "POST /v1/invoices/*/finalize". Every other part of a path is an id."""
    version, *parts = urlsplit(url).path.strip("/").split("/")
    return f"{method.upper()} /" + "/".join(
        [version, *("*" if place % 2 else part for place, part in enumerate(parts))]
    )


def full_jitter(attempts: int, *, first: int, most: int) -> int:
    """Seconds until the next try: at random up to a bound that doubles with each attempt, so that no two tries meet."""
    return 1 + secrets.randbelow(min(most, first * 2 ** min(attempts, 16)))
