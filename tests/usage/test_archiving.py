"""A month's events leave the table for a file and come back: nothing is lost, counted twice, or counted again."""

import gzip
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from flask import Flask
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from portal import doctor
from portal.core.errors import InvalidInput, InvalidTransition, NotFound, NotReady
from portal.core.periods import Month
from portal.core.quantities import Aggregation as A
from portal.core.quantities import Counting
from portal.infra import clock
from portal.infra.db import db, tenant, transaction
from portal.usage import archive_files, archiving
from portal.usage.archive_files import Event, name_of, sha256_of
from portal.usage.archived import archive_sentence, archived_months
from portal.usage.archiving import ArchiveBroken, archive_month
from portal.usage.batches import store_documents
from portal.usage.events import Reader
from portal.usage.folding import fold_by_clock
from portal.usage.ingesting import Outcome, ingest
from portal.usage.levels import count_levels_on
from portal.usage.models import UsageEvent
from portal.usage.restoring import restore_file
from tests.factories import acting, finalize_now, make_draft, make_meter, make_organization, make_price, sql
from tests.full import every

OLD, NEXT = Month(2026, 1), Month(2026, 2)
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=OLD.start.tzinfo)
HEARD = OLD.end + timedelta(days=2)
# Of how many steps one is tried.
EVERY = every(4)
METERS = {
    "sum": Counting(),
    "count": Counting(A.COUNT),
    "max": Counting(A.MAX),
    "latest": Counting(A.LATEST),
    "users": Counting(A.UNIQUE, subject="user"),
    "level": Counting(A.LEVEL, per="hour"),
}
EVENTS = """
    SELECT organization_id, event_key, meter_id, series_id, occurred_at, recorded_at, correction, quantity, event_id,
           source, properties, counts, corrects
    FROM usage_events ORDER BY 1, 2
"""
DAILY = "SELECT * FROM usage_daily ORDER BY 1, 2, 3, 4"


