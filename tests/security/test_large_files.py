"""Files without a bound: written while they are read, in a memory that does not grow with them."""

import csv
import io
import tracemalloc
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from portal.infra import audit_reading
from portal.infra.pages import ROWS_AT_ONCE, csv_streamed
from tests.factories import acting, sql
from tests.full import FULL
from tests.web.conftest import as_person, world

__all__ = ["as_person", "world"]
ROWS = 5_000_000 if FULL else 50_000
TEXT = "=a text of some length, as a description is " * 4


def test_a_long_table_takes_no_more_memory_than_a_short_one(app: Flask) -> None:
    peaks = []
    for number in (2 * ROWS_AT_ONCE, ROWS):
        with app.test_request_context():
            rows = ((each, TEXT, None) for each in range(number))
            tracemalloc.start()
            response = csv_streamed("long", ("number", "text", "nothing"), rows)
            size = sum(len(part) for part in response.response)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert size > number * len(TEXT)
    assert peaks[1] < 1.5 * peaks[0]
    assert peaks[1] < size / 2


def test_the_audit_log_is_read_block_after_block_and_is_whole(
    app: Flask, as_person: Callable[[str], FlaskClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_reading, "ENTRIES_AT_ONCE", 3)
    staff = as_person("staff@example.com")
    rows = list(csv.DictReader(io.StringIO(staff.get("/admin/audit.csv").text.removeprefix("\ufeff"))))
    with acting(app):
        expected = [action for (action,) in sql("SELECT action FROM audit_entries ORDER BY id DESC")]
    assert len(expected) > 6
    assert [row["action"] for row in rows] == expected
    mine = as_person("owner@acme.example").get("/settings/activity.csv").text.splitlines()[1:]
    with acting(app):
        [(entries,)] = sql("SELECT count(*) FROM audit_entries JOIN organizations o ON o.id = organization_id"
                           " WHERE slug = 'acme'")  # fmt: skip
    assert len(mine) == entries > 3
