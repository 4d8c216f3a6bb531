"""Exports: their rows and sums are those of usage and invoices, made at once or by a worker, for their tenant only."""

import csv
import io
import json
import re
from datetime import date, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from portal.catalog.queries import meters_by_code
from portal.core.errors import NotFound
from portal.exports import making, of_usage
from portal.exports.keeping import cancel, export_of, progress_of, tidy_by_clock
from portal.exports.models import Export, ExportKind, ExportPart, ExportState
from portal.infra import clock, outbox
from portal.infra.db import tenant, transaction
from portal.organizations.queries import organization_by_id
from tests.factories import NOW, acting, make_organization, sql, use
from tests.web.conftest import as_person, assert_flawless, owner, post, world

__all__ = ["as_person", "owner", "world"]
PAGE = "/exports"
OCTOBER = {"first_day": "2026-10-01", "last_day": "2026-10-31", "meter": "", "where": ""}
ID = re.compile(r"/exports/([0-9a-f-]{36})/cancel")


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def ask(browser, kind: ExportKind, **more: str):
    return post(browser, PAGE, page=PAGE, **{**OCTOBER, "kind": kind.value, **more})


@pytest.fixture
def large(monkeypatch):
    """Everything is large, and the worker reads two events at a time and keeps each piece by itself."""
    monkeypatch.setattr(making, "MOST_UNITS_AT_ONCE", -1)
    monkeypatch.setattr(making, "BLOCK_BYTES", 1)
    monkeypatch.setattr(of_usage, "EVENTS_IN_A_PIECE", 2)


def use_more(app) -> None:
    """Acme's usage of October on several days, with texts that spreadsheets would take for formulas."""
    with acting(app):
        organization = organization_by_id(sql("SELECT id FROM organizations WHERE slug = 'acme'")[0][0])
        meter = meters_by_code()["machine_seconds"]
        for day in range(11, 16):
            use(organization, meter, "1.5", at=date(2026, 10, day), event_id=f"=cmd{day}", app="@evil")


def test_usage_by_day_comes_at_once_and_adds_up_to_what_is_billed(app, owner):
    use_more(app)
    page = owner.get(PAGE)
    assert_flawless(page)
    answer = ask(owner, ExportKind.USAGE_CSV)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="usage-csv-2026-10-01-2026-10-31.csv"'
    rows = rows_of(answer.text)
    assert sum(Decimal(row["Quantity"]) for row in rows) == Decimal("257.5")
    assert [row["Day"] for row in rows] == ["2026-10-10", *(f"2026-10-{day}" for day in range(11, 16))]
    assert rows[-1]["Dimensions"] == "app=@evil"
    only = rows_of(ask(owner, ExportKind.USAGE_CSV, where="app:@evil").text)
    assert [row["Quantity"] for row in only] == ["1.5"] * 5
    with acting(app):
        entry = sql("SELECT organization_id IS NOT NULL, after->>'kind' FROM audit_entries WHERE action LIKE 'asked%'")
    assert entry[0] == (True, "usage_csv")


def test_events_are_safe_in_spreadsheets_and_whole_as_json(app, owner):
    use_more(app)
    rows = rows_of(ask(owner, ExportKind.EVENTS_CSV).text)
    assert [row["Id"] for row in rows[1:]] == [f"'=cmd{day}" for day in range(11, 16)]
    lines = [json.loads(line) for line in ask(owner, ExportKind.EVENTS_JSONL).text.splitlines()]
    assert [line["id"] for line in lines[1:]] == [f"=cmd{day}" for day in range(11, 16)]
    assert {line["quantity"] for line in lines} == {"250", "1.5"}
    assert all("secret-app" not in json.dumps(line) for line in lines)


REFUSED = [
    ({"first_day": "2026-11-02", "last_day": "2026-11-01"}, "The last day is before the first."),
    ({"first_day": "2020-01-01"}, "at most three years"),
    ({"last_day": "2199-01-01"}, "Choose days from"),
    ({"first_day": "soon"}, "Not a valid date"),
    ({"where": "region"}, "Write a dimension and its value"),
    ({"kind": "focus_csv", "where": "app:x"}, "leave out meter and property"),
    ({"kind": "everything"}, "Not a valid choice"),
]


