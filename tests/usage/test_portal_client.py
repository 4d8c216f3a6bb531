"""The example client against the real API over HTTP: everything arrives once, whatever goes wrong on the way."""

import importlib.util
import sys
import threading
from collections import Counter
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from werkzeug.serving import make_server

from portal.core.exact import plain
from portal.infra.db import transaction
from portal.organizations.api_keys import create_key
from tests.factories import acting, make_meter, make_organization, sql

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "portal_client.py"
specification = importlib.util.spec_from_file_location("portal_client", EXAMPLE)
portal_client = importlib.util.module_from_spec(specification)
sys.modules["portal_client"] = portal_client
specification.loader.exec_module(portal_client)


class Line:
    """The portal behind a line that fails as it is told: each failure is (before or after, status, headers)."""

    def __init__(self, app) -> None:
        self.app = app
        self.failures = []
        self.requests = Counter()
        self.takes_gzip = True

    def __call__(self, environ, start_response):
        packed = environ.get("HTTP_CONTENT_ENCODING") == "gzip"
        self.requests["gzip" if packed else "plain"] += 1
        if packed and not self.takes_gzip:
            environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            return self._fail(start_response, "415 Unsupported Media Type", [])
        if self.failures:
            when, status, headers = self.failures.pop(0)
            if when == "before":
                environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            else:
                b"".join(self.app(environ, lambda *_: None))  # stored, and the answer is lost
            return self._fail(start_response, status, headers)
        return self.app(environ, start_response)

    def _fail(self, start_response, status, headers):
        start_response(status, [("Content-Type", "application/problem+json"), *headers])
        return [b'{"detail": "not now"}']


@pytest.fixture
def line(app, clean_database, clean_redis):
    line = Line(app)
    server = make_server("127.0.0.1", 0, line, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    line.url = f"http://127.0.0.1:{server.server_port}"
    with acting(app):
        make_meter("disk")
        organization = make_organization()
        with transaction():
            line.key = create_key(name="m", organization_id=organization.id, scopes=("ingest",), live=False)
        yield line
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def naps(monkeypatch):
    """How long the client would have slept."""
    slept = []
    monkeypatch.setattr(portal_client.time, "sleep", slept.append)
    return slept


@pytest.fixture
def client(line, naps):
    return portal_client.PortalClient(line.url, line.key)


def stored():
    return {row[0]: plain(row[1]) for row in sql("SELECT event_id, quantity FROM usage_events")}


def test_events_arrive_packed_and_once(client, line):
    first = client.add("disk", Decimal("1.5"), properties={"region": "fra"})
    second = client.add("disk", 2)
    assert client.flush() == []
    assert client.pending == []
    assert stored() == {first: "1.5", second: "2"}
    assert line.requests == {"gzip": 1}
    assert UUID(first).version == 7
    assert client.flush() == []


def test_more_events_than_one_request_takes_go_in_several(client, line, monkeypatch):
    monkeypatch.setattr(portal_client, "MOST_EVENTS", 10)
    ids = {client.add("disk", 1) for _ in range(25)}
    client.flush()
    assert stored().keys() == ids
    assert line.requests.total() == 3
    monkeypatch.setattr(portal_client, "MOST_BYTES", 400)
    ids |= {client.add("disk", 1) for _ in range(5)}
    client.flush()
    assert stored().keys() == ids
    assert line.requests.total() > 4


def test_lost_answers_and_failures_are_tried_again_and_nothing_counts_twice(client, line, naps):
    busy = [("Retry-After", "7")]
    line.failures = [
        ("before", "503 Service Unavailable", []),
        ("after", "502 Bad Gateway", []),
        ("before", "429 Too Many Requests", busy),
        ("after", "500 Internal Server Error", []),
    ]
    event_id = client.add("disk", 1)
    assert client.flush() == []
    assert stored() == {event_id: "1"}
    assert len(naps) == 4
    assert naps[2] == 7
    assert all(0.5 * 2**number <= naps[number] <= 2**number for number in (0, 1, 3))


def test_a_portal_that_stays_away_loses_nothing(client, line):
    event_id = client.add("disk", 1)
    client.url, away = "http://127.0.0.1:9", client.url
    with pytest.raises(portal_client.PortalUnreachable, match="after 8 tries"):
        client.flush()
    assert [event["id"] for event in client.pending] == [event_id]
    client.url = away
    assert client.flush() == []
    assert stored() == {event_id: "1"}


def test_rejections_name_the_event_and_the_reason_and_good_events_stay(client):
    good = client.add("disk", 1)
    client.add("tape", 1)
    client.add("disk", -1)
    client.add("disk", 5, event_id=good)
    tape, negative, conflict = client.flush()
    assert (tape.status, tape.field, tape.event["meter"]) == ("waiting", "meter", "tape")
    assert (negative.status, negative.field) == ("rejected", "quantity")
    assert conflict.status == "conflict"
    assert stored() == {good: "1"}
    assert client.pending == []


def test_rejections_before_a_failure_come_with_the_next_flush(client, line, monkeypatch):
    monkeypatch.setattr(portal_client, "MOST_EVENTS", 1)
    client.tries = 1
    client.add("tape", 1)
    good = client.add("disk", 1)
    send, sent = client._send, []

    def fails_once(body):
        sent.append(body)
        if len(sent) == 2:
            raise portal_client.PortalUnreachable("away")
        return send(body)

    monkeypatch.setattr(client, "_send", fails_once)
    with pytest.raises(portal_client.PortalUnreachable):
        client.flush()
    assert [rejection.event["meter"] for rejection in client.flush()] == ["tape"]
    assert stored() == {good: "1"}


def test_a_portal_without_gzip_gets_it_plain(client, line):
    line.takes_gzip = False
    client.add("disk", 1)
    client.flush()
    client.add("disk", 1)
    client.flush()
    assert len(stored()) == 2
    assert line.requests == {"gzip": 1, "plain": 2}


def test_a_key_that_is_not_taken_is_said_and_the_events_stay(client):
    client.key = "blk_test_wrong"
    client.add("disk", 1)
    with pytest.raises(portal_client.PortalUnreachable, match="refused a batch"):
        client.flush()
    assert len(client.pending) == 1


def test_what_cannot_be_sent_is_refused_when_it_is_added(client):
    with pytest.raises(TypeError):
        client.add("disk", 1, properties={"region": object()})
    assert client.pending == []
