"""Usage from plain files: CSV and JSON lines, packed or from standard input, with rows that do not fit."""

import csv
import gzip
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import select

from portal.core.exact import plain
from portal.infra.db import transaction
from portal.usage.models import UsageEvent
from portal.usage.plain_events import PlainBatch
from portal.usage.recounting import recount_differences
from portal.usage.sources import storing, storing_blocks
from portal.usage.sources.files import LONGEST_LINE
from tests.factories import acting, make_meter, make_organization, sql

HEADER = "id,organization,meter,quantity,time,source,correction,region,app\n"
GOOD = HEADER + (
    "a,acme,disk,1.5,2026-10-01T00:00:00Z,,,fra,shop\n"
    "b,acme,disk,-0.5,2026-10-02T00:00:00Z,probe,true,fra,\n"
    '"c",acme,disk,2,2026-10-03T00:00:00Z,,false,,"with ""quotes"" and, a comma"\n'
)


@pytest.fixture
def _acme(app: Flask, clean_database: None) -> Iterator[None]:
    with acting(app):
        make_organization("acme")
        make_meter("disk")
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _acme: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(runner: FlaskCliRunner, file: str, kind: str, *more: str, piped: str | bytes | None = None) -> Result:
    return runner.invoke(args=["usage", "import", file, "--format", kind, *more], input=piped)


def waiting() -> dict[str, tuple[str, dict[str, object]]]:
    return {row[0]: (row[1], row[2]) for row in sql("SELECT event_id, meter_code, document FROM waiting_events")}


def events() -> dict[str, tuple[str, str, dict[str, str] | None]]:
    with transaction() as session:
        assert recount_differences() == []
        return {
            event.event_id: (plain(event.quantity), event.source, event.properties)
            for event in session.scalars(select(UsageEvent))
        }


def rejects(path: Path) -> list[tuple[str, str, str]]:
    csv.field_size_limit(1_000_000)
    with path.open(newline="", errors="surrogateescape") as stream:
        return [(row[0], row[1], row[2]) for row in list(csv.reader(stream))[1:]]


def test_csv_columns_are_fields_and_all_others_properties(runner: FlaskCliRunner, folder: Path):
    (folder / "usage.csv").write_text("\ufeff" + GOOD)
    result = run(runner, "usage.csv", "csv")
    assert result.exit_code == 0, result.output
    assert events() == {
        "a": ("1.5", "api", {"app": "shop"}),
        "b": ("-0.5", "probe", None),
        "c": ("2", "api", {"app": 'with "quotes" and, a comma'}),
    }
    assert not (folder / "usage.csv.rejects.csv").exists()


def test_a_second_run_stores_nothing_twice(runner: FlaskCliRunner, folder: Path):
    (folder / "usage.csv").write_text(GOOD)
    assert "3 events stored, 0 were there already." in run(runner, "usage.csv", "csv").output
    assert "0 events stored, 3 were there already." in run(runner, "usage.csv", "csv").output
    assert len(events()) == 3


def test_a_source_keeps_the_ids_of_two_systems_apart(runner: FlaskCliRunner, folder: Path):
    (folder / "usage.csv").write_text("id,organization,meter,quantity,time\na,acme,disk,1,2026-10-01T00:00:00Z\n")
    run(runner, "usage.csv", "csv")
    assert "1 events stored" in run(runner, "usage.csv", "csv", "--source", "west").output


@pytest.mark.usefixtures("folder")
def test_standard_input_is_read_too(runner: FlaskCliRunner):
    result = run(runner, "-", "csv", piped=GOOD)
    assert result.exit_code == 0, result.output
    assert len(events()) == 3


