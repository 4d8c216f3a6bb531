"""Months under Fly.io's published price list, from its catalog file to the last cent, worked by hand."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from portal import doctor
from portal.catalog.applying import apply_catalog
from portal.catalog.models import Plan
from portal.catalog.queries import meters_by_code
from portal.core.periods import Month
from portal.infra.db import transaction
from portal.infra.yaml_text import read_yaml
from portal.invoicing.drafting import draft_of
from portal.organizations.models import Organization
from portal.organizations.registering import ensure_organization
from tests.factories import NOW, finalize_now, make_draft, subscribe, use

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "fly_io_prices.yaml"
SEPTEMBER, OCTOBER, NOVEMBER = Month(2026, 9), Month(2026, 10), Month(2026, 11)
# Seconds and hours of whole months: September has 30 days, October 31.
SECONDS = {SEPTEMBER: 30 * 86_400, OCTOBER: 31 * 86_400}
HOURS = {SEPTEMBER: 720, OCTOBER: 744}


@pytest.fixture(autouse=True)
def _price_list(books: None) -> None:
    with transaction():
        apply_catalog(
            read_yaml(EXAMPLE.read_text()),
            open_from=lambda currency, organization_id: None,
            used_meters=lambda: (),
            now=NOW,
        )


def register(slug: str = "acme") -> Organization:
    with transaction():
        return ensure_organization(slug, name=slug.title(), currency="USD")


def plan(code: str) -> Plan:
    with transaction() as session:
        return session.query(Plan).filter_by(code=code).one()


def report(organization: Organization, month: Month, *usage: tuple[str, str | int, dict[str, str]]) -> None:
    """Usage of a month, all of it on its fifth day."""
    with transaction():
        meters = meters_by_code()
    for code, quantity, dimensions in usage:
        use(organization, meters[code], quantity, at=date(month.year, month.month, 5), **dimensions)


def bill(organization: Organization, month: Month) -> tuple[dict[str, int], int]:
    """The draft's lines by what they say, and its total; in cents."""
    with transaction():
        draft = draft_of(organization, month)
    assert draft.blockers == ()
    lines = {line.description: line.amount for line in draft.statement.lines}
    assert len(lines) == len(draft.statement.lines)
    return lines, draft.statement.total


