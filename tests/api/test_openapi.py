"""docs/openapi.yaml: every route is in it, it is what the portal serves, and each of its examples is true."""

import json
import re

import pytest
import schemathesis
import yaml

from portal import ROOT
from tests.api.test_events import Api

DESCRIPTION = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())
# <uuid:public_id> in a route is {public_id} in the description.
ARGUMENT = re.compile(r"<(?:\w+:)?(\w+)>")


def posted_examples() -> dict[str, tuple[str, str, object]]:
    """By their names; a path with a name in it needs something to be there, so its own tests send its example."""
    found = {}
    for path, operations in DESCRIPTION["paths"].items():
        if "{" not in path and (operation := operations.get("post")) is not None:
            for kind, content in operation["requestBody"]["content"].items():
                for name, example in content["examples"].items():
                    found[f"{path} {name}"] = (path, kind, example["value"])
    return found


@pytest.fixture
def api(app, clean_database, clean_redis) -> Api:
    return Api(app)


def test_every_route_of_the_api_is_described_and_no_other(app):
    routes = {
        (ARGUMENT.sub(r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/v1/")
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    described = {(path, method) for path, operations in DESCRIPTION["paths"].items() for method in operations}
    assert described == routes


def test_it_is_valid_and_anybody_may_read_it(app):
    schemathesis.openapi.from_dict(DESCRIPTION).validate()
    answer = app.test_client().get("/api/v1/openapi.json")
    assert answer.content_type == "application/json"
    assert answer.get_json() == DESCRIPTION


@pytest.mark.parametrize(("path", "kind", "body"), posted_examples().values(), ids=posted_examples())
def test_every_example_is_accepted(api, path, kind, body):
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    answer = api.post(data, path=path, content_type=kind)
    assert answer.status_code == 200, answer.get_json()
    assert answer.get_json().get("rejected", 0) == 0


def test_there_are_examples_of_every_format():
    kinds = {kind for _, kind, _ in posted_examples().values()}
    assert kinds == {
        "application/json",
        "application/x-ndjson",
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
    }