@pytest.fixture
def books(app: Flask, clean_database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    monkeypatch.setattr(archive_files, "CHUNK_EVENTS", 7)
    with acting(app):
        yield app


class World:
    """Two organizations, a meter of each kind, and usage of two months with corrections of every sort."""

    def __init__(self) -> None:
        self.slugs = {slug: make_organization(slug).id for slug in ("acme", "umbrella")}
        self.meters = {code: make_meter(code, counting=counting) for code, counting in METERS.items()}
        self.documents = [
            event(number, meter, slug, user=f"u{number % 5}" if meter == "users" else None)
            for number, meter in enumerate(list(METERS) * 4)
            for slug in self.slugs
        ]
        self.documents += [
            event(100, "sum", "acme", at=NEXT.start),
            event(101, "level", "acme", at=NEXT.start + timedelta(days=3)),
            event(102, "sum", "acme", amends="e0"),
            event(103, "sum", "acme", amends="e102"),
            event(104, "sum", "acme", at=NEXT.start + timedelta(days=1), amends="e6"),
            event(105, "sum", "acme", amends="e104"),
            event(106, "level", "umbrella", amends="e5"),
            {"id": "e107", "organization": "acme", "cancels": "e2"},
            {"id": "e108", "organization": "umbrella", "cancels": "e4"},
            {"id": "e109", "organization": "umbrella", "cancels": "e0"},
            event(110, "sum", "acme", quantity="-0.5", correction=True),
        ]
        # Originals first, and what is heard of later on another day.
        for number, document in enumerate(self.documents):
            assert self.send([document], now=HEARD + timedelta(hours=number)) == [Outcome.ACCEPTED]
        with transaction():
            count_levels_on(NEXT.last_day, now=NEXT.end)
        fold_by_clock()

    def send(self, documents: list[dict], *, now: datetime = NOW) -> list[Outcome]:
        reader = Reader(self.meters, now=now, organization_id=None, organizations=self.slugs)
        with transaction():
            return ingest([reader.read(each) for each in documents], now=now)


def event(number: int, meter: str, slug: str, *, at: datetime | None = None, user: str | None = None, **more) -> dict:
    moment = at or OLD.start + timedelta(hours=17 * (number % 40), microseconds=number)
    properties = {"region": f"r{number % 2}", **({"user": user} if user else {}), "note": 'odd, "quoted" \\ ü\u2028'}
    quantity = {"quantity": str(number % 9) + ".125"} if meter != "users" else {}
    of_event = {"id": f"e{number}", "organization": slug, "meter": meter, "time": moment.isoformat()}
    return {**of_event, **quantity, "properties": properties, **more}


def archive(folder: Path, month: Month = OLD) -> int:
    return archive_month(month, folder, by="Ada", now=NOW, tell=lambda _: None)


def restore(folder: Path, month: Month = OLD) -> int:
    return restore_file(folder / name_of(month), tell=lambda _: None)


def broken() -> list[str]:
    with transaction():
        return [f"{each.rule}: {each.broken}" for each in doctor.examine() if each.broken]


def counts() -> tuple[int, int, int]:
    [row] = sql(
        "SELECT (SELECT count(*) FROM usage_events), (SELECT count(*) FROM archived_events),"
        " (SELECT count(*) FROM archived_events JOIN usage_events USING (organization_id, event_key))"
    )
    return tuple(row)


def keys_anywhere() -> set:
    return set(sql("SELECT organization_id, event_key FROM usage_events"
                   " UNION SELECT organization_id, event_key FROM archived_events"))  # fmt: skip


def test_a_month_leaves_the_table_and_comes_back_as_it_was(books, tmp_path):
    world = World()
    events, daily = sql(EVENTS), sql(DAILY)
    assert broken() == []
    archived = archive(tmp_path)
    stored, known, both = counts()
    # What stays: the next month, and e6 with its amendment there and the amendment of that.
    assert (stored, known, both) == (5, archived, 0)
    assert sorted(row[0] for row in sql("SELECT event_id FROM usage_events")) == ["e100", "e101", "e104", "e105", "e6"]
    assert stored + known == len(world.documents)
    assert sql(DAILY) == daily
    assert broken() == []
    with transaction():
        assert archived_months() == [OLD]
    assert restore(tmp_path) == archived
    assert sql(EVENTS) == events
    assert sql(DAILY) == daily
    assert counts() == (len(events), 0, 0)
    assert sql("SELECT count(*) FROM archived_daily") == [(0,)]
    assert sql("SELECT state FROM usage_archives") == [("restored",)]
    assert broken() == []


def test_the_file_has_every_column_and_the_manifest_says_what_is_in_it(books, tmp_path):
    World()
    before = {(row.organization_id, str(row.event_key)): row for row in sql(EVENTS)}
    rows = archive(tmp_path)
    path = tmp_path / name_of(OLD)
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert set(lines[0]) == set(UsageEvent.__table__.columns.keys()) == set(Event.__struct_fields__)
    for line in lines:
        row = before[line["organization_id"], line["event_key"]]
        assert line["properties"] == row.properties
        assert datetime.fromisoformat(line["recorded_at"]) == row.recorded_at
        assert (line["corrects"], line["counts"]) == (row.corrects and str(row.corrects), row.counts)
    manifest = json.loads((tmp_path / f"{path.name}.manifest.json").read_text())
    assert (manifest["rows"], manifest["sha256"]) == (rows, sha256_of(path)) == (len(lines), manifest["sha256"])
    summed = sum(row.quantity for row in before.values() if str(row.event_key) in {each["event_key"] for each in lines}
                 and row.meter_id == manifest["meters"][0]["id"] and (row.organization_id, str(row.event_key)) in
                 {(each["organization_id"], each["event_key"]) for each in lines})  # fmt: skip
    assert manifest["meters"][0] | {"quantity": str(summed.normalize())} == manifest["meters"][0]
    assert sorted(each.name for each in tmp_path.iterdir()) == [path.name, f"{path.name}.manifest.json"]


def test_whatever_is_sent_again_is_told_as_before(books, tmp_path):
    world = World()
    assert set(world.send(world.documents)) == {Outcome.DUPLICATE}
    archive(tmp_path)
    daily, there = sql(DAILY), counts()
    for documents in (world.documents, *([each] for each in world.documents), world.documents * 3):
        assert set(world.send(documents)) == {Outcome.DUPLICATE}
    changed = [each | {"quantity": "77"} for each in world.documents if "quantity" in each]
    assert set(world.send(changed)) == {Outcome.CONFLICT}
    today = [each | {"time": NOW.isoformat()} for each in changed]
    assert set(world.send(today)) == {Outcome.CONFLICT}
    cancelling = [{"id": "e107", "organization": "acme", "cancels": "e1"}]
    assert world.send(cancelling) == [Outcome.CONFLICT]
    assert (sql(DAILY), counts()) == (daily, there)
    new = [event(500 + number, "sum", "acme") for number in range(80)]
    assert world.send([*new, *world.documents, *new]) == (
        [Outcome.ACCEPTED] * 80 + [Outcome.DUPLICATE] * (len(world.documents) + 80)
    )
    assert broken() == []
    restore(tmp_path)
    assert set(world.send([*world.documents, *new])) == {Outcome.DUPLICATE}
    assert broken() == []


def test_a_process_that_knows_of_archives_looks_first(books, tmp_path, monkeypatch):
    world = World()
    archive(tmp_path)
    monkeypatch.setattr("portal.usage.ingesting.knows_of_archives", lambda: True)
    there = counts()
    new = [event(500 + number, "sum", "acme") for number in range(60)]
    assert world.send([*world.documents, *new]) == [Outcome.DUPLICATE] * len(world.documents) + [Outcome.ACCEPTED] * 60
    assert set(world.send(new)) == {Outcome.DUPLICATE}
    assert counts() == (there[0] + 60, *there[1:])
    assert broken() == []


def test_a_correction_of_an_archived_event_is_refused_with_a_sentence(books, tmp_path):
    world = World()
    archive(tmp_path)
    cancel = {"id": "c1", "organization": "acme", "cancels": "e12"}
    amend = event(200, "sum", "umbrella", amends="e6")
    unknown = {"id": "c2", "organization": "acme", "cancels": "never sent"}
    of_cancellation = {"id": "c3", "organization": "acme", "cancels": "e107"}
    assert world.send([cancel, amend, unknown, of_cancellation]) == [
        Outcome.ARCHIVED, Outcome.ARCHIVED, Outcome.NO_ORIGINAL, Outcome.NO_ORIGINAL,
    ]  # fmt: skip
    assert world.send([cancel]) == [Outcome.ARCHIVED]
    told = store_documents([cancel], organization_id=None, now=NOW, and_then=lambda _: None)
    assert told.results[0]["status"] == "rejected"
    assert told.results[0]["message"].startswith("That event, or its month, is archived; restore its month first")
    assert world.send([event(201, "sum", "acme", quantity="-3", correction=True)]) == [Outcome.ACCEPTED]
    assert broken() == []
    restore(tmp_path)
    assert world.send([cancel, amend]) == [Outcome.ACCEPTED, Outcome.ACCEPTED]
    assert broken() == []


def test_late_usage_of_an_archived_month_counts_and_is_corrected_where_no_archived_event_is_needed(books, tmp_path):
    world = World()
    archive(tmp_path)
    late = [event(300 + number, meter, "acme", user="new" if meter == "users" else None)
            for number, meter in enumerate(METERS)]  # fmt: skip
    assert set(world.send(late)) == {Outcome.ACCEPTED}
    assert broken() == []
    cancels = [{"id": f"x{each['id']}", "organization": "acme", "cancels": each["id"]} for each in late]
    outcomes = dict(zip(METERS, world.send(cancels), strict=True))
    refused = {meter for meter, outcome in outcomes.items() if outcome is Outcome.ARCHIVED}
    assert refused == {"max", "latest", "users"}
    assert {outcomes[meter] for meter in METERS.keys() - refused} == {Outcome.ACCEPTED}
    beside = [event(400, "max", "acme"), {"id": "x400", "organization": "acme", "cancels": "e400"}]
    assert world.send(beside) == [Outcome.ACCEPTED, Outcome.ARCHIVED]
    assert broken() == []
    with pytest.raises(InvalidTransition, match="archived already, in usage-2026-01"):
        archive(tmp_path)
    restore(tmp_path)
    assert broken() == []
    outcomes = dict(zip(METERS, world.send(cancels), strict=True))
    assert {meter for meter, outcome in outcomes.items() if outcome is Outcome.ACCEPTED} == refused
    assert broken() == []


def test_both_months_in_any_order(books, tmp_path):
    world = World()
    events = sql(EVENTS)
    for first, then in ((OLD, NEXT), (NEXT, OLD)):
        archive(tmp_path, first)
        archive(tmp_path, then)
        assert broken() == []
        assert set(world.send(world.documents)) == {Outcome.DUPLICATE}
        restore(tmp_path, first)
        assert broken() == []
        restore(tmp_path, then)
        assert sql(EVENTS) == events
        for path in tmp_path.iterdir():
            path.unlink()


def killed_at(number: int, function: Callable[[], object]) -> bool:
    """Run a function in a process of its own that is killed at its so-manieth step; whether it was killed.

    A step is a file that is synced or named, the moment before a commit and the moment after it.
    """
    child = os.fork()
    if child == 0:
        left = [number]

        def step(*_: object) -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            # The parent's connections stay open, and nobody here may end them.
            pool = db.engine.pool
            db.engine.dispose(close=False)
            assert db.engine.pool is not pool
            for name in ("before_commit", "after_commit"):
                sqlalchemy_event.listen(Session, name, step)
            for name in ("fsync", "replace"):
                _also(name, step)
            function()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed by itself"
    return os.WIFSIGNALED(status)


def _also(name: str, step: Callable[[], None]) -> None:
    real = getattr(os, name)

    def stepping(*values: object) -> None:
        step()
        real(*values)
        step()

    setattr(os, name, stepping)


@pytest.mark.fault
def test_whoever_is_killed_while_archiving_or_restoring_loses_and_doubles_nothing(books, tmp_path, monkeypatch):
    monkeypatch.setattr(archive_files, "CHUNK_EVENTS", 20)
    world = World()
    events, daily, everything = sql(EVENTS), sql(DAILY), keys_anywhere()
    db.session.remove()

    def check() -> None:
        assert broken() == []
        assert keys_anywhere() == everything
        assert sql(DAILY) == daily
        assert set(world.send(world.documents)) == {Outcome.DUPLICATE}
        db.session.remove()

    archiving_steps = restoring_steps = 1 - EVERY
    killed = True
    while killed:
        archiving_steps += EVERY
        killed = killed_at(archiving_steps, lambda: archive(tmp_path))
        check()
        if killed and not sql("SELECT FROM usage_archives WHERE state = 'dropped'"):
            archive(tmp_path)
        check()
        assert counts()[2] == 0
        assert counts()[1] == len(events) - 5
        restore(tmp_path)
        assert sql(EVENTS) == events
        _empty(tmp_path)
    killed = True
    archive(tmp_path)
    db.session.remove()
    while killed:
        restoring_steps += EVERY
        killed = killed_at(restoring_steps, lambda: restore(tmp_path))
        check()
        if not sql("SELECT FROM usage_archives WHERE state = 'restored'"):
            restore(tmp_path)
        check()
        assert sql(EVENTS) == events
        assert counts()[1:] == (0, 0)
        _empty(tmp_path)
        archive(tmp_path)
        db.session.remove()
    assert archiving_steps > 30
    assert restoring_steps > 15


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    db.session.remove()


@pytest.mark.fault
def test_a_restore_takes_back_an_archive_that_was_killed_while_it_dropped(books, tmp_path):
    World()
    events = sql(EVENTS)
    db.session.remove()
    number = 1
    while not sql("SELECT FROM archived_events LIMIT 1") or counts()[2] in (0, counts()[1]):
        db.session.remove()
        assert killed_at(number, lambda: archive(tmp_path))
        number += 1
    assert broken() == []
    restore(tmp_path)
    assert sql(EVENTS) == events
    assert broken() == []


@pytest.mark.fault
def test_senders_while_events_leave_and_come_back_are_told_duplicate_every_time(books, tmp_path, monkeypatch):
    monkeypatch.setattr(archive_files, "CHUNK_EVENTS", 3)
    world = World()
    events, daily = sql(EVENTS), sql(DAILY)
    finished, told, failures = threading.Event(), [], []

    def sender(seed: int) -> None:
        with acting(books):
            chance = Random(seed)
            while not finished.is_set():
                documents = chance.sample(world.documents, chance.choice((1, 4, len(world.documents))))
                try:
                    told.append(set(world.send(documents)))
                except BaseException as error:
                    failures.append(error)
                    return

    threads = [threading.Thread(target=sender, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            archive(tmp_path)
            restore(tmp_path)
            _empty(tmp_path)
        archive(tmp_path)
    finally:
        finished.set()
        for thread in threads:
            thread.join(60)
    assert failures == []
    assert len(told) > 10
    assert set.union(*told) == {Outcome.DUPLICATE}
    assert sql(DAILY) == daily
    assert counts()[0] == 5
    restore(tmp_path)
    assert sql(EVENTS) == events
    assert broken() == []


def test_nothing_is_deleted_while_a_transaction_runs_that_may_not_know_that_it_is_archived(books, tmp_path):
    """It has read that there are no archives, and stores an event after all others have been deleted."""
    world = World()
    reader = Reader(world.meters, now=NOW, organization_id=None, organizations=world.slugs)
    archiver = threading.Thread(target=_archiving, args=(books, tmp_path))
    with transaction():
        assert ingest([reader.read(event(600, "sum", "acme"))], now=NOW) == [Outcome.ACCEPTED]
        archiver.start()
        while archiver.is_alive() and _seen_by_others(books, "SELECT count(*) FROM archived_events WHERE counts") < 30:
            archiver.join(0)
        archiver.join(1)
        assert archiver.is_alive()
        assert _seen_by_others(books, "SELECT count(*) FROM usage_events") == len(world.documents)
        again = [reader.read(each) for each in world.documents]
        assert set(ingest(again, now=NOW)) == {Outcome.DUPLICATE}
    archiver.join(30)
    assert not archiver.is_alive()
    assert counts()[0] == 6
    assert broken() == []


def _archiving(app: Flask, folder: Path) -> None:
    with acting(app):
        archive(folder)


def _seen_by_others(app: Flask, query: str) -> int:
    found: list[int] = []

    def look() -> None:
        with acting(app):
            found.append(sql(query)[0][0])

    thread = threading.Thread(target=look)
    thread.start()
    thread.join(10)
    return found[0]


def test_a_file_that_was_changed_is_refused(books, tmp_path):
    World()
    archive(tmp_path)
    path = tmp_path / name_of(OLD)
    there, content = counts(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InvalidInput, match="not the file of an archived month, or it was changed"):
        restore(tmp_path)
    assert counts() == there
    path.write_bytes(content)
    restore(tmp_path)
    assert broken() == []


def test_nothing_is_deleted_by_a_file_that_was_changed_before_the_events_were(books, tmp_path, monkeypatch):
    World()
    events = sql(EVENTS)
    monkeypatch.setattr(archiving, "wait_for_writers", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        archive(tmp_path)
    monkeypatch.undo()
    path = tmp_path / name_of(OLD)
    content = path.read_bytes()
    path.write_bytes(gzip.compress(gzip.decompress(content).replace(b"r0", b"r1")))
    with pytest.raises(ArchiveBroken, match="Nothing was deleted"):
        archive(tmp_path)
    assert sql(EVENTS) == events
    path.write_bytes(content)
    archive(tmp_path)
    assert broken() == []


def test_a_file_that_does_not_say_what_the_table_says_is_found_out(books, tmp_path, monkeypatch):
    World()
    events = sql(EVENTS)
    real = archiving._lines
    monkeypatch.setattr(
        archiving, "_lines", lambda month: (line.replace("1.125", "1.1250000000001") for line in real(month))
    )
    with pytest.raises(ArchiveBroken, match="does not say what the table says"):
        archive(tmp_path)
    assert sql(EVENTS) == events
    assert broken() == []


def test_the_file_of_somebody_else_is_not_written_over(books, tmp_path):
    World()
    (tmp_path / name_of(OLD)).write_bytes(b"precious")
    with pytest.raises(InvalidInput, match="is there already"):
        archive(tmp_path)
    assert (tmp_path / name_of(OLD)).read_bytes() == b"precious"
    with pytest.raises(NotFound, match="no events of 2025-03"):
        archive(tmp_path, Month(2025, 3))
    with archive_files.held(tmp_path), pytest.raises(NotReady, match="Another process"):
        archive(tmp_path, NEXT)


def test_a_tenant_sees_where_events_are_and_only_its_own_keys(app, books, tmp_path):
    world = World()
    archive(tmp_path)
    with acting(app, tenant(world.slugs["acme"])):
        for table in ("archived_events", "archived_daily"):
            assert sql(f"SELECT DISTINCT organization_id FROM {table}") == [(world.slugs["acme"],)]
        with transaction():
            sentence = archive_sentence(OLD)
            assert archive_sentence(NEXT) is None
        for statement in ("SELECT rows FROM usage_archives", "SELECT archived_by FROM usage_archives",
                          "DELETE FROM archived_events", "UPDATE archived_events SET counts = true",
                          "INSERT INTO archived_events SELECT * FROM archived_events",
                          "UPDATE usage_archives SET state = 'dropped'"):  # fmt: skip
            with pytest.raises(ProgrammingError, match="permission denied"):
                sql(statement)
        own = [each for each in world.documents if each["organization"] == "acme"]
        assert set(world.send(own)) == {Outcome.DUPLICATE}
        assert world.send([{"id": "c1", "organization": "acme", "cancels": "e12"}]) == [Outcome.ARCHIVED]
    digest = sha256_of(tmp_path / name_of(OLD))
    assert sentence == f"The events of this month are archived in {name_of(OLD)} (SHA-256 {digest})."


def test_the_commands_archive_only_months_that_are_final_and_old_enough(app, books, tmp_path, runner, monkeypatch):
    world = World()
    for meter in world.meters.values():
        make_price(meter)
    monkeypatch.setattr(clock, "now", lambda: NOW)
    acme = make_organization("later")

    def run(*words: str) -> tuple[int, str]:
        result = runner.invoke(args=["usage", *words])
        return result.exit_code, " ".join(result.output.split())

    assert run("archive", "--month", "2026-08", "--to", str(tmp_path)) == (
        1, "2026-08 can be archived from 2026-12 on (ARCHIVE_AFTER_MONTHS is 3).",
    )  # fmt: skip
    assert "Say which" in run("archive", "--to", str(tmp_path))[1]
    with acting(app):
        [draft] = [make_draft(each, OLD) for each in _organizations("acme")]
        make_draft(acme, OLD)
    assert run("archive", "--month", "2026-01", "--to", str(tmp_path)) == (
        1, "Not every invoice of 2026-01 is final: acme.",
    )  # fmt: skip
    with acting(app):
        finalize_now(draft)
    code, said = run("archive", "--before", "2026-08", "--to", str(tmp_path))
    assert code == 0, said
    assert f"events of 2026-01 are archived. Writing {tmp_path}/usage-2026-02" in said
    assert sorted(path.name for path in tmp_path.glob("*.gz")) == [name_of(OLD), name_of(NEXT)]
    assert run("archive", "--before", "2026-08", "--to", str(tmp_path)) == (
        0, "There is no usage before 2026-08 that is not archived.",
    )  # fmt: skip
    code, said = run("archives")
    assert code == 0
    assert said.count("dropped") == 2
    assert sha256_of(tmp_path / name_of(OLD)) in said
    doctor_said = runner.invoke(args=["billing", "doctor"])
    assert "The events of 2 months are archived" in " ".join(doctor_said.output.split())
    assert run("restore", str(tmp_path / name_of(OLD)))[0] == 0
    assert run("restore", str(tmp_path / name_of(OLD)))[0] == 1
    with acting(app):
        assert broken() == []
        assert sql("SELECT DISTINCT actor_name <> '' FROM audit_entries WHERE subject_kind = 'usage archive'") == [
            (True,)
        ]


def _organizations(*slugs: str):
    from portal.organizations.models import Organization

    with transaction() as session:
        return list(session.query(Organization).where(Organization.slug.in_(slugs)))
