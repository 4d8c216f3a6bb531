"""The ways that are taken for speed come to the same as the plain ones."""

from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.errors import InternalError_, UniqueViolation
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from portal.core.errors import InvalidInput
from portal.core.keys import event_key
from portal.infra.db import transaction
from portal.infra.json_text import MalformedBody, read_documents, read_json
from portal.organizations.models import Organization
from portal.usage import known
from portal.usage.batches import STATUSES, Unreadable, status_of, store_documents
from portal.usage.events import key_of
from portal.usage.fields import quantity_of
from portal.usage.inserting import FEWEST_TAKEN_FOR_NEW, Caution, is_duplicate
from portal.usage.models import UsageEvent, UsageSeries
from portal.usage.outcomes import Outcome
from portal.usage.recounting import recount_differences
from tests.factories import NOW, acting, make_meter, make_organization

ODD_TEXTS = ('"', "\\", '\\"', "a,b", "{x}", "NULL", " ", "ü🦀", "\x7f\u2028", "'; --", "\t\n")
SCRAPS = st.sampled_from(
    [
        '{"a":1}',
        '{"a":1,"a":2}',
        '{"a":{"b":"x","b":"x"}}',
        "[1.50,-0,-0.0,1e400]",
        '"\\u0000"',
        '"ü"',
        "NaN",
        "01",
        "1.",
    ]
)
NUMBERS = st.from_regex(r"\A-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?\Z")


@pytest.fixture
def meter(app: Flask, clean_database: None) -> Iterator[int]:
    with acting(app):
        Caution.batches = 0
        make_organization("acme")
        yield make_meter("disk").id


def event(event_id: str, **change: object) -> dict[str, Any]:
    return {
        "id": event_id,
        "organization": "acme",
        "meter": "disk",
        "quantity": "1",
        "time": "2026-11-22T08:00:00Z",
        **change,
    }


def statuses(items: list[Any]) -> list[str]:
    stored = store_documents(items, organization_id=None, now=NOW, and_then=lambda _: None)
    assert sum(stored.counts.values()) == len(items)
    assert [result["index"] for result in stored.results] == list(range(len(items)))
    return [result["status"] for result in stored.results]


def check_books(events: int) -> None:
    with transaction() as session:
        assert recount_differences() == []
        assert len(session.scalars(select(UsageEvent)).all()) == events


def outcome_of(read: Any, body: bytes) -> Any:
    try:
        return read(body)
    except MalformedBody as refused:
        return refused.sentence


def bodies() -> st.SearchStrategy[bytes]:
    parts = st.one_of(SCRAPS, NUMBERS, st.text(max_size=8))
    return st.one_of(
        st.lists(parts, max_size=4).map(lambda found: f"[{','.join(found)}]".encode("utf-8", "surrogatepass")),
        parts.map(lambda found: found.encode("utf-8", "surrogatepass")),
        st.binary(max_size=20),
    )


@given(bodies())
@example(b'[{"id":"a","id":"a"}]')
@example(b'{"a": 1, "\\u0061": 2}')
@example(b"[" * 100_000)
@example(b"9" * 5_000)
@example(b"1e99999999999999999999")
@example(b"\xef\xbb\xbf[]")
@example(b'["\xed\xa0\x80"]')
def test_documents_are_read_as_strictly_as_json(body: bytes):
    assert repr_of(outcome_of(read_documents, body)) == repr_of(outcome_of(read_json, body))


def repr_of(value: Any) -> str:
    """Equal for equal documents; whole numbers may be ints, and zero has no sign as a quantity."""
    if isinstance(value, dict):
        return repr(sorted((name, repr_of(each)) for name, each in value.items()))
    if isinstance(value, list):
        return repr([repr_of(each) for each in value])
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return str(Decimal(0) if value == 0 else Decimal(value))
    return repr(value)


@given(NUMBERS)
def test_a_quantity_is_the_same_however_it_was_read(number: str):
    found = []
    for read in (read_documents, read_json):
        with suppress(InvalidInput):
            found.append(str(quantity_of(read(number.encode()))))
    assert len(set(found)) == len(found) / 2


@given(
    st.one_of(
        st.uuids().map(str),
        st.uuids().map(lambda found: str(found).upper()),
        st.text(min_size=1, max_size=40),
        st.from_regex(r"\A[0-9a-fA-F -]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f ]{12}\Z"),
    ),
    st.sampled_from(["api", "file"]),
)
@example("0190f3a4-7c1d-7084-809d-8892f59675e ", "api")
@example("0190f3a4-7c1d-7084-809d-8892f59675-d", "api")
def test_the_short_way_to_a_key_ends_at_the_same_key(event_id: str, source: str):
    if event_id.isprintable():
        assert key_of(event_id, source) == event_key(event_id, source).bytes


@pytest.mark.parametrize("count", [1, FEWEST_TAKEN_FOR_NEW])
def test_any_text_is_kept_as_it_was_sent(meter: int, count: int):
    items = [
        event(f"{text}{number}", source=text, properties={"region": text, text: f"{text}!"})
        for number, text in enumerate(ODD_TEXTS * count)
    ]
    for at in range(0, len(items), count):
        assert set(statuses(items[at : at + count])) == {"accepted"}
    with transaction() as session:
        stored = {row.event_id: (row.source, row.properties) for row in session.scalars(select(UsageEvent))}
        regions = {row.dimensions["region"] for row in session.scalars(select(UsageSeries))}
    assert stored == {f"{text}{number}": (text, {text: f"{text}!"}) for number, text in enumerate(ODD_TEXTS * count)}
    assert regions == set(ODD_TEXTS)
    assert set(statuses(items)) == {"duplicate"}
    check_books(len(items))


