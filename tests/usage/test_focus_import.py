"""A cloud bill as usage: the project's own small file with all the untidiness of real ones, and a real one."""

import csv
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy import func, select

from portal.catalog.models import Meter, Price, PriceVersion
from portal.core.exact import plain
from portal.core.periods import Month
from portal.core.statement import LineKind
from portal.doctor import examine
from portal.infra.audit import AuditEntry
from portal.infra.db import SYSTEM, act_as, db, transaction
from portal.invoicing.drafting import Draft, draft_of
from portal.invoicing.models import Invoice, OneOffItem
from portal.organizations.models import Organization
from portal.usage.models import UsageEvent

UNTIDY = Path(__file__).parent / "data" / "focus_untidy.csv"
REAL = Path(__file__).parents[3] / "shared" / "data" / "focus_sample.csv"
SEPTEMBER, OCTOBER = Month(2024, 9), Month(2024, 10)
BAKERY, POST, TWIN, DAIRY = "1001", "/accounts/otter-7", "1003", "1004"
COUNTED = (Organization, Meter, Price, PriceVersion, UsageEvent, OneOffItem, Invoice, AuditEntry)


@pytest.fixture
def reading(app: Flask, clean_database: None) -> Iterator[None]:
    """A context to look at what a command has stored."""
    with app.app_context():
        act_as(SYSTEM)
        yield


def run(runner: FlaskCliRunner, file: Path, folder: Path, *more: str) -> Result:
    written = ("--rejects", str(folder / "rejects.csv"), "--special", str(folder / "special.csv"))
    return runner.invoke(args=["usage", "import", str(file), "--format", "focus", *written, *more])


def named(path: Path) -> dict[str, tuple[str, str]]:
    """Of every named row, by number: what it is about, and the sentence."""
    with path.open(newline="") as stream:
        return {row[0]: (row[2], row[3]) for row in list(csv.reader(stream))[1:]}


def drafted(slug: str, month: Month = SEPTEMBER) -> Draft:
    with transaction():
        organization = db.session.scalars(select(Organization).where(Organization.slug == slug)).one()
        return draft_of(organization, month)


def figures(slug: str, month: Month = SEPTEMBER) -> dict[str, tuple[str, str, int]]:
    """The lines of a draft: quantity, unrounded amount and minor units by description."""
    lines = drafted(slug, month).statement.lines
    return {line.description: (plain(line.quantity), plain(line.unrounded), line.amount) for line in lines}


def counts() -> list[int]:
    with transaction():
        return [db.session.scalar(select(func.count()).select_from(table)) or 0 for table in COUNTED]


def test_every_sub_account_gets_an_invoice_that_comes_to_its_list_costs(
    runner: FlaskCliRunner, reading: None, tmp_path: Path
):
    run(runner, UNTIDY, tmp_path)
    assert figures(BAKERY) == {
        "Queue requests": ("2", "0.0000008", 0),
        "Data out, first 10 TB": ("100", "9", 900),
        "Data out, first 10 TB at 0.1": ("2", "0.2", 20),
        "Data out, next 40 TB": ("10", "0.85", 85),
        "Credit: Goodwill for the outage": ("1", "-2.6137", -261),
        "Credit: A crumb": ("1", "-0.0004", 0),
    }
    post = drafted(POST).statement
    assert [(line.description, plain(line.unrounded), line.amount) for line in post.lines] == [
        ("Data out, first 10 TB", "0.000000013077", 0),
        ("List operations (by consumed quantity)", "0.00003", 0),
        ("Standard - B7", "0.17", 17),
        ("Standard - B7", "0.24", 24),
    ]
    assert figures(TWIN) == {
        "Data out, first 10 TB": ("1", "0.09", 9),
        "Data out with a cost of its own": ("1", "12.34", 1234),
        "Data out without a price": ("1", "7", 700),
        "Adjustment: Standard - B7": ("1", "0", 0),
        "Purchase: Address for a year": ("1", "24", 2400),
    }