def test_a_small_hobby_app():
    acme = register()
    small = {"size": "shared-cpu-1x-256MB", "app": "blog"}
    report(
        acme,
        SEPTEMBER,
        ("shared_machine_seconds", SECONDS[SEPTEMBER], {**small, "region": "iad"}),
        ("shared_machine_seconds", SECONDS[SEPTEMBER] // 2, {**small, "region": "ams"}),
        ("rootfs_gb_hours", 324, {"app": "blog"}),
        ("volume_gb_hours", HOURS[SEPTEMBER], {"app": "blog", "region": "iad"}),
        ("egress_gb", 5, {"app": "blog", "region_group": "na_eu"}),
        ("certificates", 2, {"kind": "hostname"}),
    )
    subscribe(acme, plan("dedicated_ipv4"), datetime(2026, 6, 1, tzinfo=UTC))

    lines, total = bill(acme, SEPTEMBER)
    assert lines == {
        # 2,592,000 s × 0.00000075 = 1.944
        "Machine · shared-cpu-1x 256 MB": 194,
        # Amsterdam has a price of its own: 1,296,000 s × 0.0000007788461535 = 1.00938…
        "Machine · shared-cpu-1x 256 MB · Amsterdam": 101,
        # That machine was stopped for the other half: 0.9 GB × 360 h = 324 GB-hours × 0.000208333333 = 0.0674…
        "Root file systems of stopped machines": 7,
        # 1 GB × 720 h × 0.000208333333 = 0.14999…
        "Volumes": 15,
        # 5 GB × 0.02 = 0.10
        "Egress · North America and Europe": 10,
        # Both are among the first 10, which are free.
        "Certificates of one hostname (first 10 free)": 0,
        # A month of the address, in advance.
        "Dedicated IPv4 address": 200,
    }
    # 1.94 + 1.01 + 0.07 + 0.15 + 0.10 + 0.00 + 2.00
    assert total == 527


TRAFFIC = (
    ("egress_gb", 90, {"app": "shop", "region_group": "na_eu"}),
    ("egress_gb", 60, {"app": "api", "region_group": "na_eu"}),
    ("egress_gb", "45.5", {"app": "shop", "region_group": "apac_sa"}),
    ("egress_gb", "30.25", {"app": "shop", "region_group": "africa_india"}),
)


def test_egress_in_all_region_groups_and_storage_beyond_what_is_free():
    acme = register()
    report(
        acme,
        OCTOBER,
        *TRAFFIC,
        ("private_network_gb", 100, {"app": "shop", "region_group": "na_eu"}),
        ("snapshot_gb_hours", 25 * HOURS[OCTOBER], {"app": "shop"}),
        ("static_egress_ip_hours", HOURS[OCTOBER], {"app": "shop"}),
        ("certificates", 13, {"kind": "hostname"}),
        ("certificates", 1, {"kind": "wildcard"}),
    )

    lines, total = bill(acme, OCTOBER)
    assert lines == {
        # 90 + 60 = 150 GB × 0.02 = 3.00: both apps on one line
        "Egress · North America and Europe": 300,
        # 45.5 GB × 0.04 = 1.82
        "Egress · Asia Pacific, Oceania, South America": 182,
        # 30.25 GB × 0.12 = 3.63
        "Egress · Africa and India": 363,
        # 100 GB × 0.006 = 0.60
        "Private network · North America and Europe": 60,
        # 25 GB × 744 h = 18,600 GB-hours, less the free 7,200: 11,400 × 0.000111111111 = 1.26666…
        "Volume snapshots (first 10 GB free)": 127,
        # 744 h × 0.005 = 3.72
        "Static egress IPs": 372,
        # 13, of which 10 are free: 3 × 0.10 = 0.30
        "Certificates of one hostname (first 10 free)": 30,
        "Wildcard certificates": 100,
    }
    # 3.00 + 1.82 + 3.63 + 0.60 + 1.27 + 3.72 + 0.30 + 1.00
    assert total == 1534


def test_the_allowances_of_a_discontinued_plan_are_for_those_who_have_it():
    acme = register()
    subscribe(acme, plan("legacy_hobby"), datetime(2026, 2, 1, tzinfo=UTC))
    report(
        acme,
        OCTOBER,
        *TRAFFIC,
        (
            "shared_machine_seconds",
            4 * SECONDS[OCTOBER],
            {"size": "shared-cpu-1x-256MB", "app": "shop", "region": "iad"},
        ),
        ("volume_gb_hours", 4 * HOURS[OCTOBER], {"app": "shop", "region": "iad"}),
    )

    lines, total = bill(acme, OCTOBER)
    assert lines == {
        # 150 GB, 100 free, over all apps together: 50 × 0.02 = 1.00
        "Egress · North America and Europe (first 100 GB free)": 100,
        # 45.5 GB, 30 free: 15.5 × 0.04 = 0.62
        "Egress · Asia Pacific, Oceania, South America (first 30 GB free)": 62,
        # 30.25 GB, 30 free: 0.25 × 0.12 = 0.03
        "Egress · Africa and India (first 30 GB free)": 3,
        # Four machines: 10,713,600 s, less three months of 30 days, 7,776,000 s: 2,937,600 × 0.00000075 = 2.2032
        "Machine · shared-cpu-1x 256 MB (three free)": 220,
        # 4 GB × 744 h = 2,976 GB-hours, less 3 GB × 720 h = 2,160: 816 × 0.000208333333 = 0.16999…
        "Volumes (first 3 GB free)": 17,
        "Legacy Hobby": 0,
    }
    # 1.00 + 0.62 + 0.03 + 2.20 + 0.17
    assert total == 402


def test_support_from_the_middle_of_a_month():
    acme, other = register("acme"), register("other")
    noon = datetime(2026, 10, 11, 12, tzinfo=UTC)
    subscribe(acme, plan("support_standard"), noon)
    subscribe(other, plan("support_standard"), noon, anchor_at=noon)
    app = {"app": "shop", "region": "iad"}
    report(
        acme,
        OCTOBER,
        ("performance_machine_seconds", SECONDS[OCTOBER], {**app, "size": "performance-1x-2GB"}),
        ("performance_ram_gb_seconds", SECONDS[OCTOBER], app),
        ("gpu_hours", "12.5", {"app": "shop", "model": "A10"}),
    )

    lines, total = bill(acme, OCTOBER)
    assert lines == {
        # 20.5 of the month's 31 days: 29.00 × 20.5 / 31 = 19.1774…
        "Support · Standard": 1918,
        # 2,678,400 s × 0.00001196 = 32.033664
        "Machine · performance-1x 2 GB": 3203,
        # 1 GB × 2,678,400 s × 0.00000193 = 5.169312
        "Additional RAM · Performance machines": 517,
        # 12.5 h × 1.50 = 18.75
        "GPU · A10": 1875,
    }
    # 19.18 + 32.03 + 5.17 + 18.75
    assert total == 7513
    # From then on whole months.
    assert bill(acme, NOVEMBER) == ({"Support · Standard": 2900}, 2900)
    # Whose periods are counted from the first day pays for whole ones: 11 October to 11 November, and so on.
    assert bill(other, OCTOBER) == ({"Support · Standard": 2900}, 2900)
    assert bill(other, NOVEMBER) == ({"Support · Standard": 2900}, 2900)


def test_the_credit_of_a_reservation_covers_machines_and_does_not_roll_over():
    acme = register()
    subscribe(acme, plan("reservation_shared"), datetime(2026, 9, 1, tzinfo=UTC))
    shop = {"app": "shop", "region": "iad"}
    shared = {**shop, "size": "shared-cpu-2x-512MB"}
    report(
        acme,
        SEPTEMBER,
        ("shared_machine_seconds", SECONDS[SEPTEMBER], shared),
        ("performance_machine_seconds", 3600, {**shop, "size": "performance-1x-2GB"}),
    )
    report(
        acme,
        OCTOBER,
        ("shared_machine_seconds", 2 * SECONDS[OCTOBER], shared),
        ("shared_ram_gb_seconds", 10 * 86_400, shop),
        ("egress_gb", 10, {"app": "shop", "region_group": "na_eu"}),
    )

    lines, total = bill(acme, SEPTEMBER)
    assert lines == {
        # The whole year in advance.
        "Reservation · Shared machines": 3600,
        # 2,592,000 s × 0.0000015 = 3.888
        "Machine · shared-cpu-2x 512 MB": 389,
        # 3,600 s × 0.00001196 = 0.043056; a performance machine is not what was reserved
        "Machine · performance-1x 2 GB": 4,
        # Of the month's 5.00 all that shared machines cost; 1.11 of it is lost.
        "Reservation · Shared machines, credit for usage": -389,
    }
    # 36.00 + 3.89 + 0.04 − 3.89
    assert total == 3604
    september = finalize_now(make_draft(acme, SEPTEMBER))
    assert (september.total, september.amount_due) == (3604, 3604)

    lines, total = bill(acme, OCTOBER)
    assert lines == {
        # 5,356,800 s × 0.0000015 = 8.0352
        "Machine · shared-cpu-2x 512 MB": 804,
        # 864,000 GB-seconds × 0.00000193 = 1.66752
        "Additional RAM · Shared machines": 167,
        # 10 GB × 0.02 = 0.20, which the credit is not for
        "Egress · North America and Europe": 20,
        # 8.04 + 1.67 = 9.71, of which October's own 5.00 are covered and not 6.11; no fee before next September.
        "Reservation · Shared machines, credit for usage": -500,
    }
    # 8.04 + 1.67 + 0.20 − 5.00
    assert total == 491
    with transaction():
        assert [finding.code for finding in doctor.examine() if finding.broken] == []
