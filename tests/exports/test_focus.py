"""Billed charges as FOCUS 1.2: every column as the specification wants it, every sum as the documents have it."""

import csv
import io
import json
import re
import shutil
import subprocess
from collections import defaultdict
from datetime import date
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest

from portal.catalog.coupons import create_coupon, redeem
from portal.catalog.tax_rates import add_tax_rate
from portal.exports.focus import COLUMNS
from portal.exports.making import made_at_once
from portal.exports.models import ExportKind
from portal.exports.wishes import Wish
from portal.infra.db import tenant, transaction
from portal.invoicing.credit_notes import Wish as Credited
from portal.invoicing.credit_notes import issue_credit_note
from tests.factories import (
    MONTH,
    NOW,
    acting,
    add,
    finalize_now,
    make_draft,
    make_meter,
    make_organization,
    make_plan,
    make_price,
    reload,
    subscribe,
    use,
)

GRADUATED = {
    "model": "graduated",
    "tiers": [{"up_to": "100", "unit_amount": "0.02"}, {"up_to": None, "unit_amount": "0.015"}],
}
DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")
MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T00:00:00Z")
NEVER_EMPTY = (
    *("BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory"),
    *("ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost"),
    *(
        "EffectiveCost",
        "InvoiceId",
        "InvoiceIssuerName",
        "ListCost",
        "ProviderName",
        "PublisherName",
        "ServiceCategory",
    ),
    "ServiceName",
)
VALIDATOR = shutil.which("focus-validator")
# What it cannot tell from a file and finds in every one: of purchases that cover later charges, which fees do not, and
# of charges that are on no invoice, while all of ours are (InvoiceId-C-005-C holds for them).
NOT_OURS = {"EffectiveCost-C-005-C", "InvoiceId-C-004-C"}
CATEGORIES = {"Usage", "Purchase", "Tax", "Credit", "Adjustment"}


@pytest.fixture
def file(app, books) -> tuple[str, dict[str, int]]:
    """October's charges of an organization with everything on its invoice, half of it credited; totals by document."""
    acme = make_organization()
    meter, tiered = make_meter(), make_meter("requests")
    make_price(meter)
    make_price(tiered, GRADUATED)
    subscribe(acme, make_plan(), MONTH.next.start)
    with transaction():
        add_tax_rate(Decimal("19"), valid_from=date(2026, 1, 1), organization_id=acme.id, open_from=None)
        create_coupon("HALF", name="Half", percent=Decimal("50"))
        redeem(acme, "HALF", first_month=MONTH, today=MONTH.first_day, open_from=None)
    use(acme, meter, "1234.567", region="fra")
    use(acme, tiered, "333.3")
    draft = make_draft(acme)
    add(draft, "25", "=Migration")
    add(draft, "-5", "Goodwill")
    invoice = reload(finalize_now(draft))
    with transaction():
        note = issue_credit_note(
            invoice.id, Credited(amount=invoice.total // 2), reason="late", by="Ada", form_token=uuid4(), now=NOW
        )
    with acting(app, tenant(acme.id)):
        text = made_at_once(acme.id, Wish(ExportKind.FOCUS_CSV, MONTH.first_day, MONTH.last_day)).decode()
    return text, {invoice.number: invoice.total, note.number: -note.total}


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_sums_are_those_of_the_documents_and_every_line_is_a_row(file):
    text, totals = file
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows_of(text):
        sums[row["InvoiceId"]] += Decimal(row["BilledCost"])
    assert dict(sums) == {number: Decimal(total).scaleb(-2) for number, total in totals.items()}
    charged = [row for row in rows_of(text) if not row["ChargeClass"]]
    assert [row["x_LineNumber"] for row in charged] == [str(number) for number in range(1, len(charged) + 1)]
    assert {row["ChargeCategory"] for row in charged} == CATEGORIES - {"Adjustment"}


def test_every_column_is_as_the_specification_wants_it(file):
    text, _ = file
    assert text.splitlines()[0] == ",".join(COLUMNS)
    assert len(set(COLUMNS)) == 45 + 1
    for row in rows_of(text):
        assert all(row[name] for name in NEVER_EMPTY), row
        assert row["ChargeCategory"] in CATEGORIES
        assert row["ChargeClass"] in ("", "Correction")
        assert row["ChargeFrequency"] in ("One-Time", "Recurring", "Usage-Based")
        assert row["BillingCurrency"] == "USD"
        for name in COLUMNS:
            if name.endswith(("Cost", "UnitPrice", "Quantity")):
                assert not row[name] or DECIMAL.fullmatch(row[name]), (name, row[name])
            if name.endswith(("PeriodStart", "PeriodEnd")):
                assert MOMENT.fullmatch(row[name]), (name, row[name])
        assert row["ChargePeriodStart"] < row["ChargePeriodEnd"]
        assert isinstance(json.loads(row["Tags"] or "{}"), dict)
        priced = [row[name] for name in ("PricingQuantity", "PricingUnit", "PricingCategory", "SkuId", "SkuPriceId")]
        is_sold = row["ChargeCategory"] in ("Usage", "Purchase") and not row["ChargeClass"]
        assert all(priced) if is_sold else not any(priced), row
        consumed = [row["ConsumedQuantity"], row["ConsumedUnit"]]
        assert all(consumed) if is_sold and row["ChargeCategory"] == "Usage" else not any(consumed), row


def test_a_price_per_unit_is_kept_with_its_exact_product_and_tiers_have_their_average(file):
    text, _ = file
    usage = {row["SkuId"]: row for row in rows_of(text) if row["ChargeCategory"] == "Usage" and not row["ChargeClass"]}
    flat, tiered = usage["machine_seconds"], usage["requests"]
    assert (flat["ListUnitPrice"], flat["ListCost"], flat["BilledCost"]) == ("0.01", "12.34567", "12.35")
    assert tiered["ListCost"] == tiered["BilledCost"] == "5.5"
    assert abs(Decimal(tiered["ListUnitPrice"]) * Decimal("333.3") - Decimal("5.5")) < Decimal("1e-15")


def test_texts_are_safe_in_spreadsheets(file):
    assert "'=Migration" in {row["ChargeDescription"] for row in rows_of(file[0])}


@pytest.mark.skipif(VALIDATOR is None, reason="focus-validator (Python 3.12 or newer) is not on the path")
def test_the_validator_of_the_finops_foundation_finds_nothing(file, tmp_path):
    """It ends with 0 whatever it finds, so its words are read; it looks for its files from where it is installed."""
    path = tmp_path / "focus.csv"
    path.write_text(file[0])
    python = Path(VALIDATOR).read_text().splitlines()[0].removeprefix("#!")
    where = subprocess.check_output([python, "-c", "import focus_validator as v; print(v.__path__[0])"], text=True)
    command = [VALIDATOR, "--data-file", str(path), "--validate-version", "1.2", "--block-download"]
    done = subprocess.run(command, cwd=Path(where.strip()).parent, capture_output=True, text=True, timeout=120)
    assert int(re.search(r"Total: \d+ \| Pass: (\d+)", done.stdout)[1]) > 100, done.stdout + done.stderr
    assert set(re.findall(r"(\S+): FAIL ", done.stdout)) <= NOT_OURS, done.stdout
