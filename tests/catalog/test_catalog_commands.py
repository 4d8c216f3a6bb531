"""`flask catalog`: prices in git, a difference before they are stored, and the price list in sentences."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskCliRunner

from portal.infra.yaml_text import read_yaml
from tests.factories import acting, make_final, make_organization, sql

FILE = """
products: [Network]
meters:
  egress_gb: {name: Egress, product: Network, unit: GB, dimensions: [region_group]}
prices:
  - name: Egress · Europe
    meter: egress_gb
    match: {region_group: eu}
    currency: USD
    versions:
      - {valid_from: 2026-01-01, terms: {model: per_unit, unit_amount: 0.02}}
      - {valid_from: 2999-01-01, terms: {model: per_unit, unit_amount: 0.03}}
"""
OWN = """
prices:
  - name: As agreed
    meter: egress_gb
    organization: acme
    currency: USD
    versions: [{valid_from: 2026-01-01, terms: {model: per_unit, unit_amount: 0.01}}]
"""


@pytest.fixture
def folder(app: Flask, clean_database: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prices.yaml").write_text(FILE)
    with acting(app):
        yield tmp_path


def catalog(runner: FlaskCliRunner, *words: str, piped: str | None = None) -> Result:
    return runner.invoke(args=["catalog", *words], input=piped)


def test_a_dry_run_tells_and_stores_nothing_then_it_is_stored_once(runner: FlaskCliRunner, folder: Path):
    told = catalog(runner, "apply", "prices.yaml", "--dry-run")
    assert (told.exit_code, told.output.splitlines()) == (
        0,
        [
            "+ product Network",
            "+ meter egress_gb: Egress, Network, in GB, by region_group",
            "+ price Egress · Europe (USD): $0.02 per GB, from 1 Jan 2026",
            "~ price Egress · Europe (USD): $0.02 per GB → $0.03 per GB, from 1 Jan 2999",
            "4 changes: 3 new, 1 changed. Nothing was stored.",
        ],
    )
    assert sql("SELECT count(*) FROM prices") == [(0,)]
    stored = catalog(runner, "apply", "prices.yaml")
    assert stored.output == told.output.replace(" Nothing was stored.", "")
    assert sql("SELECT DISTINCT actor_kind FROM audit_entries") == [("operator",)]
    assert catalog(runner, "apply", "prices.yaml").output == "Nothing to change.\n"
    assert catalog(runner, "apply", "prices.yaml", "--dry-run").output == "Nothing to change. Nothing was stored.\n"


def test_a_file_can_come_from_standard_input_and_name_a_part_only(runner: FlaskCliRunner, folder: Path):
    catalog(runner, "apply", "prices.yaml")
    result = catalog(runner, "apply", "-", piped="products: [Compute]")
    assert result.output.splitlines() == [
        "+ product Compute",
        "1 product, 1 meter and 1 price are not in the file; they stay.",
        "1 change: 1 new.",
    ]


def test_all_that_does_not_fit_is_listed_and_the_exit_code_is_1(runner: FlaskCliRunner, folder: Path):
    (folder / "prices.yaml").write_text(FILE.replace("0.02", "-1").replace("unit: GB", "units: GB"))
    result = catalog(runner, "apply", "prices.yaml")
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "Error: 3 things do not fit; nothing was stored.",
        "meters.egress_gb.units: A meter has no “units”; it has name, product, unit, dimensions, aggregation, subject,"
        " per, archived.",
        "meters.egress_gb.unit: “unit” is missing.",
        "prices[0].versions[0].terms.unit_amount: unit_amount is a number of zero or more, not “-1”.",
    ]


@pytest.mark.parametrize("content", [b"prices: [", b"\xff\xfe", b"prices: []\nprices: []", b""])
def test_what_is_no_yaml_is_one_sentence(runner: FlaskCliRunner, folder: Path, content: bytes):
    (folder / "prices.yaml").write_bytes(content)
    result = catalog(runner, "apply", "prices.yaml")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "Traceback" not in result.output


def test_a_missing_file_is_a_sentence(runner: FlaskCliRunner, folder: Path):
    assert catalog(runner, "apply", "nowhere.yaml").exit_code == 2


def test_an_export_is_what_apply_takes(runner: FlaskCliRunner, folder: Path):
    catalog(runner, "apply", "prices.yaml")
    exported = catalog(runner, "export").output
    assert read_yaml(exported)["prices"] == read_yaml(FILE)["prices"]
    assert catalog(runner, "export", "copy.yaml").output == ""
    assert (folder / "copy.yaml").read_text() == exported
    assert catalog(runner, "apply", "copy.yaml").output == "Nothing to change.\n"


def test_a_closed_month_is_refused_with_its_path(runner: FlaskCliRunner, folder: Path, clean_redis: None):
    catalog(runner, "apply", "prices.yaml")
    make_final(make_organization("acme"), "5.00")
    result = catalog(runner, "apply", "-", piped=OWN)
    assert "prices[0].versions[0].valid_from: “As agreed” cannot apply from 2026-01-01" in result.output


def test_the_price_list_is_shown_in_sentences(runner: FlaskCliRunner, folder: Path):
    acme = make_organization("acme")
    make_organization("beta", currency="EUR")
    catalog(runner, "apply", "prices.yaml")
    catalog(runner, "apply", "-", piped=OWN)
    everybody = catalog(runner, "show").output
    assert "Egress · Europe" in everybody
    assert "egress_gb, region_group: eu" in everybody
    assert "$0.02 per GB" in everybody
    assert "1 Jan 2999" in everybody
    assert "As agreed" not in everybody
    assert "As agreed" in catalog(runner, "show", "--organization", "acme").output
    assert "As agreed" in catalog(runner, "show", "--organization", str(acme.public_id)).output
    assert "Egress" not in catalog(runner, "show", "--organization", "beta").output
    assert "Egress" not in catalog(runner, "show", "--currency", "EUR").output
    assert catalog(runner, "show", "--currency", "XYZ").exit_code == 1
    assert catalog(runner, "show", "--organization", "nobody").exit_code == 1