def test_charge_time_decides_the_month_not_the_billing_period(runner: FlaskCliRunner, reading: None, tmp_path: Path):
    run(runner, UNTIDY, tmp_path)
    assert {plain(line.unrounded) for line in drafted(POST).statement.lines} >= {"0.24"}
    assert figures(DAIRY) == {"Data out, first 10 TB": ("1", "0.09", 9)}  # 01:30 in Central Europe is still September
    assert figures(DAIRY, OCTOBER) == {"Data out, first 10 TB": ("2", "0.18", 18)}
    assert drafted(DAIRY).statement.currency == "EUR"


def test_prices_are_exact_and_hold_from_the_first_day_of_the_month(
    runner: FlaskCliRunner, reading: None, tmp_path: Path
):
    run(runner, UNTIDY, tmp_path)
    with transaction():
        rows = db.session.execute(
            select(Meter.code, Price.currency, Price.match, PriceVersion.valid_from, PriceVersion.terms)
            .join(Price, Price.meter_id == Meter.id)
            .join(PriceVersion)
        )
        found = {
            (row.code, row.currency, tuple(sorted(row.match.items())), str(row.valid_from)): row.terms["unit_amount"]
            for row in rows
        }
    consumed = ("quantity_from", "ConsumedQuantity")
    assert found == {
        ("nimbo.QUEUE1.requests", "USD", (("sku_price_id", "QUEUE1.A"),), "2024-09-01"): "0.0000004",
        ("nimbo.OUT9.gb", "USD", (("sku_price_id", "OUT9.T1"),), "2024-09-01"): "0.09",
        ("nimbo.OUT9.gb", "EUR", (("sku_price_id", "OUT9.T1"),), "2024-09-01"): "0.09",
        ("nimbo.OUT9.gb", "USD", (("sku_price_id", "OUT9.T2"),), "2024-09-01"): "0.085",
        (
            "nimbo.OUT9.gb",
            "USD",
            (("list_unit_price", "0.1"), ("sku_price_id", "OUT9.T1")),
            "2024-09-01",
        ): "0.1",
        ("basalt.B77.core-hours", "USD", (("list_unit_price", "0.03"),), "2024-09-01"): "0.03",
        ("basalt.B77.core-hours", "USD", (("list_unit_price", "0.0017"),), "2024-09-01"): "0.0017",
        ("nimbo.5501.units", "USD", (consumed, ("sku_price_id", "5501")), "2024-09-01"): "0.05",
    }


def test_events_keep_what_the_row_says_and_leave_out_what_is_null(
    runner: FlaskCliRunner, reading: None, tmp_path: Path
):
    run(runner, UNTIDY, tmp_path)
    with transaction():
        events = {event.event_id.split(":")[0]: event for event in db.session.scalars(select(UsageEvent))}
    assert events["1"].properties == {"resource": "queue/orders", "tags": '{"team": "ovens"}'}
    assert events["2"].properties is None
    assert events["1"].source == "focus"
    assert (events["7"].quantity, events["7"].correction) == (Decimal("-0.5"), True)
    assert (events["2"].quantity, events["2"].correction) == (Decimal("100.5"), False)
    assert events["17"].quantity == 1


