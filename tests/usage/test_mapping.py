"""Mapping files: any table of usage becomes events, exactly, or says what does not fit."""

import re
from pathlib import Path

import pytest

from portal.core.errors import InvalidInput
from portal.core.exact import plain
from portal.infra.yaml_text import read_yaml
from portal.usage.models import UsageEvent
from portal.usage.recounting import recount_differences
from portal.usage.sources.mapping import read_mapping
from portal.usage.sources.pull_files import read_pull_file
from tests.factories import acting, make_meter, make_organization, sql

BASE = """
id: "{host}-{ts}"
organization: "{account}"
meter: egress_gb
quantity: {value: "{bytes}", multiply: 0.000000001}
time: {value: "{ts}", format: epoch_ms}
properties: [region]
"""
ROW = {"host": "web-1", "ts": "1791244800123", "account": "acme", "bytes": "123456789", "region": "fra"}


def documents(text, row=None, **changes):
    return read_mapping(read_yaml(text)).documents((row or ROW) | changes, "api")


def only(text, row=None, **changes):
    [document] = documents(text, row, **changes)
    return document


def refusal(text, row=None, **changes):
    with pytest.raises(InvalidInput) as refused:
        documents(text, row, **changes)
    return refused.value.sentence


def test_columns_become_fields():
    assert only(BASE) == {
        "id": "web-1-1791244800123",
        "organization": "acme",
        "meter": "egress_gb",
        "quantity": "0.123456789",
        "time": "2026-10-06T00:00:00.123000+00:00",
        "source": "api",
        "correction": False,
        "properties": {"region": "fra"},
    }


def with_quantity(text):
    return BASE.replace('{value: "{bytes}", multiply: 0.000000001}', text)


@pytest.mark.parametrize(
    ("how", "number", "quantity"),
    [
        ('"{bytes}"', "1.50", "1.5"),
        ('{value: "{bytes}", multiply: 1e-9}', "1", "0.000000001"),
        ('{value: "{bytes}", multiply: 9.31322574615478515625e-10}', "1073741824", "1"),
        ('{value: "{bytes}", multiply: 9.31322574615478515625e-10, round: 12}', "1", "0.000000000931"),
        ('{value: "{bytes}", multiply: 0.5, round: 0}', "5", "3"),
        ('{value: "{bytes}", multiply: 0.5, round: 0}', "-5", "-3"),
        ('{value: "{bytes}", multiply: 24}', "1e3", "24000"),
        ('"7"', "", "7"),
    ],
)
def test_quantities_are_exact(how, number, quantity):
    assert only(with_quantity(how), bytes=number)["quantity"] == quantity


def with_time(text):
    return BASE.replace('{value: "{ts}", format: epoch_ms}', text)


@pytest.mark.parametrize(
    ("how", "written", "time"),
    [
        ('"{ts}"', "2026-10-05T10:00:00Z", "2026-10-05T10:00:00Z"),
        ('{value: "{ts}", format: epoch_s}', "0.5", "1970-01-01T00:00:00.500000+00:00"),
        ('{value: "{ts}", zone: Europe/Berlin}', "2026-07-01 12:00:00", "2026-07-01T12:00:00+02:00"),
        ('{value: "{ts}", format: "%d.%m.%Y %H:%M", zone: UTC}', "05.10.2026 10:30", "2026-10-05T10:30:00+00:00"),
        ('{value: "{ts}", format: "%d/%b/%Y:%H:%M:%S %z"}', "05/Oct/2026:10:30:00 +0200", "2026-10-05T10:30:00+02:00"),
    ],
)
def test_times_in_many_formats(how, written, time):
    assert only(with_time(how), ts=written)["time"] == time


def test_a_list_of_values_translates():
    text = BASE.replace('"{account}"', '{value: "{account}", values: {"0042": acme}}')
    assert only(text, account="0042")["organization"] == "acme"
    assert refusal(text, account="43") == "The mapping has no value for “43”."
    text = BASE.replace("meter: egress_gb", 'meter: {value: "{region}", values: {fra: disk}}')
    assert only(text)["meter"] == "disk"


