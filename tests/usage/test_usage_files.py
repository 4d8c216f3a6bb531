"""Usage from plain files: CSV and JSON lines, packed or from standard input, with rows that do not fit."""

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import select

from portal.core.exact import plain
from portal.infra.db import transaction
from portal.usage.models import UsageEvent
from portal.usage.queries import recount_differences
from portal.usage.sources import storing
from portal.usage.sources.files import LONGEST_LINE
from tests.factories import acting, make_meter, make_organization

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


def run(runner: FlaskCliRunner, file: str, kind: str, *more: str, piped: str | None = None) -> Result:
    return runner.invoke(args=["usage", "import", file, "--format", kind, *more], input=piped)


def events() -> dict[str, tuple[str, str, dict[str, str] | None]]:
    with transaction() as session:
        assert recount_differences() == []
        return {
            event.event_id: (plain(event.quantity), event.source, event.properties)
            for event in session.scalars(select(UsageEvent))
        }


def rejects(path: Path) -> list[tuple[str, str, str]]:
    with path.open(newline="") as stream:
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
    result = run(runner, "usage.csv", "csv", "--rejects", "broken.csv")
    assert result.exit_code == 1
    assert rejects(folder / "broken.csv") == [
        ("5", "d", "quantity"),
        ("6", "e", "organization"),
        ("7", "f", "meter"),
        ("8", "g", "time"),
        ("9", "h", "quantity"),
        ("10", "i", "correction"),
        ("11", "", ""),
        ("14", "", "id"),
        ("15", "k", "app"),
        ("16", "", ""),
        ("12", "a", "id"),
    ]
    assert set(events()) == {"a", "b", "c", "m"}
    assert "11 rows were rejected; repair them and import the file again." in result.output


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
    assert [(number, about) for number, _, about in rejects(folder / "usage.jsonl.rejects.csv")] == [
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
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence_and_exit_code_2(
    runner: FlaskCliRunner, folder: Path, content: str | None, kind: str, sentence: str
):
    if content is not None:
        (folder / "usage.txt").write_text(content)
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


def test_a_dry_run_checks_and_stores_nothing(runner: FlaskCliRunner, folder: Path):
    (folder / "usage.csv").write_text(GOOD)
    assert "3 events can be stored. Nothing was." in run(runner, "usage.csv", "csv", "--dry-run").output
    assert events() == {}


def test_an_interrupted_import_is_simply_run_again(
    runner: FlaskCliRunner, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    lines = [f"{number},acme,disk,1,2026-10-01T00:00:00Z\n" for number in range(25)]
    (folder / "usage.csv").write_text("id,organization,meter,quantity,time\n" + "".join(lines))
    store, batches = storing.ingest, []

    def fail_at_the_third(records: list[object], **how: object) -> object:
        batches.append(len(records))
        if len(batches) == 3:
            raise KeyboardInterrupt
        return store(records, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(storing, "BATCH", 10)
    monkeypatch.setattr(storing, "ingest", fail_at_the_third)
    assert run(runner, "usage.csv", "csv").exit_code != 0
    assert batches == [10, 10, 5]
    assert len(events()) == 20
    assert "5 events stored, 20 were there already." in run(runner, "usage.csv", "csv").output
    assert len(events()) == 25