def test_a_batch_taken_for_new_that_is_not_is_stored_once(meter: int):
    ids = [str(uuid4()) for _ in range(3 * FEWEST_TAKEN_FOR_NEW)]
    half, all_ids = ids[: len(ids) // 2], ids
    assert set(statuses([event(each) for each in half])) == {"accepted"}
    assert Caution.batches == 0
    again = statuses([event(each, quantity="1" if each != half[0] else "2") for each in all_ids])
    assert again == ["conflict", *["duplicate"] * (len(half) - 1), *["accepted"] * (len(ids) - len(half))]
    assert Caution.batches > 0
    assert set(statuses([event(f"new-{number}") for number in range(FEWEST_TAKEN_FOR_NEW)])) == {"accepted"}
    check_books(len(ids) + FEWEST_TAKEN_FOR_NEW)


def test_a_series_is_written_with_its_first_rollup_of_any_day(meter: int):
    for day in (20, 21):
        for region in ("fra", "ams"):
            moment = f"2026-11-{day}T10:00:00Z"
            assert statuses([event(f"{day}-{region}", time=moment, properties={"region": region})]) == ["accepted"]
    with transaction() as session:
        assert {row.dimensions["region"] for row in session.scalars(select(UsageSeries))} == {"fra", "ams"}
    check_books(4)


def test_each_item_is_answered_for_itself(meter: int):
    stored = store_documents(
        [
            event("a"),
            event("a", quantity="2"),
            event("b", meter="tape"),
            Unreadable("c", InvalidInput("This line is not valid JSON.")),
            "d",
            event("a"),
            event("e", organization="nobody\0"),
        ],
        organization_id=None,
        now=NOW,
        and_then=lambda _: None,
    )
    assert stored.counts == {"accepted": 1, "duplicate": 1, "conflict": 1, "waiting": 1, "rejected": 3}
    first, conflict, waiting, unreadable, no_event, again, nobody = stored.results
    assert first == {"index": 0, "id": "a", "status": "accepted"}
    assert again == {"index": 5, "id": "a", "status": "duplicate"}
    assert conflict["status"] == "conflict"
    assert "first one stays" in conflict["message"]
    assert (waiting["id"], waiting["status"], waiting["field"]) == ("b", "waiting", "meter")
    assert (unreadable["id"], unreadable["field"], unreadable["message"]) == ("c", None, "This line is not valid JSON.")
    assert (no_event["id"], no_event["message"]) == (None, "An event is a JSON object.")
    assert (nobody["id"], nobody["field"]) == ("e", "organization")
    check_books(1)


def test_a_duplicate_key_is_known_from_any_server():
    def error(original: Exception) -> DBAPIError:
        return DBAPIError("INSERT", {}, original)

    assert is_duplicate(error(UniqueViolation()))
    assert is_duplicate(error(InternalError_("duplicate key value violates unique constraint")))
    assert not is_duplicate(error(InternalError_("out of memory")))


def test_what_is_known_is_forgotten_after_a_minute(app: Flask, meter: int, monkeypatch: pytest.MonkeyPatch):
    now = 1_000
    monkeypatch.setattr(known, "time", SimpleNamespace(monotonic_ns=lambda: now))
    monkeypatch.setitem(app.config, "TESTING", False)
    monkeypatch.delitem(app.extensions, "known_to_usage", raising=False)
    assert "acme" in known.known_organizations({"acme", "zeta"})
    make_organization("zeta")
    with transaction() as session:
        session.scalars(select(Organization).where(Organization.slug == "acme")).one().status = "suspended"
    assert known.known_organizations({"acme", "zeta"}).keys() >= {"acme", "zeta"}
    now += known.ORGANIZATIONS_FOR
    assert "acme" not in known.known_organizations({"acme", "zeta"})
    monkeypatch.delitem(app.extensions, "known_to_usage")


def test_what_meters_make_of_properties_is_known_until_one_changes(
    app: Flask, meter: int, monkeypatch: pytest.MonkeyPatch
):
    now = 1_000
    monkeypatch.setattr(known, "time", SimpleNamespace(monotonic_ns=lambda: now))
    monkeypatch.setitem(app.config, "TESTING", False)
    monkeypatch.delitem(app.extensions, "known_to_usage", raising=False)
    first = known.known_labels()
    now += known.METERS_FOR
    assert known.known_labels() is first
    make_meter("tape")
    assert (known.known_labels(), first.of_kind(("tape",))) == (first, None)
    now += known.METERS_FOR
    labels = known.known_labels().of_kind(("tape", ("region", "fra"), ("app", "shop")))
    assert labels is not None
    assert (labels.dimensions, labels.rest) == ({"region": "fra"}, {"app": "shop"})
    monkeypatch.delitem(app.extensions, "known_to_usage")


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_has_a_word_that_answers_count(outcome: Outcome):
    assert status_of(outcome) in STATUSES
