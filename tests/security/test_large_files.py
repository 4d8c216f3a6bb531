"""Files without a bound: written while they are read, in a memory that does not grow with them."""

import csv
import io
import tracemalloc
from collections.abc import Callable

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from portal.infra import blocks
from portal.infra.pages import ROWS_AT_ONCE, csv_streamed
from tests.factories import acting, sql
from tests.full import FULL
from tests.security.crawling import make_world
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
    monkeypatch.setattr(blocks, "ROWS_AT_ONCE", 3)
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


def test_each_file_of_the_staff_is_the_same_in_small_blocks_as_in_one(
    app: Flask,
    clean_database: None,
    clean_redis: object,
    owner_connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = make_world(app, owner_connection)
    owner_connection.execute(
        "INSERT INTO stripe_events (event_id, type, livemode, payload) SELECT 'evt_' || n, 'invoice.paid', false, '{}'"
        " FROM generate_series(1, 3) n"
    )
    staff = next(each for each in both.callers if each.name == "admin").headers
    organization, run = both.mine.ids["organizations"][0], both.shared["bill_runs"]
    for path in (
        *("invoices.csv", "mails.csv", "sync/drift.csv", "sync/events.csv", "organizations.csv"),
        *(f"organizations/{organization}/audit.csv", f"runs/{run}/items.csv"),
    ):
        found = []
        for at_once in (1000, 1):
            monkeypatch.setattr(blocks, "ROWS_AT_ONCE", at_once)
            answer = app.test_client(use_cookies=False).get(f"/admin/{path}", headers=staff, buffered=True)
            assert answer.status_code == 200, path
            found.append(answer.text.splitlines())
        assert found[0] == found[1], path
        assert len(found[0]) > 2, path
