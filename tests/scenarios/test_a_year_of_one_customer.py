"""A year of one customer, worked by hand; and the very same year on servers that live in other time zones."""

import json
import os
import subprocess
import sys

import psycopg
import pytest
from psycopg import sql as sql_text

from devkit.testservers import TEMPLATE, drop_database, make_database
from portal import doctor
from portal.infra.db import transaction
from portal.invoicing.documents import is_intact
from portal.invoicing.draft_facts import balance_of
from portal.invoicing.month_totals import months_of
from portal.invoicing.queries import items_of
from tests.factories import reload, sql
from tests.infra.test_outbox import ROOT
from tests.scenarios.year import Year

ZONES = ("UTC", "Pacific/Auckland", "America/St_Johns", "Asia/Kathmandu")


@pytest.fixture
def year(books: None) -> Year:
    return Year()


def lines(invoice) -> dict[str, int | tuple[int, ...]]:
    """The amounts by their names, tax lines left out; of lines with one name all, in their order."""
    found: dict[str, tuple[int, ...]] = {}
    with transaction():
        for item in items_of(invoice.id):
            if item.kind != "tax":
                found[item.description] = (*found.get(item.description, ()), item.amount)
    return {name: amounts[0] if len(amounts) == 1 else amounts for name, amounts in found.items()}


def test_a_year_comes_to_what_was_worked_out_by_hand(year: Year):
    months = year.live()

    july = months["july"]
    assert lines(july) == {
        "Egress": 5000,  # (600 − 100 free) GB × 0.10
        "Standard": 2032,  # 30.00 × 21 of 31 days = 20.3226
    }
    # Tax 10% of 70.32 = 7.032; 70.32 + 7.03.
    assert (july.tax, july.total, july.amount_due) == (703, 7735, 7735)

    august = months["august"]
    assert lines(august) == {
        "Egress": 10000,  # (1,100 − 100) × 0.10; one minute before the month's end is in it
        "Standard": 3000,
        "Welcome (10%)": -1300,  # 10% of 130.00
    }
    # Tax 10% of 117.00.
    assert (august.tax, august.total) == (1170, 12870)

    september = months["september"]
    assert lines(september) == {
        "Egress": 2000,  # (300 − 100) × 0.10
        "Standard": (3000, 4500),  # a whole month of 1 seat; 3 × 30.00 for 15 of 30 days
        "Standard, unused time": -1500,  # 30.00 × 15 of 30 days
        "Welcome (10%)": -800,  # 10% of 20.00 + (30.00 − 15.00 given back) + 45.00 = 80.00
    }
    assert (september.tax, september.total) == (720, 7920)  # 72.00 + 10%

    october = months["october"]
    assert lines(october) == {
        # 200 + 250 in hours that Europe has twice, and 150 in the last microsecond: (600 − 100) × 0.10.
        "Egress": 5000,
        "Standard": 9000,  # 3 × 30.00
        "Migration assistance": 15000,
        "Goodwill credit": -4000,
    }
    assert (october.tax, october.total) == (2500, 27500)  # 250.00 + 10%

    november = months["november"]
    assert lines(november) == {
        "Egress": 1000,  # 70 in the first instant + 130 = 200: (200 − 100) × 0.10
        "Volumes": 250,  # 10 GB for 15 of 30 days = 5 GB-months × 0.50
        "Standard": 9000,
        "Standard, unused time": -4500,  # 90.00 × 15 of 30 days
        "Premium": 13500,  # 3 × 90.00 × 15 of 30 days
    }
    assert (november.tax, november.total) == (1925, 21175)  # 192.50 + 10%

    december = months["december"]
    assert lines(december) == {
        "Egress": 0,  # 100 GB, all free
        "Volumes": 500,  # 10 GB the whole month × 0.50
        "Premium": 27000,  # 3 × 90.00
        # October as it is known now: (700 − 100) × 0.10 = 60.00, less the 50.00 that were billed.
        "Late usage of 2027-10 · Bandwidth": 1000,
    }
    assert (december.tax, december.total) == (2850, 31350)  # 285.00 + 10%: still the rate of last year

    january = months["january"]
    assert lines(january) == {
        # Until the 15th (300 − 100 free) × 0.10; from the 16th on 50 × 0.12, the free ones are used.
        "Egress": (2000, 600),
        "Volumes": 750,  # (10 GB × 15.5 days + 20 GB × 15.5 days) / 31 = 15 GB-months × 0.50
        "Premium": 27000,
    }
    assert (january.tax, january.total) == (6070, 36420)  # 303.50 + 20%

    february = months["february"]
    assert lines(february) == {
        "Egress": 1200,  # (200 on the 29th − 100) × 0.12
        "Volumes": 966,  # 20 GB × 28 of 29 days = 19.310344827586 GB-months × 0.50 = 9.655
        "Premium": (27000, 4500),  # 3 seats; then 1 × 90.00 × 14.5 of 29 days
        "Premium, unused time": -13500,  # 270.00 × 14.5 of 29 days
    }
    assert (february.tax, february.total) == (4033, 24199)  # 201.66 + 20% = 40.332

    march = reload(months["march"])
    assert lines(march) == {
        "Egress": 10800,  # 400 + 600 in hours that people left out: (1,000 − 100) × 0.12
        "Premium": 9000,
        "Training": 2500,
    }
    assert (march.state, march.tax, march.total) == ("void", 4460, 26760)  # 223.00 + 20%

    again = months["march_again"]
    assert lines(again) == lines(march) | {"Discount for training": -500}
    assert (again.tax, again.total) == (4360, 26160)  # 218.00 + 20%

    april = months["april"]
    assert lines(april) == {"Premium": 9000, "Spring": -2000}
    assert (april.tax, april.total) == (1400, 8400)  # 70.00 + 20%
    [note] = year.notes
    # 24.00 with their tax are 20.00 and 20% of them: 241.99 − 24.00 are left to pay of February's invoice.
    assert (note.net, note.tax, note.total, note.off_due) == (2000, 400, 2400, 2400)

    may = months["may"]
    assert lines(may) == {
        "Egress": 3000,  # (350 − 100) × 0.12
        "Premium": 9000,
        "Service credit": -22000,
        # January without the 50 GB of the 20th: 20.00, less the 26.00 that were billed.
        "Late usage of 2028-01 · Bandwidth": -600,
    }
    # −106.00 − 20%: nothing is due, and 127.20 are carried on.
    assert (may.tax, may.total, may.amount_due, may.payment_state) == (-2120, -12720, 0, "paid")

    june = months["june"]
    assert lines(june) == {
        "Egress": 6000,  # (600 − 100) × 0.12
        "Premium": 9000,
        "Premium, unused time": -4500,  # 90.00 × 15 of 30 days
    }
    # 105.00 + 20% = 126.00, all of it paid by the 127.20 of May; 1.20 are left.
    assert (june.total, june.balance_applied, june.amount_due, june.payment_state) == (12600, 12600, 0, "paid")
    with transaction():
        assert balance_of(year.organization.id) == 120

    assert [each.number for each in year.issued] == [
        *(f"INV-2027-{number:06d}" for number in range(1, 6)),  # July to November
        *(f"INV-2028-{number:06d}" for number in range(1, 9)),  # December to June, March twice
    ]
    final = [reload(each) for each in year.issued]
    with transaction():
        # All that counts: 77.35 + 128.70 + 79.20 + 275.00 + 211.75 + 313.50 + 364.20 + 241.99 + 261.60 + 84.00
        # − 127.20 + 126.00, March once.
        assert sum(each.totals.total for each in months_of(year.organization.id)) == 203609
        assert all(is_intact(each, items_of(each.id)) for each in final)
        assert [each.rule for each in doctor.examine() if each.broken] == []
    assert sql("SELECT count(*) FROM invoices WHERE state = 'draft'") == [(0,)]