def test_a_wide_row_becomes_an_event_for_each_value_that_it_has():
    text = BASE[: BASE.index("meter:")] + 'meters: {cpu: "{cpu}", ram: {value: "{ram}", multiply: 2}}\ntime: "{ts}"\n'
    row = ROW | {"cpu": "3", "ram": "4"}
    found = [(each["id"], each["meter"], each["quantity"]) for each in documents(text, row)]
    assert found == [("web-1-1791244800123:cpu", "cpu", "3"), ("web-1-1791244800123:ram", "ram", "8")]
    assert [each["meter"] for each in documents(text, row, cpu="")] == ["ram"]
    assert refusal(text, row, cpu="", ram="") == "The row has no value for any meter of the mapping."
    assert refusal(text, row, cpu="x") == "“x” is not a number."


def test_properties_are_renamed_made_up_and_left_out_if_empty():
    text = BASE.replace("properties: [region]", 'properties: {place: "{region}", cloud: own, both: "{host}/{zone}"}')
    assert only(text, zone="")["properties"] == {"place": "fra", "cloud": "own"}
    assert only(text, zone="b")["properties"]["both"] == "web-1/b"


def test_braces_corrections_and_inner_objects():
    text = BASE.replace('"{host}-{ts}"', '"{{{host}}}"') + 'correction: "{fix}"\n'
    assert only(text, fix="True")["id"] == "{web-1}"
    assert only(text, fix="true")["correction"] is True
    assert only(text, fix="")["correction"] is False
    assert refusal(text, fix="maybe") == "correction is true or false."
    inner = {"host": {"name": "web-1"}, "ts": "1"}
    assert only(BASE.replace("{host}", "{host.name}"), ROW | inner)["id"] == "web-1-1"
    assert refusal(BASE, ROW | inner) == "host is no text and no number."


