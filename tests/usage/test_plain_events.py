"""A plain batch comes to the same whether it is read and stored by columns or event by event."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from portal.catalog.models import Meter
from portal.core.quantities import Aggregation, Counting
from portal.infra.json_text import read_documents
from portal.usage.batches import Accepted, PlainItems, store_documents, store_items
from portal.usage.events import Reader
from portal.usage.inserting import FEWEST_TAKEN_FOR_NEW, Caution
from portal.usage.labels import LabelBook
from portal.usage.plain_events import PlainBatch, read_plain, sent_as_json
from portal.usage.recounting import recount_differences
from portal.usage.unfolded import ENTRIES
from tests.factories import NOW, acting, make_meter, make_organization, sql

METERS = {
    code: Meter(id=number, code=code, aggregation=aggregation, dimensions=["region"], subject=None)
    for number, (code, aggregation) in enumerate([("disk", "sum"), ("calls", "count"), ("peak", "max")], start=1)
}
ORGANIZATIONS = {"acme": 1, "zeta": 2}
UUIDS = [str(UUID(int=number << 64 | 7)) for number in range(1, 40)]
PLAIN = {
    "id": '"a"',
    "organization": '"acme"',
    "meter": '"disk"',
    "quantity": "1.5",
    "time": '"2026-11-22T08:00:00Z"',
}
# As they stand in the body: plain ones, unusual ones and wrong ones.
SPELLINGS = {
    "id": [
        '"a"',
        '"b"',
        '"ü"',
        '"A,B"',
        '""',
        "1",
        f'"{UUIDS[0]}"',
        f'"{UUIDS[0].upper()}"',
        f'"{"x" * 256}"',
        '"\\u0061"',
    ],
    "organization": ['"acme"', '"zeta"', '"nobody"', "1", "null"],
    "meter": ['"disk"', '"calls"', '"peak"', '"tape"', "2"],
    "quantity": [
        *(
            "1",
            "0",
            "-0",
            "1.50",
            '"2"',
            '"007.5"',
            '"1,2"',
            '""',
            "1e3",
            "-1",
            "1.0000000000001",
            "9" * 16,
            "null",
            "[1]",
        ),
        *("true", '" 1"', "123456789012345.123456789012", '"NaN"'),
    ],
    "time": [
        *(
            '"2026-11-22T08:00:00Z"',
            '"2026-11-22T08:59:59.5Z"',
            '"2026-11-22T08:00:00.123456Z"',
            '"2026-11-23T11:59:59Z"',
        ),
        *('"2026-11-22T08:00:00.1234567Z"', '"2026-11-22T08:00:00+00:00"', '"2026-11-22T10:00:00+02:00"'),
        *('"2026-11-22 08:00:00Z"', '"2026-11-22T08:00:00"', '"2026-02-30T08:00:00Z"', '"2026-11-22T24:00:00Z"'),
        *('"1999-12-31T23:59:59Z"', '"2000-01-01T00:00:00Z"', '"2026-11-23T12:00:00Z"', '"2026-11-23T12:00:01Z"', "5"),
        *('"2026-10-31T23:59:59Z"', '"2026-11-22T08:00:60Z"', '"2026-11-22T08:00Z"', '"2026-11-22T08:00:00Z,"'),
    ],
    "source": ['"api"', '"probe"', '""', "null"],
    "properties": [
        '{"region":"fra"}',
        '{"region":"fra","app":"shop"}',
        "{}",
        "null",
        '{"region":""}',
        '{"a":1}',
        '{"":"x"}',
    ],
    "correction": ["false", "true"],
    "amends": ['"b"'],
    "color": ['"red"'],
}


@st.composite
def spelled(draw: st.DrawFn) -> str:
    """An event in which up to two fields are spelled otherwise, missing, added or there twice."""
    fields = dict(PLAIN, id=draw(st.sampled_from([f'"{each}"' for each in UUIDS])))
    for name in draw(st.lists(st.sampled_from(sorted(SPELLINGS)), max_size=2)):
        fields[name] = draw(st.sampled_from(SPELLINGS[name]))
    if draw(st.integers(0, 20)) == 0:
        del fields[draw(st.sampled_from(sorted(PLAIN)))]
    pairs = list(fields.items())
    if draw(st.integers(0, 20)) == 0:
        pairs.append(draw(st.sampled_from(pairs)))
    return "{" + draw(st.sampled_from([",", " , "])).join(f'"{name}":{value}' for name, value in pairs) + "}"


def plain(body: bytes, organization_id: int | None = None) -> PlainBatch | None:
    sent = sent_as_json(body)
    how: dict[str, Any] = {"now": NOW, "organization_id": organization_id, "organizations": ORGANIZATIONS}
    return None if sent is None else read_plain(sent, LabelBook(METERS), **how)


@settings(max_examples=400)
@given(st.lists(spelled(), min_size=1, max_size=4), st.sampled_from([None, 1]))
@example(['{"id":"a","meter":"disk","quantity":1,"time":"2026-11-22T08:00:00Z"}'], 1)
def test_what_is_read_by_columns_is_what_the_reader_of_events_reads(events: list[str], organization_id: int | None):
    body = f"[{','.join(events)}]".encode()
    batch = plain(body, organization_id)
    if batch is not None:
        reader = Reader(METERS, now=NOW, organization_id=organization_id, organizations=ORGANIZATIONS)
        assert batch.records() == [reader.read(document) for document in read_documents(body)]


@pytest.mark.parametrize(
    ("changed", "is_plain"),
    [
        ({}, True),
        ({"quantity": '"2.50"'}, True),
        ({"time": '"2026-11-22T08:00:00.25+00:00"'}, True),
        ({"source": '"probe"', "meter": '"calls"'}, True),
        ({"id": '"an id, in words"', "properties": '{"region":"fra","app":"ü"}'}, True),
        ({"correction": "false"}, False),
        ({"meter": '"peak"'}, False),
        ({"meter": '"tape"'}, False),
        ({"time": '"2026-11-22T08:00:00.1234567Z"'}, False),
        ({"quantity": "-1"}, False),
        ({"id": '"\\u0061"'}, False),
    ],
)
def test_usual_spellings_are_plain_and_others_are_not(changed: dict[str, str], is_plain: bool):
    event = "{" + ",".join(f'"{name}":{value}' for name, value in (PLAIN | changed).items()) + "}"
    assert (plain(event.encode()) is not None, plain(f"[{event}]".encode()) is not None) == (is_plain, is_plain)


def test_a_name_or_an_id_that_is_there_twice_is_not_plain():
    event = "{" + ",".join(f'"{name}":{value}' for name, value in PLAIN.items()) + "}"
    assert plain(event.replace('"id"', '"id":"z","id"').encode()) is None
    assert plain(event.replace("}", ',"properties":{"app":"x","app":"y"}}').encode()) is None
    assert plain(f"[{event},{event}]".encode()) is None


@pytest.fixture
def _twins(app: Flask, clean_database: None) -> Iterator[None]:
    with acting(app):
        make_organization("acme")
        make_organization("zeta")
        make_meter("disk")
        make_meter("calls", counting=Counting(Aggregation.COUNT))
        yield


EVENTS = st.fixed_dictionaries(
    {
        "id": st.sampled_from([*UUIDS[:6], "a", "b, c", 'ü"']),
        "meter": st.sampled_from(["disk", "calls"]),
        "quantity": st.sampled_from(["1", "2.50", "0"]),
        "time": st.sampled_from(
            ["2026-11-22T08:00:00Z", "2026-11-22T08:30:00.5Z", "2026-11-21T23:59:59Z", "2026-09-30T08:00:00Z"]
        ),
        "properties": st.sampled_from([{}, {"region": "fra"}, {"app": "shop", "region": "ams"}]),
    }
)


@pytest.mark.usefixtures("_twins")
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(EVENTS, min_size=1, max_size=6, unique_by=lambda each: each["id"]),
    st.integers(0, 2),
    st.sampled_from(["api", "probe"]),
)
def test_both_ways_store_the_same_and_answer_the_same(events: list[dict[str, Any]], more: int, source: str):
    """Two organizations get the same batches, one of them event by event."""
    extra = [dict(events[0], id=f"{source}/{number}") for number in range(more * FEWEST_TAKEN_FOR_NEW)]
    answers = []
    for slug in ("acme", "zeta"):
        Caution.batches = 0
        documents = [{**each, "source": source, "organization": slug} for each in (*events, *extra)]
        body = json.dumps(documents, ensure_ascii=False).encode()
        sent = sent_as_json(body)
        how: dict[str, Any] = {"organization_id": None, "now": NOW, "and_then": lambda _: None}
        if slug == "acme" and sent is not None:
            stored = store_items(PlainItems(sent, lambda: pytest.fail("it is plain")), **how)
        else:
            stored = store_documents(read_documents(body), **how)
        results = [
            {"index": each.index, "id": each.id, "status": each.status} if isinstance(each, Accepted) else each
            for each in stored.results
        ]
        answers.append((stored.counts, results))
    assert answers[0] == answers[1]
    assert books("acme") == books("zeta")
    assert recount_differences() == []


def books(slug: str) -> list[list[Any]]:
    """All that is kept of an organization's usage."""
    [(organization_id,)] = sql("SELECT id FROM organizations WHERE slug = :slug", slug=slug)
    statements = (
        """SELECT event_key, meter_id, series_id, occurred_at, recorded_at, correction, quantity, event_id, source,
                  properties::text, corrects, counts
           FROM usage_events WHERE organization_id = :id ORDER BY event_key""",
        """SELECT day, series_id, recorded_day, meter_id, quantity, events, updated_at FROM usage_daily
           WHERE organization_id = :id ORDER BY day, series_id, recorded_day""",
        "SELECT series_id, meter_id, dimensions::text FROM usage_series WHERE organization_id = :id ORDER BY series_id",
        f"""SELECT source, hour, series_id, meter_id, max(latest), sum(quantity), sum(events) FROM ({ENTRIES}) AS entry
            WHERE organization_id = :id GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3""",
        "SELECT month FROM late_months WHERE organization_id = :id ORDER BY month",
    )
    return [[tuple(row) for row in sql(statement, id=organization_id)] for statement in statements]
