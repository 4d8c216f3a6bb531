"""Whatever is sent to the API, it answers as docs/openapi.yaml says, and never with a 5xx."""

import gzip
import json
from datetime import UTC, datetime

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from portal.api.bodies import _READERS as READERS
from portal.infra.db import transaction
from portal.organizations.api_keys import create_key
from tests.factories import acting, make_meter, make_organization, make_price
from tests.full import FULL

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
)
OPERATIONS = [
    *("POST /api/v1/events", "GET /api/v1/meters", "GET /api/v1/requests"),
    *("POST /api/v1/estimates", "GET /api/v1/totals"),
    "POST /api/v1/organizations/{slug}/items",
]
# The same cases in every run, so that a red test is red again.
FUZZING = settings(
    max_examples=2_000 if FULL else 40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TODAY = datetime.now(UTC).strftime("%Y-%m-%dT00:00:00Z")


@schemathesis.serializer("application/x-ndjson")
def as_lines(_context, value) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@pytest.fixture
def keys(app, clean_database, clean_redis) -> list[str]:
    """A key of an organization, one of the platform, one that may only read, and none that there is."""
    with acting(app):
        organization = make_organization()
        make_price(make_meter(dimensions=("region",)))
        with transaction():
            return [
                create_key(name="machine", organization_id=organization.id, scopes=("ingest", "read"), live=False),
                create_key(name="platform", organization_id=None, scopes=("ingest", "read", "items"), live=False),
                create_key(name="reader", organization_id=organization.id, scopes=("read",), live=False),
                "blk_test_nobody",
            ]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("label", OPERATIONS)
def test_every_answer_is_one_that_the_description_knows(app, keys, label, mode):
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app)
    operation = schema.find_operation_by_label(label)

    @FUZZING
    @given(case=operation.as_strategy(generation_mode=mode), key=st.sampled_from([keys[0], *keys]))
    def fuzz(case, key):
        if "slug" in case.path_parameters:
            # Else hardly any case is of an organization that there is.
            case.path_parameters["slug"] = "acme"
        case.call_and_validate(headers={"Authorization": f"Bearer {key}"}, checks=CHECKS)

    fuzz()


GOOD = {"id": "e1", "meter": "machine_seconds", "quantity": "10", "time": TODAY, "properties": {"region": "ams"}}
CLOUD = {"specversion": "1.0", "id": "c", "source": "/s", "type": "machine_seconds", "time": TODAY}
SEEDS = [
    json.dumps(each).encode()
    for each in (GOOD, [GOOD, GOOD], CLOUD | {"data": {"quantity": 1}}, [CLOUD | {"data": {"quantity": 1}}])
]
WORDS = [b"NaN", b"1e999999", b"-0", b"\\u0000", b"\\ud800", b"null", b"{", b"[", b'"', b"\n", b"\xff", b"\xef\xbb\xbf"]


@st.composite
def bodies(draw) -> bytes:
    """Anything at all, or a good body with some of its bytes replaced."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=200))
    body = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(body)))
        inserted = draw(st.sampled_from(WORDS) | st.binary(max_size=3))
        body = body[:start] + inserted + body[start + draw(st.integers(0, 6)) :]
    return body


def test_any_bytes_at_all_get_an_answer_and_no_5xx(app, keys):
    client = app.test_client()

    @FUZZING
    @given(
        body=bodies(),
        kind=st.sampled_from(sorted(READERS)),
        packed=st.sampled_from(["", "as it says", "cut", "not at all"]),
        key=st.sampled_from(keys[:2]),
    )
    def fuzz(body, kind, packed, key):
        sent = gzip.compress(body) if packed in ("as it says", "cut") else body
        headers = {"Authorization": f"Bearer {key}"} | ({"Content-Encoding": "gzip"} if packed else {})
        sent = sent[: len(sent) // 2] if packed == "cut" else sent
        answer = client.post("/api/v1/events", data=sent, content_type=kind, headers=headers)
        assert answer.status_code in (200, 400, 413, 422), answer.get_json()
        if packed in ("cut", "not at all"):
            assert answer.status_code == 400
        if answer.content_type == "application/json":
            found = answer.get_json()
            outcomes = ("accepted", "duplicate", "conflict", "waiting", "rejected")
            assert len(found["results"]) == sum(found[outcome] for outcome in outcomes)

    fuzz()
