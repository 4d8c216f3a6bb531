"""What an event may say, and the sentence for what it may not."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from portal.catalog.models import Meter
from portal.core.errors import InvalidInput
from portal.infra.json_text import read_json
from portal.usage.events import Reader, UsageRecord

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
GOOD = {"id": "e-1", "organization": "acme", "meter": "disk", "quantity": "1.5", "time": "2026-11-01T00:00:00Z"}


@pytest.fixture
def reader() -> Reader:
    disk = Meter(id=7, code="disk", name="Disk", product="Storage", unit="GB", aggregation="sum", dimensions=["region"])
    return Reader({"disk": disk}, now=NOW, organization_id=None, organizations={"acme": 1})


def read(reader: Reader, **change: Any) -> UsageRecord:
    return reader.read({**GOOD, **change})


def test_a_good_event_is_read_exactly(reader: Reader):
    record = read(reader, time="2026-11-01T02:00:00+02:00", properties={"region": "fra", "app": "shop"})
    assert (record.organization_id, record.meter_id, record.quantity) == (1, 7, Decimal("1.5"))
    assert record.occurred_at == datetime(2026, 11, 1, tzinfo=UTC)
    assert (record.dimensions, record.properties) == ({"region": "fra"}, {"app": "shop"})
    assert (record.source, record.correction) == ("api", False)


@pytest.mark.parametrize(
    "quantity",
    [
        "NaN",
        Decimal("NaN"),
        "sNaN",
        "Infinity",
        Decimal("-Infinity"),
        "-1",
        Decimal(-1),
        True,
        None,
        [],
        "",
        "one",
        "1,5",
        10**29,
        "123456789012345678901234567890",
        "1e400",
        Decimal("1e400"),
        "1e15",
        "0.0000000000001",
        "9" * 5000,
        1.5,
    ],
)
def test_a_quantity_that_is_none_is_refused(reader: Reader, quantity: Any):
    with pytest.raises(InvalidInput, match="quantity") as refused:
        read(reader, quantity=quantity)
    assert refused.value.field == "quantity"


@pytest.mark.parametrize(
    ("quantity", "stored"),
    [
        ("-0", "0"),
        (0, "0"),
        ("0.000000000001", "1E-12"),
        ("9" * 15, "9" * 15),
        (Decimal("25"), "25"),
    ],
)
def test_quantities_at_the_edges_are_taken(reader: Reader, quantity: Any, stored: str):
    record = read(reader, quantity=quantity)
    assert record.quantity == Decimal(stored)
    assert not record.quantity.is_signed()


def test_only_a_correction_may_be_negative(reader: Reader):
    assert read(reader, quantity="-2", correction=True).quantity == -2


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": ""}, "id"),
        ({"id": None}, "id"),
        ({"id": 5}, "id"),
        ({"id": "x" * 256}, "id"),
        ({"id": "nul\0"}, "id"),
        ({"id": "\ud800"}, "id"),
        ({"source": "\udfff"}, "source"),
        ({"meter": "tape"}, "meter"),
        ({"organization": "nobody"}, "organization"),
        ({"organization": None}, "organization"),
        ({"time": "2026-11-01T00:00:00"}, "time"),
        ({"time": "0001-01-01T00:00:00Z"}, "time"),
        ({"time": "0001-01-01T00:00:00+14:00"}, "time"),
        ({"time": "9999-12-31T23:59:59-14:00"}, "time"),
        ({"time": "2026-11-24T00:00:00Z"}, "time"),
        ({"time": "2026-02-30T00:00:00Z"}, "time"),
        ({"time": 1764547200}, "time"),
        ({"colour": "red"}, "colour"),
        ({"correction": "yes"}, "correction"),
        ({"properties": []}, "properties"),
        ({"properties": {"": "x"}}, "properties"),
        ({"properties": {"app": 5}}, "app"),
        ({"properties": {"app": "\0"}}, "app"),
        ({"properties": {"app": "x" * 256}}, "app"),
        ({"properties": {f"p{number}": "x" for number in range(33)}}, "properties"),
    ],
)
def test_a_field_that_does_not_fit_is_named(reader: Reader, change: dict[str, Any], field: str):
    with pytest.raises(InvalidInput) as refused:
        read(reader, **change)
    assert refused.value.field == field


@pytest.mark.parametrize("document", [None, [], "event", 5])
def test_only_an_object_is_an_event(reader: Reader, document: Any):
    with pytest.raises(InvalidInput, match="JSON object"):
        reader.read(document)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"a": 1, "a": 2}', b'[{"a": {"b": 1, "b": 1}}]', b"[" * 100_000]
)
def test_json_is_read_strictly(body: bytes):
    with pytest.raises(InvalidInput):
        read_json(body)


def test_numbers_in_json_lose_no_digit():
    assert read_json(b"[0.1, 12345678901234567890.123456789012]") == [
        Decimal("0.1"),
        Decimal("12345678901234567890.123456789012"),
    ]
