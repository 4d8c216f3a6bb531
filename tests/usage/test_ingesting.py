"""Events are stored exactly once and always add up to their rollups."""

from collections.abc import Iterator
from decimal import Decimal

import pytest
from flask import Flask
from sqlalchemy import select

from portal.core.periods import Month
from portal.infra.db import transaction
from portal.usage.events import Reader, UsageRecord
from portal.usage.ingesting import Outcome, ingest
from portal.usage.models import UsageDaily
from portal.usage.queries import usage_by_series
from portal.usage.recounting import recount_differences
from tests.factories import NOW, acting, make_meter, make_organization

OCTOBER = Month(2026, 10)


@pytest.fixture
def reader(app: Flask, clean_database: None) -> Iterator[Reader]:
    with acting(app):
        organizations = {slug: make_organization(slug).id for slug in ("acme", "zeta")}
        meter = make_meter("disk")
        yield Reader({"disk": meter}, now=NOW, organization_id=None, organizations=organizations)


def event(reader: Reader, event_id: str, quantity: str = "1", **change: object) -> UsageRecord:
    document = {"id": event_id, "organization": "acme", "meter": "disk", "time": "2026-10-10T08:00:00Z"}
    return reader.read({**document, "quantity": quantity, "correction": quantity.startswith("-"), **change})


def send(*records: UsageRecord) -> list[Outcome]:
    with transaction():
        return ingest(records, now=NOW)


def total() -> Decimal:
    with transaction() as session:
        assert recount_differences() == []
        return sum(session.scalars(select(UsageDaily.quantity)), Decimal(0))


def test_the_same_batch_twice_is_stored_once(reader: Reader):
    batch = [event(reader, str(number), "0.1") for number in range(50)]
    assert set(send(*batch)) == {Outcome.ACCEPTED}
    assert set(send(*reversed(batch))) == {Outcome.DUPLICATE}
    assert total() == 5


def test_an_id_with_other_content_is_a_conflict_and_the_first_stays(reader: Reader):
    send(event(reader, "a", "1"))
    assert send(
        event(reader, "a", "2"),
        event(reader, "a", "1.000"),
        event(reader, "a", "1", time="2026-10-10T10:00:00+02:00"),
        event(reader, "a", "1", time="2026-10-10T10:00:00Z"),
        event(reader, "a", "1", properties={"app": "shop"}),
        event(reader, "a", "1", properties={"region": "fra"}),
    ) == [
        Outcome.CONFLICT,
        Outcome.DUPLICATE,
        Outcome.DUPLICATE,
        Outcome.CONFLICT,
        Outcome.CONFLICT,
        Outcome.CONFLICT,
    ]
    assert total() == 1


def test_within_one_batch_the_first_of_an_id_counts(reader: Reader):
    outcomes = send(event(reader, "a", "1"), event(reader, "a", "1"), event(reader, "a", "2"))
    assert outcomes == [Outcome.ACCEPTED, Outcome.DUPLICATE, Outcome.CONFLICT]
    assert total() == 1


def test_an_id_counts_once_per_organization_and_source(reader: Reader):
    records = [event(reader, "a"), event(reader, "a", organization="zeta"), event(reader, "a", source="files")]
    assert send(*records) == [Outcome.ACCEPTED] * 3
    assert total() == 3


def test_an_empty_batch_is_nothing(reader: Reader):
    assert send() == []


def test_the_month_holds_what_the_events_add_up_to(reader: Reader):
    send(
        event(reader, "a", "999999999999999", properties={"region": "fra"}),
        event(reader, "b", "0.000000000001", properties={"region": "fra"}),
        event(reader, "c", "-0.5", properties={"region": "ams"}, time="2026-10-31T23:59:59.999999Z"),
        event(reader, "d", "7", properties={"region": "ams"}, time="2026-11-01T00:00:00Z"),
    )
    with transaction():
        used = usage_by_series(event(reader, "x").organization_id, OCTOBER)
        assert recount_differences() == []
    assert {series.dimensions["region"]: series.quantity for series in used} == {
        "fra": Decimal("999999999999999.000000000001"),
        "ams": Decimal("-0.5"),
    }