@pytest.mark.parametrize(
    ("text", "changes", "sentence"),
    [
        (BASE, {"bytes": ""}, "The column bytes is empty."),
        (BASE, {"account": None}, "The column account is empty."),
        (BASE, {"bytes": "12,5"}, "“12,5” is not a number."),
        (BASE, {"bytes": "0x10"}, "“0x10” is not a number."),
        (BASE, {"bytes": "1" * 70}, f"“{'1' * 60}” is not a number."),
        (BASE, {"ts": "yesterday"}, "“yesterday” is not a time in the format epoch_ms."),
        (BASE, {"ts": "9" * 30}, f"“{'9' * 30}” is not a time in the format epoch_ms."),
        (with_time('{value: "{ts}", format: "%Y"}'), {"ts": "x"}, "“x” is not a time in the format %Y."),
        (
            with_time('{value: "{ts}", zone: Europe/Berlin}'),
            {"ts": "2026-10-25 02:30:00"},
            "“2026-10-25 02:30:00” comes twice or never in Europe/Berlin: the clocks change there.",
        ),
        (
            with_time('{value: "{ts}", zone: Europe/Berlin}'),
            {"ts": "2026-03-29 02:30:00"},
            "“2026-03-29 02:30:00” comes twice or never in Europe/Berlin: the clocks change there.",
        ),
    ],
)
def test_a_row_that_does_not_fit_is_refused(text, changes, sentence):
    assert refusal(text, **changes) == sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "A mapping is a mapping of names and values."),
        ("[]", "A mapping is a mapping"),
        ("id: a\n", "A mapping lacks organization, time."),
        (BASE + "colour: red\n", "A mapping has no “colour”"),
        (BASE.replace("meter: egress_gb\n", ""), "A mapping lacks meter."),
        (BASE + 'meters: {cpu: "{cpu}"}\n', "either meter and quantity, or meters"),
        (BASE.replace("{host}", "{host"), "id: a brace of"),
        (BASE.replace("{host}", "{}"), "id: a brace of"),
        (with_quantity('{value: "{bytes}", multiply: 1/3}'), "quantity: multiply is a number such as"),
        (with_quantity('{value: "{bytes}", round: 13}'), "quantity: round is a number of decimals from 0 to 12."),
        (with_quantity('{multiply: "1"}'), "quantity lacks value."),
        (with_time('{value: "{ts}", format: unix}'), "time: format is iso, epoch_s, epoch_ms or a pattern"),
        (with_time('{value: "{ts}", zone: Mars/Olympus}'), "time: there is no zone “Mars/Olympus”"),
        (with_time('{value: "{ts}", zone: [a]}'), "time: there is no zone"),
        (BASE.replace("[region]", "region"), "properties is a list of columns, or a mapping"),
        (BASE + 'delimiter: ";;"\n', "delimiter is one character"),
        (BASE.replace('"{account}"', '{value: "{account}", values: {}}'), "organization: values is a mapping of texts"),
        (BASE.replace("meter: egress_gb", "meter: [a]"), "meter is a text"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused_with_the_place(text, sentence):
    with pytest.raises(InvalidInput) as refused:
        read_mapping(read_yaml(text))
    assert sentence in refused.value.sentence


@pytest.fixture
def _folder(app, clean_database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with acting(app):
        make_organization("acme")
        make_meter("egress_gb", dimensions=("region",))
        yield


def run(runner, *words):
    return runner.invoke(args=["usage", "import", *words])


CSV = "host;ts;account;bytes;region;secret\nweb-1;1791244800123;acme;1500000000;fra;x\nweb-2;1791244800123;acme;;;\n"


@pytest.mark.usefixtures("_folder")
def test_a_file_is_imported_by_its_mapping_and_mended_by_it_too(runner):
    Path("m.yaml").write_text(BASE + 'source: edge\ndelimiter: ";"\n')
    Path("u.csv").write_text(CSV)
    result = run(runner, "u.csv", "--format", "csv", "--mapping", "m.yaml")
    assert result.exit_code == 1
    assert "The column bytes is empty." in result.output
    stored = sql("SELECT event_id, quantity, source, properties FROM usage_events")
    assert [(row[0], plain(row[1]), *row[2:]) for row in stored] == [("web-1-1791244800123", "1.5", "edge", None)]
    rejects = Path("u.csv.rejects.csv")
    assert rejects.read_text().splitlines()[1] == "3;;bytes;The column bytes is empty.;web-2;1791244800123;acme;;;"
    rejects.write_text(rejects.read_text().replace("acme;;;", "acme;5;ams;"))
    assert run(runner, rejects.name, "--format", "csv", "--mapping", "m.yaml").exit_code == 0
    assert sql("SELECT count(*) FROM usage_events") == [(2,)]
    assert recount_differences() == []


@pytest.mark.usefixtures("_folder")
def test_json_lines_are_imported_by_a_mapping(runner):
    Path("m.yaml").write_text(BASE.replace("{host}", "{from.host}"))
    Path("u.jsonl").write_text(
        '{"from": {"host": "a"}, "ts": 1791244800123, "account": "acme", "bytes": 1.5e9, "region": "fra"}\n'
        '{"from": {}, "ts": 1791244800123, "account": "acme", "bytes": 1}\n[1]\n'
    )
    result = run(runner, "u.jsonl", "--format", "jsonl", "--mapping", "m.yaml")
    assert "The column from.host is empty." in result.output
    assert "An event is a JSON object." in result.output
    assert [plain(row[0]) for row in sql("SELECT quantity FROM usage_events")] == ["1.5"]


@pytest.mark.usefixtures("_folder")
@pytest.mark.parametrize(
    ("mapping", "words", "sentence"),
    [
        (BASE, ("--format", "csv"), "The file has no column host, ts, account, region, bytes."),
        (BASE + 'delimiter: ";"\n', ("--format", "focus"), "A FOCUS file needs no mapping."),
        ("id: [", ("--format", "csv"), "m.yaml: Line 1, column 6"),
        ("id: x", ("--format", "csv"), "m.yaml: A mapping lacks organization, time."),
    ],
)
def test_what_cannot_be_used_is_said(runner, mapping, words, sentence):
    Path("m.yaml").write_text(mapping)
    Path("u.csv").write_text(CSV)
    result = run(runner, "u.csv", "--mapping", "m.yaml", *words)
    assert result.exit_code == 2
    assert sentence in result.output
    assert sql(f"SELECT count(*) FROM {UsageEvent.__tablename__}") == [(0,)]


def test_the_examples_of_the_reference_can_be_used(tmp_path):
    reference = Path(__file__).parents[2] / "docs" / "usage_sources.md"
    pulls, mappings = [], []
    for block in re.findall(r"```yaml\n(.*?)```", reference.read_text(), re.DOTALL):
        (pulls if "queries:" in block else mappings).append(block)
    assert [len(read_mapping(read_yaml(block)).measured) for block in mappings] == [1, 2, 1]
    [pull] = pulls
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "pulls.yaml").write_text(pull.replace("/run/secrets/prometheus", str(tmp_path / "token")))
    file = read_pull_file(str(tmp_path / "pulls.yaml"))
    assert ([query.name for query in file.queries], file.server.token) == (["egress", "volumes"], "secret")