@pytest.mark.slow
def test_the_year_is_the_same_to_the_byte_in_every_time_zone(test_run, portal_environment, worker_number):
    """T05: the zone of the process, of the database and of its sessions; each year in a process of its own."""
    server = test_run.servers.database_url
    names = {zone: f"portal_{worker_number}_zone_{number}_test" for number, zone in enumerate(ZONES)}
    years = {}
    try:
        for zone, name in names.items():
            years[zone] = start_year(zone, make_database(server, name, template=TEMPLATE), name, portal_environment)
        told = {zone: json.loads(finished(process)) for zone, process in years.items()}
    finally:
        for process in years.values():
            process.kill()
            process.communicate()
        for name in names.values():
            drop_database(test_run.servers.dropping_url, name)
    assert {zone: each.pop("zones") for zone, each in told.items()} == {zone: [zone, zone, zone] for zone in ZONES}
    reference = told["UTC"]
    assert len(reference["files"]) == 13
    assert len(reference["hashes"]) == 14
    for zone in ZONES:
        assert told[zone] == reference, zone


def start_year(zone: str, database_url: str, name: str, environment: dict[str, str]) -> subprocess.Popen:
    with psycopg.connect(database_url, autocommit=True) as connection:
        set_zone = sql_text.SQL("ALTER DATABASE {} SET timezone TO {}")
        connection.execute(set_zone.format(sql_text.Identifier(name), sql_text.Literal(zone)))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.scenarios.year_in_a_zone"],
        cwd=ROOT,
        env={**os.environ, **environment, "DATABASE_URL": database_url, "TZ": zone, "LOG_LEVEL": "CRITICAL"},
        stdout=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen) -> str:
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return told