def test_every_special_row_is_named_with_its_reason(runner: FlaskCliRunner, reading: None, tmp_path: Path):
    result = run(runner, UNTIDY, tmp_path)
    special = named(tmp_path / "special.csv")
    words = {
        "6": ("usage", "no SkuPriceId: its price is found by ListUnitPrice 0.03; billing period 2024-10"),
        "7": ("usage", "no SkuPriceId: its price is found by ListUnitPrice 0.0017"),
        "8": ("usage", "negative quantity -0.5: stored as a correction"),
        "9": ("usage by ConsumedQuantity", "quantity counts in another unit than its price"),
        "10": ("usage by ConsumedQuantity", "quantity counts in another unit than its price"),
        "11": ("usage by ConsumedQuantity", "negative quantity -0.0001: stored as a correction"),
        "12": ("one-off item", "neither PricingQuantity nor ConsumedQuantity × ListUnitPrice is ListCost 12.34"),
        "13": ("one-off item", "has no list price, at ListCost 7"),
        "14": ("one-off item", "Adjustment: not usage, at ListCost 0 (the provider billed 0.08)"),
        "15": ("one-off item", "Credit: not usage, at ListCost -2.6137"),
        "16": ("one-off item", "which rounds to 0 on the invoice"),
        "17": ("one-off item", "Purchase: not usage, at ListCost 24"),
        "18": ("usage", "quantity 1.0000000000004 has more than 12 decimals: stored rounded to them"),
    }
    assert set(special) == set(words)
    for number, (kind, part) in words.items():
        assert special[number][0] == kind
        assert part in special[number][1]
    assert "Treated specially: 13 rows" in result.output
    assert f"All 13 are named in {tmp_path / 'special.csv'}." in result.output


def test_every_rejected_row_is_named_and_the_others_are_stored(runner: FlaskCliRunner, reading: None, tmp_path: Path):
    result = run(runner, UNTIDY, tmp_path)
    assert result.exit_code == 1
    rejected = named(tmp_path / "rejects.csv")
    assert {number: about for number, (about, _) in rejected.items()} == {
        "23": "Id",
        "24": "BillingCurrency",
        "25": "PricingQuantity",
        "26": "ChargePeriodStart",
        "27": "ListCost",
        "28": "SubAccountId",
        "29": "ChargePeriodStart",
        "30": "",
    }
    assert rejected["24"][1] == "“1004” is billed in EUR, not in USD."
    assert rejected["30"][1] == "The row has 3 values for 23 columns."
    assert "14 events stored, 1 were there already." in result.output
    assert "6 one-off items stored, 0 were there already." in result.output
    assert "8 rows were rejected" in result.output


def test_the_rejected_rows_can_be_mended_and_imported(runner: FlaskCliRunner, reading: None, tmp_path: Path):
    run(runner, UNTIDY, tmp_path)
    mended = tmp_path / "mended.csv"
    mended.write_text((tmp_path / "rejects.csv").read_text().replace('"NaN"', '"1"'))
    (tmp_path / "again").mkdir()
    result = run(runner, mended, tmp_path / "again")
    assert "7 rows were rejected" in result.output
    assert "1 events stored" in result.output


def test_a_second_import_changes_nothing(runner: FlaskCliRunner, reading: None, tmp_path: Path):
    run(runner, UNTIDY, tmp_path)
    before = counts(), drafted(BAKERY).fingerprint
    again = run(runner, UNTIDY, tmp_path)
    assert (counts(), drafted(BAKERY).fingerprint) == before
    assert "0 events stored, 15 were there already." in again.output
    assert "0 one-off items stored, 6 were there already." in again.output
    with transaction():
        assert [finding.rule for finding in examine() if finding.broken] == []


def test_the_comparison_says_where_drafts_and_file_agree_and_where_not(
    runner: FlaskCliRunner, reading: None, tmp_path: Path
):
    comparison = tmp_path / "comparison.csv"
    result = run(runner, UNTIDY, tmp_path, "--comparison", str(comparison))
    with comparison.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    # The row that stands in the file twice is billed once: the only difference, and it comes first.
    assert [(row["sub_account"], row["sku"], row["difference"]) for row in rows if row["agrees"] == "no"] == [
        (BAKERY, "QUEUE1", "-0.0000008")
    ]
    assert rows[0]["sku"] == "QUEUE1"
    out = next(row for row in rows if (row["sub_account"], row["sku"]) == (BAKERY, "OUT9"))
    assert (out["rows"], out["draft_unrounded"], out["list_cost"]) == ("4", "10.05", "10.05")
    assert (out["draft_rounded"], out["list_cost_rounded"]) == ("10.05 USD", "10.05 USD")
    assert "12 usage rows priced by PricingQuantity: the draft invoices of 2024-09, 2024-10 do not all" in result.output
    assert "3 usage rows priced by ConsumedQuantity: the draft invoices of 2024-09 reproduce" in result.output