def test_a_packed_file_is_unpacked_and_a_damaged_one_said_so(runner: FlaskCliRunner, folder: Path):
    packed = gzip.compress(GOOD.encode())
    (folder / "usage.csv.gz").write_bytes(packed)
    assert run(runner, "usage.csv.gz", "csv").exit_code == 0
    assert len(events()) == 3
    (folder / "unnamed").write_bytes(packed)
    assert "3 were there already" in run(runner, "unnamed", "csv").output
    assert "3 were there already" in run(runner, "-", "csv", piped=packed).output
    (folder / "cut.csv.gz").write_bytes(packed[:-12])
    result = run(runner, "cut.csv.gz", "csv")
    assert result.exit_code == 2
    assert "cannot be unpacked to its end" in result.output


def test_rows_that_do_not_fit_are_named_and_the_others_stored(runner: FlaskCliRunner, folder: Path):
    when = "2026-10-01T00:00:00Z"
    (folder / "usage.csv").write_bytes(
        GOOD.encode()
        + f"d,acme,disk,NaN,{when},,,,\n"
        f"e,nobody,disk,1,{when},,,,\n"
        f"f,acme,tape,1,{when},,,,\n"
        "g,acme,disk,1,2026-10-01,,,,\n"
        f"h,acme,disk,-1,{when},,,,\n"
        f"i,acme,disk,1,{when},,perhaps,,\n"
        f"j,acme,disk,1,{when}\n"
        f"a,acme,disk,9,{when},,,fra,shop\n"
        "\n"
        f",acme,disk,1,{when},,,,\n".encode()
        + f"k,acme,disk,1,{when},,,,\xff\n".encode("latin-1")
        + f"l,acme,disk,1,{when},,,,{'x' * 200_000}\nm,acme,disk,1,{when},,,,\n".encode()
    )
    result = run(runner, "usage.csv", "csv", "--rejects", "broken.csv", "--refuse-unknown")
    assert result.exit_code == 1
    assert rejects(folder / "broken.csv") == [
        ("5", "d", "quantity"),
        ("6", "e", "organization"),
        ("7", "f", "meter"),
        ("8", "g", "time"),
        ("9", "h", "quantity"),
        ("10", "i", "correction"),
        ("11", "", ""),
        ("12", "a", "id"),
        ("14", "", "id"),
        ("15", "k", "app"),
        ("16", "", ""),
    ]
    assert set(events()) == {"a", "b", "c", "m"}
    assert "11 rows were rejected; mend them there and import that file." in result.output


def test_json_lines_take_properties_in_and_beside(runner: FlaskCliRunner, folder: Path):
    good = '"organization": "acme", "meter": "disk", "time": "2026-10-01T00:00:00Z"'
    (folder / "usage.jsonl").write_text(
        f'{{"id": "a", "quantity": 1.25, {good}, "properties": {{"region": "fra"}}, "app": "shop"}}\n\n'
        f'{{"id": "b", "quantity": "2", {good}}}\r\n'
        f'{{"id": "c", "id": "d", "quantity": 1, {good}}}\n'
        f'{{"id": "e", "quantity": NaN, {good}}}\n'
        f'{{"id": "f", "quantity": 1, {good}, "properties": {{"app": "x"}}, "app": "y"}}\n'
        f'{{"id": "g", "quantity": 1, {good}, "size": 5}}\n'
        "[]\n" + "x" * (LONGEST_LINE + 5) + "\n"
        f'{{"id": "h", "quantity": 3, {good}}}'
    )
    result = run(runner, "usage.jsonl", "jsonl")
    assert result.exit_code == 1
    assert events() == {"a": ("1.25", "api", {"app": "shop"}), "b": ("2", "api", None), "h": ("3", "api", None)}
    notes = [json.loads(line) for line in (folder / "usage.jsonl.rejects.jsonl").read_text().splitlines()[::2]]
    assert [(note["rejected_row"], note["rejected_field"]) for note in notes] == [
        ("4", ""),
        ("5", "quantity"),
        ("6", "app"),
        ("7", "size"),
        ("8", ""),
        ("9", ""),
    ]


