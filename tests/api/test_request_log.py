"""The ingest log: what came of each request, the first reasons, never what was sent; and it never fails a request."""

import gzip
import json
from datetime import UTC, datetime, timedelta

import pytest

from portal.infra.db import tenant
from portal.usage.request_log import KEPT_PER_KEY, recent_requests, trim_request_log
from tests.api.test_events import Api, event
from tests.factories import acting, sql

NOW = datetime.now(UTC)


@pytest.fixture
def api(app, clean_database, clean_redis) -> Api:
    return Api(app)


def read(api, *, key="acme", query="") -> list[dict]:
    headers = {"Authorization": f"Bearer {api.keys[key]}"}
    answer = api.app.test_client().get(f"/api/v1/requests{query}", headers=headers)
    assert answer.status_code == 200
    return answer.get_json()["data"]


def test_every_request_is_a_line_with_what_came_of_it(api):
    body = json.dumps([event(), event(id="e2"), event(id="e3", quantity="-1")]).encode()
    answer = api.post(gzip.compress(body), headers={"Content-Encoding": "gzip"})
    api.post([event(), event(id="e2", quantity="11")])
    second, first = read(api, key="reader")
    assert first["request_id"] == answer.headers["X-Request-Id"]
    assert (first["status"], first["format"], first["key_name"]) == (200, "JSON, gzip", "machine")
    assert 0 < first["bytes"] < len(body)
    assert [first[name] for name in ("accepted", "duplicate", "conflict", "rejected")] == [2, 0, 0, 1]
    [rejection] = first["rejections"]
    assert (rejection["index"], rejection["id"], rejection["field"]) == (2, "e3", "quantity")
    assert [second[name] for name in ("accepted", "duplicate", "conflict", "rejected")] == [0, 1, 1, 0]
    assert second["rejections"][0]["status"] == "conflict"
    assert api.keys["acme"].startswith(first["key_prefix"])
    assert abs(datetime.fromisoformat(first["at"]) - NOW) < timedelta(minutes=5)


REFUSED = {
    "no JSON": (b"{", "application/json", {}, 400),
    "another kind of content": (b"a,b", "text/csv", {}, 415),
    "too many": (json.dumps([{}] * 5001).encode(), "application/json", {}, 422),
    "too large": (b" " * (5 * 1024 * 1024 + 1), "application/json", {}, 413),
    "cut": (b"\x1f\x8b", "application/json", {"Content-Encoding": "gzip"}, 400),
}


@pytest.mark.parametrize(("body", "kind", "headers", "status"), REFUSED.values(), ids=REFUSED)
def test_a_request_that_is_refused_as_a_whole_is_a_line_too(api, body, kind, headers, status):
    answer = api.post(body, content_type=kind, headers=headers)
    [line] = read(api)
    assert (answer.status_code, line["status"]) == (status, status)
    assert line["rejections"] == [
        {"index": None, "id": None, "field": answer.get_json().get("field"), "message": answer.get_json()["detail"]}
    ]
    assert line["bytes"] == len(body)
    assert line["accepted"] == line["rejected"] == 0


def test_a_key_without_the_scope_is_logged_and_an_unknown_key_is_not(api):
    assert api.post(event(), key="reader").status_code == 403
    assert api.post(event(), key="blk_test_nobody").status_code == 401
    assert [line["status"] for line in read(api)] == [403]


def test_a_question_about_the_address_is_no_request_to_store(api):
    headers = {"Authorization": f"Bearer {api.keys['acme']}"}
    for method in ("OPTIONS", "HEAD", "GET"):
        assert api.app.test_client().open("/api/v1/events", method=method, headers=headers).status_code in (200, 405)
    assert read(api) == []


def test_only_the_first_reasons_are_kept_and_never_what_was_sent(api):
    secret = "only-in-the-payload"
    api.post([event(id=f"e{number}", quantity="-1", properties={"note": secret}) for number in range(50)])
    [line] = read(api)
    assert line["rejected"] == 50
    assert [rejection["index"] for rejection in line["rejections"]] == [0, 1, 2, 3, 4]
    assert secret not in str(api.sql("SELECT ingest_requests::text FROM ingest_requests"))


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 5_000])
def test_a_field_that_no_database_can_hold_is_written_in_escapes(api, name):
    assert api.post(json.dumps(event(**{name: 1})).encode()).status_code == 422
    [line] = read(api)
    assert len(line["rejections"][0]["field"]) <= 255


def test_an_organization_sees_its_own_and_the_platform_its_own(api):
    api.post(event())
    api.post(event(), key="umbrella")
    api.post([event(organization="acme", id="p1")], key="platform")
    assert [len(read(api, key=key)) for key in ("acme", "umbrella", "platform")] == [1, 1, 1]
    with acting(api.app, tenant(api.acme.id)):
        assert sql("SELECT DISTINCT organization_id FROM ingest_requests") == [(api.acme.id,)]
        assert recent_requests(api.umbrella.id, 10) == []
        assert [line.accepted for line in recent_requests(api.acme.id, 10)] == [1]


@pytest.mark.parametrize(
    ("asked", "status"), [("1", 200), ("200", 200), ("0", 422), ("201", 422), ("x", 422), ("²", 422)]
)
def test_how_many_are_read_can_be_said(api, asked, status):
    for number in range(3):
        api.post(event(id=f"e{number}"))
    answer = api.app.test_client().get(
        "/api/v1/requests", query_string={"limit": asked}, headers={"Authorization": f"Bearer {api.keys['acme']}"}
    )
    assert answer.status_code == status
    assert status == 422 or len(answer.get_json()["data"]) == min(int(asked), 3)


def test_a_refusal_is_answered_also_if_it_cannot_be_logged_and_a_batch_is_stored_with_its_line_or_not_at_all(
    api, owner_connection
):
    owner_connection.execute("ALTER TABLE ingest_requests RENAME TO gone")
    try:
        assert api.post(b"{").status_code == 400
        assert api.post(event()).status_code >= 500
    finally:
        owner_connection.execute("ALTER TABLE gone RENAME TO ingest_requests")
    assert api.events() == 0
    assert read(api) == []
    assert api.post(event()).status_code == 200
    assert len(read(api)) == 1


def test_trimming_keeps_a_week_and_the_last_thousand_of_each_key(api):
    add = (
        "INSERT INTO ingest_requests (api_key_id, at, request_id, status, accepted, duplicate, conflict, rejected,"
        " bytes, format, rejections) SELECT :key, CAST(:at AS timestamptz) - number * interval '1 second', 'r', 200,"
        " 1, 0, 0, 0, 1, 'JSON', '[]' FROM generate_series(1, :count) AS number RETURNING id"
    )
    with acting(api.app):
        busy, quiet = (key for (key,) in sql("SELECT id FROM api_keys ORDER BY id LIMIT 2"))
        sql(add, key=busy, at=NOW, count=KEPT_PER_KEY + 50)
        sql(add, key=quiet, at=NOW - timedelta(days=8), count=3)
        sql(add, key=quiet, at=NOW - timedelta(days=6), count=4)
        for _ in range(2):
            trim_request_log(now=NOW, keep_days=7)
            kept = dict(sql("SELECT api_key_id, count(*) FROM ingest_requests GROUP BY 1"))
            assert kept == {busy: KEPT_PER_KEY, quiet: 4}
        assert sql("SELECT min(at) FROM ingest_requests WHERE api_key_id = :key", key=busy) == [
            (NOW - timedelta(seconds=KEPT_PER_KEY),)
        ]
