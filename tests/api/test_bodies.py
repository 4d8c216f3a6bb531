"""The formats of a batch: one event, a list, lines, CloudEvents; as they are or packed, and what is none of them."""

import gzip
import io
import json
import resource
import time
import zlib

import pytest

from portal.api.bodies import LARGEST_BODY_BYTES, MOST_TIMES_LARGER
from tests.api.test_events import Api, event

MEGABYTE = 1024 * 1024
NDJSON, CLOUD, CLOUDS = (
    "application/x-ndjson",
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
)


@pytest.fixture
def api(app, clean_database, clean_redis) -> Api:
    return Api(app)


def lines(*documents) -> bytes:
    return b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in documents)


def cloud(more_data=None, **changes) -> dict:
    return {
        "specversion": "1.0",
        "id": "c1",
        "source": "/hosts/ams-7",
        "type": "machine_seconds",
        "time": event()["time"],
        "data": {"quantity": "10", "properties": {"region": "ams"}, **(more_data or {})},
    } | changes


def statuses(answer) -> list[tuple]:
    return [(result["status"], result.get("field")) for result in answer.get_json()["results"]]


def test_lines_are_events_and_a_bad_line_is_its_own_rejection_only(api):
    body = (
        lines(event(id="l1"), b"", b'{"id": "l2"', b"\xff", event(id="l3", amount=1), b"[]", event(id="l4")) + b"\r\n"
    )
    answer = api.post(body, content_type=NDJSON)
    assert answer.status_code == 200
    assert statuses(answer) == [
        ("accepted", None),
        *[("rejected", None)] * 2,
        ("rejected", "amount"),
        ("rejected", None),
        ("accepted", None),
    ]
    results = answer.get_json()["results"]
    assert [result["index"] for result in results] == list(range(6))
    assert results[1]["message"] == "This line is not valid JSON in UTF-8."
    assert api.sql("SELECT event_id FROM usage_events ORDER BY 1") == [("l1",), ("l4",)]


BAD_LINES = {
    "a name twice": b'{"id": "1", "id": "2"}',
    "too deep": b"[" * 100_000,
    "NaN": json.dumps(event()).encode().replace(b'"10"', b"NaN"),
    "a huge exponent": json.dumps(event()).encode().replace(b'"10"', b"1e1000000000"),
    "5,000 digits": json.dumps(event()).encode().replace(b'"10"', b"9" * 5_000),
    "UTF-16": json.dumps(event()).encode("utf-16-le").replace(b"\n", b""),
    "two in a line": b"{} {}",
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES)
def test_a_line_that_is_no_event_never_harms_its_neighbours(api, line):
    started = time.monotonic()
    answer = api.post(lines(event(id="before"), line, event(id="after")), content_type=NDJSON)
    assert time.monotonic() - started < 2
    assert [status for status, _ in statuses(answer)] == ["accepted", "rejected", "accepted"]


def test_lines_are_counted_before_they_are_read(api):
    answer = api.post(b"{}\n" * 5_001, content_type=NDJSON)
    assert answer.status_code == 422
    assert "at most 5000" in answer.get_json()["detail"]
    assert api.post(b"\n" * MEGABYTE, content_type=NDJSON).status_code == 422
    assert api.events() == 0


def test_a_cloudevent_is_an_event(api):
    assert api.post(cloud(), content_type=CLOUD).get_json()["accepted"] == 1
    [stored] = api.sql("SELECT event_id, source, quantity, properties FROM usage_events")
    assert stored == ("c1", "/hosts/ams-7", 10, None)
    assert api.sql("SELECT dimensions FROM usage_series") == [({"region": "ams"},)]
    same = event(id="c1", source="/hosts/ams-7")
    assert api.post(same).get_json()["duplicate"] == 1


