"""The page about the API: everything of the description is on it, for anybody, and it is valid and light."""

import re

from flask import Flask

from portal.api_description import document, operations_by_tag, shared_objects
from tests.web.conftest import assert_flawless


def test_every_operation_parameter_and_field_is_on_the_page_for_anybody(app: Flask) -> None:
    answer = app.test_client().get("/api/docs")
    assert answer.status_code == 200
    assert_flawless(answer)
    described = {
        operation["operationId"]: operation
        for methods in (*document()["paths"].values(), *document()["webhooks"].values())
        for operation in methods.values()
    }
    shown = {each.id: each for operations in operations_by_tag().values() for each in operations}
    assert shown.keys() == described.keys()
    for name, operation in described.items():
        assert f'id="{name}"' in answer.text
        assert [each.name for each in shown[name].parameters] == [
            each["name"] for each in operation.get("parameters", ())
        ]
        assert [each.status for each in shown[name].answers] == list(operation["responses"])
    assert len(answer.data) <= 100_000


def test_fields_inside_of_lists_and_references_have_their_place_and_kind() -> None:
    [usage] = [each for each in operations_by_tag()["usage"] if each.id == "getUsage"]
    [body] = usage.answers[0].contents
    kinds = {field.name: field.kind for field in body.shapes[0].fields}
    assert kinds["sources[].gaps[].from"] == "string (date-time)"
    assert kinds["resolution"] == "one of hour, day, month"
    assert "For example 2026-11-01." in usage.parameters[0].description
    [events] = [each for each in operations_by_tag()["usage"] if each.id == "postEvents"]
    assert [shape.title for shape in events.bodies[0].shapes] == ["Event", "Cancellation"]
    assert events.bodies[1].shapes == ()


def test_an_object_that_stands_in_several_bodies_is_laid_out_once_and_named_there(app: Flask) -> None:
    text = app.test_client().get("/api/docs").text
    referred = re.findall(r'href="#(object-\w+)"', text)
    assert {"object-OneOffItem", "object-Event", "object-Invoice"} <= set(referred)
    for place in set(referred):
        assert text.count(f'id="{place}"') == 1
    [listing] = [each for each in operations_by_tag()["items"] if each.id == "listItems"]
    assert [(field.name, field.kind) for field in listing.answers[0].contents[0].shapes[0].fields] == [
        ("data", "list of OneOffItem")
    ]
    assert "amount" in {field.name for field in shared_objects()["OneOffItem"].fields}


def test_the_words_around_it_are_the_readers(app: Flask) -> None:
    """What the description itself says is English, as the API is."""
    text = app.test_client().get("/api/docs", headers={"Accept-Language": "de"}).text
    assert '<html lang="de"' in text
    assert "Ablehnungen" in text
    assert "Store a batch of events" in text