def test_what_cannot_be_exported_is_refused_with_a_sentence(owner):
    for change, sentence in REFUSED:
        answer = post(owner, PAGE, page=PAGE, **{**OCTOBER, "kind": "usage_csv", **change})
        assert (answer.status_code, sentence in answer.text) == (422, True), change
        assert_flawless(answer)


def test_a_large_export_is_made_by_a_worker_goes_on_after_a_kill_and_is_the_same_file(app, owner, large, monkeypatch):
    use_more(app)
    monkeypatch.setattr(making, "MOST_UNITS_AT_ONCE", 20_000)
    at_once = ask(owner, ExportKind.EVENTS_CSV).data
    monkeypatch.setattr(making, "MOST_UNITS_AT_ONCE", -1)
    assert ask(owner, ExportKind.EVENTS_CSV).status_code == 303
    page = owner.get(PAGE)
    assert "Waiting" in page.text
    address = ID.search(page.text)[1]
    assert owner.get(f"{PAGE}/{address}/file").status_code == 404
    with acting(app):
        # The worker dies before the second block is kept: what it had begun is nothing.
        kept = making._keep
        monkeypatch.setattr(making, "_keep", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            outbox.drain()
        assert sql("SELECT state FROM exports") == [("running",)]
        monkeypatch.setattr(making, "_keep", kept)
        sql("UPDATE outbox SET lease_until = NULL WHERE finished_at IS NULL")
        outbox.drain()
        [(state, rows, size, parts)] = sql("SELECT state, rows, size, (SELECT count(*) FROM export_parts) FROM exports")
    assert (state, rows, size) == ("done", 6, len(at_once))
    assert parts > 6
    page = owner.get(f"{PAGE}/list")
    assert "Ready" in page.text
    assert "hx-trigger" not in page.text
    answer = owner.get(f"{PAGE}/{address}/file")
    assert answer.data == at_once
    assert int(answer.headers["Content-Length"]) == len(at_once)
    assert_flawless(owner.get(PAGE))
    assert rows_of(owner.get("/exports.csv").text)[0]["Rows"] == "6"


def test_an_export_is_its_organizations_alone_and_charges_are_for_those_who_see_invoices(app, owner, as_person, large):
    ask(owner, ExportKind.FOCUS_CSV, first_day="2026-09-01")
    with acting(app):
        outbox.drain()
        public_id = sql("SELECT public_id FROM exports")[0][0]
        mine = sql("SELECT organization_id FROM exports")[0][0]
        rival = sql("SELECT id FROM organizations WHERE slug = 'rival'")[0][0]
        with pytest.raises(NotFound):
            export_of(rival, public_id)
    assert owner.get(f"{PAGE}/{public_id}/file").status_code == 200
    developer = as_person("developer@acme.example")
    assert developer.get(f"{PAGE}/{public_id}/file").status_code == 404
    assert post(developer, f"{PAGE}/{public_id}/cancel", page=PAGE).status_code == 404
    assert str(public_id) not in developer.get(PAGE).text
    assert ask(developer, ExportKind.FOCUS_CSV).status_code == 422
    assert owner.get(f"{PAGE}/{uuid4()}/file").status_code == 404
    with acting(app, tenant(rival)):
        assert sql("SELECT * FROM exports") == sql("SELECT * FROM export_parts") == []
    with acting(app, tenant(mine)):
        assert len(sql("SELECT * FROM exports")) == 1


def test_an_export_can_be_cancelled_and_expires_with_its_bytes(app, owner, large):
    ask(owner, ExportKind.USAGE_CSV)
    address = ID.search(owner.get(PAGE).text)[1]
    assert post(owner, f"{PAGE}/{address}/cancel", page=PAGE).status_code == 303
    with acting(app):
        outbox.drain()
        assert sql("SELECT state, (SELECT count(*) FROM export_parts) FROM exports") == [("cancelled", 0)]
    ask(owner, ExportKind.USAGE_CSV)
    with acting(app):
        outbox.drain()
        now = clock.now()
        assert tidy_by_clock(now=now, keep_days=7) == 1  # the cancelled one
        assert tidy_by_clock(now=now + timedelta(days=6), keep_days=7) == 0
        assert tidy_by_clock(now=now + timedelta(days=8), keep_days=7) == 1
        assert sql("SELECT count(*) FROM export_parts") == [(0,)]


def test_one_whose_job_has_died_says_so_and_too_many_wait(app, owner, large):
    for _ in range(5):
        assert ask(owner, ExportKind.USAGE_CSV).status_code == 303
    refused = ask(owner, ExportKind.USAGE_CSV)
    assert (refused.status_code, "5 exports are being made" in refused.text) == (409, True)
    with acting(app):
        sql("UPDATE outbox SET dead_at = now() WHERE kind = 'make_export'")
        tidy_by_clock(now=clock.now(), keep_days=7)
        assert sql("SELECT DISTINCT state FROM exports") == [("failed",)]
    assert "ask for it again" in owner.get(PAGE).text


def test_cancelling_waits_for_no_worker_and_a_worker_keeps_nothing_of_a_cancelled_one(app, owner, large, monkeypatch):
    """Cancel comes between reading a block and keeping it."""
    ask(owner, ExportKind.USAGE_CSV)
    real = making._read

    def read_slowly(organization_id, wish, reached):
        block = real(organization_id, wish, reached)
        [(public_id,)] = sql("SELECT public_id FROM exports")
        with transaction():
            cancel(organization_id, public_id, now=clock.now())
        return block

    monkeypatch.setattr(making, "_read", read_slowly)
    with acting(app):
        outbox.drain()
        assert sql("SELECT state, (SELECT count(*) FROM export_parts) FROM exports") == [("cancelled", 0)]


@pytest.mark.parametrize(
    ("state", "done", "seconds", "expected"),
    [
        ("waiting", 0, None, (0, 0, None)),
        ("running", 0, 10, (0, 0, None)),
        ("running", 250, 10, (25, 1500, 30)),
        ("running", 1_200, 10, (99, 7200, 0)),
        ("done", 900, 10, (100, 0, None)),
    ],
)
def test_progress_has_a_rate_and_the_time_left(state, done, seconds, expected):
    started = None if seconds is None else NOW - timedelta(seconds=seconds)
    export = Export(state=ExportState(state), units=1_000, units_done=done, started_at=started)
    progress = progress_of(export, now=NOW)
    assert (progress.percent, progress.a_minute, progress.seconds_left) == expected


def test_parts_of_two_organizations_are_apart(app, books):
    first, second = make_organization("one"), make_organization("two")
    for each in (first, second):
        with transaction() as session:
            export = Export(
                organization_id=each.id,
                kind=ExportKind.USAGE_CSV,
                first_day=date(2026, 10, 1),
                last_day=date(2026, 10, 1),
                asked_by="Ada",
                created_at=NOW,
            )
            session.add(export)
            session.flush()
            session.add(ExportPart(export_id=export.id, number=0, organization_id=each.id, content=b""))
    with acting(app, tenant(first.id)):
        assert sql("SELECT organization_id FROM export_parts") == [(first.id,)]


def test_events_that_are_archived_are_refused_at_once_and_end_a_large_export(app, owner, large, monkeypatch):
    with acting(app):
        sql(
            "INSERT INTO usage_archives (month, state, file_name, sha256, rows, archived_at, archived_by)"
            " VALUES ('2026-10-01', 'dropped', 'october.jsonl.gz', repeat('a', 64), 1, now(), 'Ada')"
        )
    ask(owner, ExportKind.EVENTS_CSV)
    with acting(app):
        outbox.drain()
        [(state, error)] = sql("SELECT state, last_error FROM exports")
    assert (state, "archived in october.jsonl.gz" in error) == ("failed", True)
    assert "archived in october.jsonl.gz" in owner.get(PAGE).text
    monkeypatch.setattr(making, "MOST_UNITS_AT_ONCE", 20_000)
    refused = ask(owner, ExportKind.EVENTS_CSV)
    assert (refused.status_code, "Choose other days" in refused.text) == (409, True)
    assert ask(owner, ExportKind.USAGE_CSV).status_code == 200