def test_a_list_of_cloudevents_keeps_its_good_ones(api):
    batch = [
        cloud(),
        cloud(id="c2", type="com.example.stopped", data={"meter": "machine_seconds", "quantity": 1}),
        cloud(id="c3", traceparent="00-1", datacontenttype="application/json", dataschema="x", subject="vm-7"),
        cloud({"unit_price": "0"}, id="c4"),
        cloud(id="c5", specversion="0.3"),
        cloud(id="c6", data=None),
        cloud(id="c7", data="10"),
        cloud(id="c8", type=None),
        cloud(id="c9", source=None),
        cloud(id="c10", time=None),
        cloud({"quantity": True}, id="c11"),
        cloud({"correction": True, "quantity": "-1"}, id="c12"),
        5,
        cloud({"time": "x"}, id="c13"),
    ]
    answer = api.post(batch, content_type=CLOUDS)
    assert statuses(answer) == [
        *[("accepted", None)] * 3,
        ("rejected", "data.unit_price"),
        ("rejected", "specversion"),
        *[("rejected", "data")] * 2,
        ("rejected", "type"),
        ("rejected", "source"),
        ("rejected", "time"),
        ("rejected", "quantity"),
        ("accepted", None),
        ("rejected", None),
        ("rejected", "data.time"),
    ]
    assert answer.get_json()["results"][3]["id"] == "c4"


def test_the_subject_of_a_cloudevent_is_an_organization_for_the_platform_only(api):
    batch = [cloud(subject="umbrella"), cloud({"organization": "acme"}, id="c2", subject="umbrella"), cloud(id="c3")]
    answer = api.post(batch, key="platform", content_type=CLOUDS)
    assert statuses(answer) == [("accepted", None), ("accepted", None), ("rejected", "organization")]
    stored = api.sql("SELECT event_id, organization_id FROM usage_events ORDER BY 1")
    assert stored == [("c1", api.umbrella.id), ("c2", api.acme.id)]
    # A key of an organization writes to its own, whatever the subject says, and never to another that data names.
    answer = api.post(
        [cloud(id="c4", subject="umbrella"), cloud({"organization": "umbrella"}, id="c5")], content_type=CLOUDS
    )
    assert statuses(answer) == [("accepted", None), ("rejected", "organization")]
    assert api.sql("SELECT organization_id FROM usage_events WHERE event_id = 'c4'") == [(api.acme.id,)]


WRONG_SHAPES = {
    "a list as one CloudEvent": ([cloud()], CLOUD, 422),
    "one CloudEvent as a list": (cloud(), CLOUDS, 422),
    "no CloudEvent": ([], CLOUDS, 422),
    "no line": (b" \n\n", NDJSON, 422),
    "a CloudEvent that is no JSON": (b"{", CLOUD, 400),
    "a CloudEvent with a name twice": (b'{"id": "1", "id": "2"}', CLOUD, 400),
    "too many CloudEvents": (b"[" + b",".join([b"{}"] * 5_001) + b"]", CLOUDS, 422),
    "null": (b"null", CLOUDS, 422),
    "no body": (b"", "application/json", 400),
    "JSON after a byte order mark": (b"\xef\xbb\xbf[]", "application/json", 400),
}


@pytest.mark.parametrize(("body", "kind", "status"), WRONG_SHAPES.values(), ids=WRONG_SHAPES)
def test_a_body_of_another_shape_is_refused_as_a_whole(api, body, kind, status):
    answer = api.post(body, content_type=kind)
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert api.events() == 0


PACKED = {
    "application/json": json.dumps([event(), event(id="e2")]).encode(),
    NDJSON: lines(event(), event(id="e2")),
    CLOUDS: json.dumps([cloud(), cloud(id="c2")]).encode(),
}


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_every_format_can_be_packed(api, kind, encoding):
    answer = api.post(gzip.compress(PACKED[kind]), content_type=kind, headers={"Content-Encoding": encoding})
    assert answer.get_json()["accepted"] == 2


BODY = json.dumps(event()).encode()
BAD_PACKING = {
    "cut": (gzip.compress(BODY)[:-9], "gzip", 400),
    "cut in its header": (gzip.compress(BODY)[:5], "gzip", 400),
    "nothing": (b"", "gzip", 400),
    "not packed": (BODY, "gzip", 400),
    "a wrong checksum": (gzip.compress(BODY)[:-8] + bytes(8), "gzip", 400),
    "packed twice": (gzip.compress(gzip.compress(BODY)), "gzip", 400),
    "more after the end": (gzip.compress(BODY) + b"x", "gzip", 400),
    "two in one": (gzip.compress(BODY) + gzip.compress(BODY), "gzip", 400),
    "zlib": (zlib.compress(BODY), "gzip", 400),
    "not said": (gzip.compress(BODY), "identity", 400),
    "deflate": (zlib.compress(BODY), "deflate", 415),
    "br": (BODY, "br", 415),
    "a list of encodings": (gzip.compress(BODY), "gzip, gzip", 415),
}


