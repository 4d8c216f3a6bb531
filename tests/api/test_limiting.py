"""Rate limits: requests and events, of a key and of its organization; nothing half-stored; Redis may be away."""

import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis

from portal.infra.limits import Counters, Limit
from tests.api.test_events import Api, event
from tests.factories import acting

NOW = datetime(2026, 11, 22, 12, 0, 20, tzinfo=UTC)
NOWHERE = "redis://127.0.0.1:9/0"


@pytest.fixture
def api(app, clean_database, clean_redis) -> Api:
    return Api(app)


@contextmanager
def limited(app, *, requests: int = 0, events: int = 0, redis_url: str | None = None):
    """The portal with other limits for a block."""
    before = app.config["SETTINGS"]
    app.config["SETTINGS"] = replace(
        before,
        api_requests_per_minute=requests,
        api_events_per_minute=events,
        redis_url=redis_url or before.redis_url,
    )
    app.extensions.pop("api_counters", None)
    try:
        yield
    finally:
        app.config["SETTINGS"] = before
        app.extensions.pop("api_counters", None)


@pytest.fixture
def one_window():
    """Enough of the minute left for a test to stay in it."""
    left = 60 - time.time() % 60
    if left < 5:
        time.sleep(left + 0.1)


def batch(count: int, start: int = 0) -> list[dict]:
    return [event(id=f"e{number}") for number in range(start, start + count)]


@pytest.mark.usefixtures("one_window")
def test_events_are_counted_and_a_batch_that_does_not_fit_is_not_half_stored(api):
    with limited(api.app, events=10):
        first = api.post(batch(7))
        assert (first.headers["RateLimit-Limit"], first.headers["RateLimit-Remaining"]) == ("10", "3")
        assert first.headers["RateLimit-Policy"] == "10;w=60"
        refused = api.post(batch(4, 7))
        assert refused.status_code == 429
        assert refused.content_type == "application/problem+json"
        assert refused.get_json()["code"] == "rate_limited"
        assert "events of this key" in refused.get_json()["detail"]
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert refused.headers["Retry-After"] == refused.headers["RateLimit-Reset"]
        assert refused.headers["RateLimit-Remaining"] == "3"
        assert api.events() == 7
        assert api.post(batch(3, 7)).status_code == 200
        assert api.events() == 10
        assert api.post(batch(1)).status_code == 429


@pytest.mark.usefixtures("one_window")
def test_an_organization_has_one_limit_over_all_its_keys_and_another_has_its_own(api):
    with acting(api.app):
        api.keys["second"] = api.key(api.acme)
    with limited(api.app, events=10):
        assert api.post(batch(8)).status_code == 200
        refused = api.post(batch(8), key="second")
        assert refused.status_code == 429
        assert "events of this organization" in refused.get_json()["detail"]
        assert api.post(batch(8), key="umbrella").status_code == 200
        assert api.post(batch(2), key="second").status_code == 200


@pytest.mark.usefixtures("one_window")
def test_requests_are_counted_on_every_address_and_bodies_that_cannot_be_read_too(api):
    with limited(api.app, requests=4):
        client, headers = api.app.test_client(), {"Authorization": f"Bearer {api.keys['acme']}"}
        assert client.get("/api/v1/meters", headers=headers).headers["RateLimit-Remaining"] == "3"
        assert client.get("/api/v1/requests", headers=headers).headers["RateLimit-Remaining"] == "2"
        assert api.post(b"{").headers["RateLimit-Remaining"] == "1"
        assert api.post({}, path="/api/v1/estimates").headers["RateLimit-Remaining"] == "0"
        assert client.get("/api/v1/meters", headers=headers).status_code == 429
        assert api.post(b"{").status_code == 429
        assert api.post(event()).status_code == 429
    assert api.events() == 0


@pytest.mark.usefixtures("one_window")
def test_without_redis_usage_is_taken_up_to_a_limit_of_the_process(api):
    with limited(api.app, events=10, redis_url=NOWHERE):
        assert api.post(batch(8)).status_code == 200
        assert api.post(batch(8)).status_code == 429
        assert api.post(batch(2)).status_code == 200


def test_without_limits_redis_is_not_asked(api):
    with limited(api.app):
        answer = api.post(event())
        assert answer.status_code == 200
        assert "RateLimit-Limit" not in answer.headers
    assert redis.Redis.from_url(api.app.config["SETTINGS"].redis_url).keys("limit:*") == []


def limit(name: str, cost: int, most: int = 10) -> Limit:
    return Limit(name, cost, most)


def test_the_next_minute_starts_anew(redis_url, clean_redis):
    counters = Counters(redis_url)
    assert counters.take([limit("a", 10)], now=NOW).reset_seconds == 40
    assert not counters.take([limit("a", 1)], now=NOW + timedelta(seconds=39)).has_room
    assert counters.take([limit("a", 1)], now=NOW + timedelta(seconds=40)).has_room
    assert all(0 < clean_redis.ttl(key) <= 120 for key in clean_redis.keys("limit:*"))


@pytest.mark.parametrize("away", [False, True], ids=["Redis", "this process"])
def test_either_all_counters_are_raised_or_none(redis_url, clean_redis, away):
    counters = Counters(NOWHERE if away else redis_url)
    standing = counters.take([limit("a", 1, 100), limit("b", 6)], now=NOW)
    assert (standing.limit.name, standing.remaining) == ("b", 4)
    standing = counters.take([limit("a", 1, 100), limit("b", 6)], now=NOW)
    assert (standing.has_room, standing.limit.name, standing.remaining) == (False, "b", 4)
    assert counters.take([limit("a", 99, 100)], now=NOW).has_room
    assert not counters.take([limit("a", 1, 100)], now=NOW).has_room


def test_counting_is_one_round_trip(monkeypatch, redis_url, clean_redis):
    real = redis.Connection.send_packed_command
    counters = Counters(redis_url)
    limits = [limit(name, 1) for name in "abcd"]
    counters.take(limits, now=NOW)
    sent = []

    def send(connection, command, **more):
        sent.append(command)
        return real(connection, command, **more)

    monkeypatch.setattr(redis.Connection, "send_packed_command", send)
    assert counters.take(limits, now=NOW).has_room
    assert len(sent) == 1


def test_a_redis_that_is_away_is_left_alone_for_a_while(monkeypatch, redis_url):
    counters, asked = Counters(NOWHERE), []
    real = counters._script
    monkeypatch.setattr(counters, "_script", lambda **more: asked.append(1) or real(**more))
    for _ in range(5):
        assert counters.take([limit("a", 1)], now=NOW).has_room
    assert asked == [1]