@pytest.mark.parametrize(
    ("content", "kind", "sentence"),
    [
        (None, "csv", "usage.txt cannot be read: No such file or directory."),
        ("", "csv", "The file is empty."),
        ("\n\n", "csv", "The file is empty."),
        ("", "jsonl", "The file is empty."),
        (HEADER, "csv", "The file has a header and no rows."),
        ("id,meter\n1,2\n", "csv", "The file has no column organization, quantity, time."),
        ("id,id,organization,meter,quantity,time\n", "csv", "The file has the column id twice."),
        (HEADER.replace(",", ";"), "csv", "Its columns seem to be separated by semicolons; say so in a mapping file"),
        ("[\n{}\n]\n", "jsonl", "The file is one JSON array; write one object a line"),
        (b"PK\x03\x04...", "csv", "is a ZIP archive or a spreadsheet; unpack it, or save it as CSV."),
        (HEADER.encode("utf-16"), "csv", "is UTF-16 text; save it as UTF-8."),
        (b"PAR1...", "jsonl", "is a Parquet file"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence_and_exit_code_2(
    runner: FlaskCliRunner, folder: Path, content: str | bytes | None, kind: str, sentence: str
):
    if content is not None:
        (folder / "usage.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    result = run(runner, "usage.txt", kind)
    assert result.exit_code == 2
    assert sentence in result.output
    assert events() == {}


def test_what_is_written_never_replaces_what_is_read(runner: FlaskCliRunner, folder: Path):
    (folder / "usage.csv").write_text(GOOD)
    result = run(runner, "usage.csv", "csv", "--rejects", "./usage.csv")
    assert result.exit_code == 2
    assert (folder / "usage.csv").read_text() == GOOD


def test_a_place_that_cannot_be_written_is_said_before_anything_is_stored(runner: FlaskCliRunner, folder: Path):
    (folder / "usage.csv").write_text(GOOD)
    result = run(runner, "usage.csv", "csv", "--rejects", "no/such/folder.csv")
    assert result.exit_code == 2
    assert "no/such/folder.csv cannot be written" in result.output
    assert events() == {}


def test_a_folder_and_a_file_that_is_not_packed_are_said(runner: FlaskCliRunner, folder: Path):
    (folder / "folder").mkdir()
    assert "folder cannot be read: Is a directory." in run(runner, "folder", "csv").output
    (folder / "plain.csv.gz").write_text(GOOD)
    assert "plain.csv.gz ends in .gz and is not packed with gzip." in run(runner, "plain.csv.gz", "csv").output


def test_a_dry_run_says_what_would_happen_and_stores_nothing(runner: FlaskCliRunner, folder: Path):
    (folder / "usage.csv").write_text(GOOD + "d,acme,tape,1,2026-10-03T00:00:00Z,,,,\n")
    result = run(runner, "usage.csv", "csv", "--dry-run", "--refuse-unknown")
    assert "3 events can be stored. Nothing was." in result.output
    for line in ("disk │ 3 │ 3", "acme │ 3", "2026-10-01 │ 1", "2026-10-02 │ 1", "There is no meter “tape”"):
        assert line in re.sub(r" +", " ", result.output)
    assert result.exit_code == 1
    result = run(runner, "usage.csv", "csv", "--dry-run")
    for line in (
        "disk │ 3 │ 3",
        "acme │ 3",
        "Meter that does not exist",
        "tape │ 1",
        "Would wait for meters that do not exist: 1 more",
    ):
        assert line in re.sub(r" +", " ", result.output)
    assert result.exit_code == 0
    assert events() == {}
    assert waiting() == {}
    run(runner, "usage.csv", "csv")
    assert "0 events can be stored, 4 are there already." in run(runner, "usage.csv", "csv", "--dry-run").output


def test_rejected_rows_of_csv_are_mended_and_imported_from_their_own_file(runner: FlaskCliRunner, folder: Path):
    (folder / "usage.csv").write_bytes(
        GOOD.encode()
        + b'd,acme,tape,1,2026-10-01T00:00:00Z,,,"a, ""b""\nc",shop\n'
        + b"e,acme,disk,x,2026-10-01T00:00:00Z,,,,caf\xe9\n"
        + b"f,acme,disk,1,2026-10-01T00:00:00Z\n"
    )
    assert run(runner, "usage.csv", "csv", "--refuse-unknown").exit_code == 1
    rejected = folder / "usage.csv.rejects.csv"
    written = rejected.read_bytes()
    assert written.splitlines()[0].endswith(b"," + HEADER.encode().strip())
    assert b'd,acme,tape,1,2026-10-01T00:00:00Z,,,"a, ""b""\nc",shop\n' in written
    assert b"caf\xe9" in written
    # As it is, it is rejected again, row by row, and says the same.
    assert run(runner, rejected.name, "csv", "--refuse-unknown").exit_code == 1
    again = (folder / "usage.csv.rejects.csv.rejects.csv").read_bytes()
    assert re.sub(rb"(?m)^[0-9]+", b"", again) == re.sub(rb"(?m)^[0-9]+", b"", written)
    mended = written.replace(b",tape,", b",disk,").replace(b",x,", b",7,").replace(b"caf\xe9", b"cafe")
    short = b"f,acme,disk,1,2026-10-01T00:00:00Z"
    rejected.write_bytes(mended.replace(short, short + b",,,,"))
    result = run(runner, rejected.name, "csv")
    assert result.exit_code == 0, result.output
    found = events()
    assert found["d"] == ("1", "api", {"app": "shop"})
    assert found.keys() == {"a", "b", "c", "d", "e", "f"}


def test_rejected_lines_of_json_are_mended_and_imported_from_their_own_file(runner: FlaskCliRunner, folder: Path):
    good = '"organization": "acme", "meter": "disk", "time": "2026-10-01T00:00:00Z"'
    (folder / "usage.jsonl").write_text(
        f'{{"id": "a", "quantity": 1, {good}}}\n{{"id": "b", "quantity": NaN, {good}}}\n{{"id": "c", \n'
    )
    assert run(runner, "usage.jsonl", "jsonl").exit_code == 1
    rejected = folder / "usage.jsonl.rejects.jsonl"
    assert f'{{"id": "b", "quantity": NaN, {good}}}\n' in rejected.read_text()
    rejected.write_text(
        rejected.read_text().replace("NaN", "2").replace('{"id": "c", ', f'{{"id": "c", "quantity": 3, {good}}}')
    )
    assert "2 events stored" in run(runner, rejected.name, "jsonl").output
    assert events().keys() == {"a", "b", "c"}


def test_an_interrupted_import_is_simply_run_again(
    runner: FlaskCliRunner, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    lines = [f"{number},acme,disk,1,2026-10-01T00:00:00Z\n" for number in range(25)]
    (folder / "usage.csv").write_text("id,organization,meter,quantity,time\n" + "".join(lines))
    store, batches = storing_blocks.store_plain, []

    def fail_at_the_third(batch: PlainBatch, **how: Any) -> object:
        batches.append(len(batch.keys))
        if len(batches) == 3:
            raise KeyboardInterrupt
        return store(batch, **how)

    monkeypatch.setattr(storing_blocks, "ROWS_A_BLOCK", 10)
    monkeypatch.setattr(storing_blocks, "store_plain", fail_at_the_third)
    assert run(runner, "usage.csv", "csv").exit_code != 0
    assert batches == [10, 10, 5]
    assert len(events()) == 20
    result = run(runner, "usage.csv", "csv")
    assert "Going on after row 21: all before it is stored." in result.output
    assert "5 events stored, 20 were there already." in result.output
    assert batches == [10, 10, 5, 5]
    assert len(events()) == 25
    (folder / "usage.csv").write_text("id,organization,meter,quantity,time\n" + "".join([*lines, "z" + lines[0]]))
    assert "1 events stored, 25 were there already." in run(runner, "usage.csv", "csv").output


def test_a_file_whose_beginning_has_changed_is_read_anew(runner: FlaskCliRunner, folder: Path):
    path = folder / "usage.csv"
    path.write_text(GOOD)
    run(runner, "usage.csv", "csv")
    path.write_text(GOOD.replace("\na,", "\nz,"))
    assert "1 events stored, 2 were there already." in run(runner, "usage.csv", "csv").output
    assert events().keys() == {"a", "b", "c", "z"}


def test_the_mark_never_passes_a_rejected_row(runner: FlaskCliRunner, folder: Path):
    (folder / "usage.csv").write_text(GOOD + "d,acme,tape,1,2026-10-03T00:00:00Z,,,,\n")
    assert run(runner, "usage.csv", "csv", "--refuse-unknown").exit_code == 1
    make_meter("tape")
    result = run(runner, "usage.csv", "csv")
    assert (result.exit_code, "1 events stored, 3 were there already." in result.output) == (0, True)


def test_rows_of_a_meter_that_does_not_exist_are_kept_and_counted_apart(runner: FlaskCliRunner, folder: Path):
    (folder / "usage.csv").write_text(GOOD + "d,acme,tape,1.50,2026-10-03T00:00:00Z,probe,,fra,\n")
    result = run(runner, "usage.csv", "csv")
    assert "3 events stored, 0 were there already." in result.output
    assert "Waiting for meters that do not exist: 1 more (flask usage waiting)." in result.output
    assert result.exit_code == 0
    assert events().keys() == {"a", "b", "c"}
    assert waiting() == {"d": ("tape", {
        "id": "d", "meter": "tape", "quantity": "1.5", "time": "2026-10-03T00:00:00+00:00", "source": "probe",
        "properties": {"region": "fra"},
    })}  # fmt: skip
    # The mark has passed the row, and reading it again changes nothing either.
    assert "0 events stored, 4 were there already." in run(runner, "usage.csv", "csv").output
    assert (
        "0 events stored, 4 were there already."
        in run(runner, "-", "csv", piped=(folder / "usage.csv").read_text()).output
    )
    assert len(waiting()) == 1


def test_a_packed_file_and_json_lines_go_on_too(runner: FlaskCliRunner, folder: Path, monkeypatch: pytest.MonkeyPatch):
    fields = '"organization": "acme", "meter": "disk", "quantity": 1, "time": "2026-10-01T00:00:00Z"'
    lines = "".join(f'{{"id": "{number}", {fields}}}\n' for number in range(25))
    (folder / "usage.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    group = storing.batches
    with monkeypatch.context() as patched:
        patched.setattr(storing, "BATCH", 10)
        patched.setattr(storing, "batches", lambda rows: islice(group(rows), 2))
        run(runner, "usage.jsonl.gz", "jsonl")
    assert len(events()) == 20
    assert "5 events stored, 20 were there already." in run(runner, "usage.jsonl.gz", "jsonl").output


@pytest.mark.fault
def test_a_killed_import_goes_on_where_it_was(portal_environment: dict[str, str], runner: FlaskCliRunner, folder: Path):
    """A process of its own, killed while it stores."""
    rows = "".join(f"{number},acme,disk,1,2026-10-01T00:00:00Z\n" for number in range(30_000))
    (folder / "usage.csv").write_text("id,organization,meter,quantity,time\n" + rows)
    command = [sys.executable, "-m", "flask", "usage", "import", str(folder / "usage.csv"), "--format", "csv"]
    root, environment = Path(__file__).parents[2], os.environ | portal_environment
    with subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL) as importing:
        latest = time.monotonic() + 60
        while not sql("SELECT rows FROM usage_imports WHERE rows > 3000"):
            assert time.monotonic() < latest, "it never began"
            assert importing.poll() is None, "it ended by itself"
            time.sleep(0.02)
        importing.kill()
    [(stored,)] = sql("SELECT count(*) FROM usage_events")
    assert 3_000 <= stored < 30_000
    assert sql("SELECT events FROM usage_imports") == [(stored,)]
    result = run(runner, str(folder / "usage.csv"), "csv")
    assert f"{30_000 - stored:,} events stored, {stored:,} were there already." in result.output
    assert sql("SELECT count(*), sum(quantity) FROM usage_events") == [(30_000, 30_000)]
    with transaction():
        assert recount_differences() == []