@pytest.mark.parametrize(("body", "encoding", "status"), BAD_PACKING.values(), ids=BAD_PACKING)
def test_a_body_that_is_packed_wrongly_is_refused_with_a_sentence(api, body, encoding, status):
    answer = api.post(body, headers={"Content-Encoding": encoding})
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert answer.get_json()["detail"]
    assert api.events() == 0


def bomb(megabytes: int) -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb") as packing:
        for _ in range(megabytes):
            packing.write(b" " * MEGABYTE)
    return out.getvalue()


def test_exactly_the_limit_is_taken(api):
    assert api.post(json.dumps(event()).encode().ljust(LARGEST_BODY_BYTES)).status_code == 200
    assert api.post(json.dumps(event()).encode().ljust(LARGEST_BODY_BYTES + 1)).status_code == 413


def test_a_body_that_is_shorter_than_announced_is_refused(api):
    """Lines could be cut between two of them, and nobody would see it."""
    answer = api.app.test_client().post(
        "/api/v1/events",
        input_stream=io.BytesIO(lines(event())),
        content_type=NDJSON,
        headers={"Authorization": f"Bearer {api.keys['acme']}"},
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": "5000"},
    )
    assert answer.status_code == 400
    assert api.events() == 0


@pytest.mark.parametrize("body", [bomb(6), bomb(1_000)], ids=["6 MB", "1 GB"])
def test_a_bomb_is_refused_fast_and_in_little_memory(api, body):
    assert len(body) < MEGABYTE
    api.post(event())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    answer = api.post(body, headers={"Content-Encoding": "gzip"})
    assert time.monotonic() - started < 1
    assert answer.status_code == 413
    assert answer.content_type == "application/problem+json"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024


def test_what_unpacks_to_far_more_than_it_was_is_a_bomb_even_below_the_limit(api):
    body = b"[" + b" " * (2 * MEGABYTE) + b"]"
    packed = gzip.compress(body)
    assert len(packed) * MOST_TIMES_LARGER < len(body) < LARGEST_BODY_BYTES
    assert api.post(packed, headers={"Content-Encoding": "gzip"}).status_code == 413


def test_5000_like_events_fit_packed(api):
    batch = json.dumps([event(id=f"e{number}") for number in range(5_000)]).encode()
    answer = api.post(gzip.compress(batch, 9), headers={"Content-Encoding": "gzip"})
    assert answer.get_json()["accepted"] == 5_000


def test_a_body_that_is_too_deep_is_refused_at_once(api):
    api.post(event())
    started = time.monotonic()
    assert api.post(b"[" * 100_000).status_code == 400
    assert time.monotonic() - started < 0.5


def test_a_body_without_a_length_is_read_to_its_end_or_to_the_limit(api):
    """As gunicorn passes a chunked one on."""
    for size, status in ((1_000, 200), (LARGEST_BODY_BYTES, 200), (LARGEST_BODY_BYTES + 1, 413)):
        body = json.dumps([event(id=f"e{size}")]).encode().ljust(size)
        answer = api.app.test_client().post(
            "/api/v1/events",
            input_stream=io.BytesIO(body),
            content_type="application/json",
            headers={"Authorization": f"Bearer {api.keys['acme']}"},
            environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
        )
        assert answer.status_code == status
    assert api.events() == 2


def test_a_cloudevent_amends_or_cancels_by_its_data(api):
    api.post([cloud(), cloud(id="c2")], content_type=CLOUDS)
    answer = api.post(
        [cloud({"amends": "c1", "quantity": "5"}, id="c3"), {**cloud(id="c4"), "data": {"cancels": "c2"}}],
        content_type=CLOUDS,
    )
    assert statuses(answer) == [("accepted", None)] * 2
    assert api.sql("SELECT sum(quantity) FROM usage_daily") == [(5,)]