def test_a_price_that_changes_later_is_a_new_version_unless_stored_usage_would_change(
    runner: FlaskCliRunner, reading: None, tmp_path: Path
):
    with UNTIDY.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["Id"] == "4"]
    november = {"ChargePeriodStart": "2024-11-02 00:00:00", "PricingQuantity": "10"}
    later = {**november, "ListUnitPrice": "0.07", "ListCost": "0.7"}
    dearer = {**november, "ListUnitPrice": "0.08", "ListCost": "0.8"}
    for number, change in enumerate(({}, later, dearer)):
        file = tmp_path / f"{number}.csv"
        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerow(rows[0] | change | {"Id": str(number)})
        assert run(runner, file, tmp_path).exit_code == 0
    assert figures(POST, Month(2024, 11)) == {
        "Data out, first 10 TB": ("10", "0.7", 70),
        "Data out, first 10 TB at 0.08": ("10", "0.8", 80),
    }
    assert figures(POST) == {"Data out, first 10 TB": ("0.0000001453", "0.000000013077", 0)}


def test_a_dry_run_stores_nothing(runner: FlaskCliRunner, reading: None, tmp_path: Path):
    result = run(runner, UNTIDY, tmp_path, "--dry-run")
    assert counts() == [0] * len(COUNTED)
    assert "Nothing was stored." in result.output
    assert result.exit_code == 1
    assert len(named(tmp_path / "special.csv")) == 13


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read: No such file or directory."),
        ("", "The file is empty."),
        ("Id,SkuId\n1,2\n", "The file has no column BillingCurrency"),
        (UNTIDY.read_text().splitlines()[0] + "\n", "The file has a header and no rows."),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(
    runner: FlaskCliRunner, reading: None, tmp_path: Path, content: str | None, sentence: str
):
    file = tmp_path / "bill.csv"
    if content is not None:
        file.write_text(content)
    result = run(runner, file, tmp_path)
    assert result.exit_code == 2
    assert sentence in result.output
    assert counts() == [0] * len(COUNTED)


@pytest.mark.skipif(not REAL.exists(), reason=f"the real bill is not part of the project: {REAL} is not there")
def test_a_real_bill_is_reproduced_per_organization_and_sku(runner: FlaskCliRunner, reading: None, tmp_path: Path):
    result = run(runner, REAL, tmp_path)
    assert result.exit_code == 0, result.output
    assert "1,000 rows: 966 as usage" in result.output
    assert "73 sub accounts" in result.output
    assert "966 usage rows priced by PricingQuantity: the draft invoices of 2024-09 reproduce ListCost" in result.output
    assert "455 of 455 agree within 1e-9" in result.output
    assert "455 of 455 agree to the cent" in result.output
    about = [kind for kind, _ in named(tmp_path / "special.csv").values()]
    assert (about.count("usage by ConsumedQuantity"), about.count("one-off item")) == (31, 3)
    # The same once more, from the file and the drafts alone: exact sums by organization and SKU, and to the cent.
    with REAL.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["ChargeCategory"] == "Usage"]
    assert len({row["SubAccountId"] for row in rows}) <= 73
    for account in {row["SubAccountId"] for row in rows}:
        lines = [line for line in drafted(account).statement.lines if line.kind is LineKind.USAGE]
        listed = sum(Decimal(row["ListCost"]) for row in rows if row["SubAccountId"] == account)
        assert abs(sum(line.unrounded for line in lines) - listed) <= Decimal("1e-9")
    again = run(runner, REAL, tmp_path)
    assert "0 events stored, 997 were there already." in again.output
