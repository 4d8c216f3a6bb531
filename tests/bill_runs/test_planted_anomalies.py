"""Sixty customers, of whom one in four is odd in a way of its own: all of these are found, and nobody else."""

from datetime import UTC, date, datetime, timedelta

import pytest

from portal.bill_runs.queries import Wanted, items_of
from portal.catalog.publishing import publish_price
from portal.core.periods import Month
from portal.infra.db import transaction
from tests.bill_runs.conftest import start, work
from tests.factories import NOW, add, make_draft, make_final, make_meter, make_organization, make_price, sql, use
from tests.factories import finalize_now as finalize_by_hand

pytestmark = pytest.mark.usefixtures("books")
CALM = 45
SEPTEMBER = Month(2026, 9)
EARLY_OCTOBER = datetime(2026, 10, 5, 1, tzinfo=UTC)


def usual(slug: str, *, now: datetime = NOW, **more):
    """A customer of $100.00 a month, with nothing to look at."""
    organization = make_organization(slug, address="1 Quay", **more)
    make_final(organization, "100.00", month=SEPTEMBER, now=now)
    return organization


def billed(slug: str, meter):
    """The same, whose September was usage."""
    organization = make_organization(slug, address="1 Quay")
    use(organization, meter, 100, at=date(2026, 9, 5))
    finalize_by_hand(make_draft(organization, SEPTEMBER))
    return organization


def steady(organization, meter, *, silent_from: str, silent_until: str) -> None:
    """Usage in every hour of two months, but for a time; the hours alone, nothing of it is billed."""
    sql(
        "INSERT INTO usage_hourly (organization_id, hour, series_id, meter_id, quantity, events)"
        " SELECT :organization, hour, 1, :meter, 1, 1 FROM generate_series(CAST('2026-09-01 00:00Z' AS timestamptz),"
        " '2026-10-31 23:00Z', '1 hour') AS hour"
        " WHERE NOT (hour >= CAST(:first AS timestamptz) AND hour < CAST(:last AS timestamptz))"
        " ON CONFLICT DO NOTHING",
        organization=organization.id,
        meter=meter.id,
        first=silent_from,
        last=silent_until,
    )


def test_what_is_odd_is_found_for_its_reason_and_nothing_else(no_hold):
    meter, other, unpriced = make_meter(), make_meter("gpu_seconds"), make_meter("tape_seconds")
    make_price(meter, "1")
    make_price(other, "1", name="Other")
    planted = {}

    def plant(code: str, organization) -> None:
        planted[organization.slug] = code

    for number in range(CALM):
        organization = usual(f"calm-{number:02d}")
        use(organization, meter, 90 + number % 20)
    silent_for_six = usual("calm-six-hours")
    use(silent_for_six, meter, 100)
    steady(silent_for_six, meter, silent_from="2026-10-10 03:00Z", silent_until="2026-10-10 09:00Z")
    for code, quantity in (("above", 310), ("below", 40), ("usage_gap", 100), ("late_usage", 100)):
        organization = usual(code.replace("_", "-"))
        use(organization, meter, quantity)
        plant(code, organization)
        if code == "usage_gap":
            steady(organization, meter, silent_from="2026-10-31 17:00Z", silent_until="2026-11-01 00:00Z")
        if code == "late_usage":
            use(organization, meter, 7, at=date(2026, 9, 20))
    debtor = usual("unpaid", now=EARLY_OCTOBER - timedelta(days=4))
    use(debtor, meter, 100)
    sql("UPDATE invoices SET payment_state = 'failed' WHERE organization_id = :id", id=debtor.id)
    plant("unpaid", debtor)
    plant("zero", usual("zero"))
    first = make_organization("first", address="1 Quay")
    use(first, meter, 100)
    plant("first", first)
    gap = make_organization("gap", address="1 Quay")
    make_final(gap, "100.00", month=SEPTEMBER.previous)
    use(gap, meter, 100)
    plant("gap", gap)
    plant("no_usage", billed("no-usage", meter))
    new = billed("new-meter", meter)
    use(new, meter, 90)
    use(new, other, 10)
    plant("new_meter", new)
    late = usual("late-share")
    use(late, meter, 90, at=date(2026, 10, 4), now=EARLY_OCTOBER)
    use(late, meter, 10)
    plant("late_share", late)
    waits = usual("blocked")
    use(waits, unpriced, 100)
    plant("blocked", waits)
    negative = usual("negative")
    use(negative, meter, 10)
    add(make_draft(negative), "-30.00")
    plant("negative", negative)
    reverse = usual("tax-id", tax_treatment="reverse_charge")
    use(reverse, meter, 100)
    plant("tax_id", reverse)
    large = make_organization("one-off", address="1 Quay")
    make_final(large, "1000.00", month=SEPTEMBER)
    add(make_draft(large), "1000.01")
    plant("one_off", large)
    own = usual("price-changed")
    with transaction():
        publish_price(
            meter=meter, terms={"model": "per_unit", "unit_amount": "1.1"}, name="Own", currency="USD",
            valid_from=date(2026, 10, 8), organization_id=own.id, open_from=None,
        )  # fmt: skip
    use(own, meter, 90)
    plant("price_changed", own)

    run = start(now=NOW)
    work()
    rows = sql(
        "SELECT o.slug, i.state, i.score, i.flags FROM bill_run_items AS i JOIN organizations AS o"
        " ON o.id = i.organization_id WHERE i.bill_run_id = :id",
        id=run.id,
    )
    assert len(rows) == CALM + 1 + len(planted)
    found = {row.slug: [flag["code"] for flag in row.flags] for row in rows if row.flags}
    assert found.keys() == planted.keys()
    assert [slug for slug, code in planted.items() if code not in found[slug]] == []
    assert {row.slug for row in rows if row.state == "generated"} == planted.keys() - {"unpaid"}
    [late_flag] = [row.flags for row in rows if row.slug == "late-share"]
    assert late_flag[0]["sentence"] == "1 of 2 events (50.0%) came after the month had ended."
    [gap_flags] = [row.flags for row in rows if row.slug == "usage-gap"]
    assert gap_flags[0]["sentence"].startswith("No usage for 7 hours on end")
    assert {row.score for row in rows if row.slug.startswith("calm")} == {0}
    # The queue shows the weightiest first, and its pages hold everybody once.
    pages, after = [], None
    with transaction():
        while page := items_of(run, after=after, limit=7):
            pages += page
            after = (page[-1].score, page[-1].organization_id)
        assert [item.organization.slug for item in items_of(run, Wanted(reason="usage_gap"))] == ["usage-gap"]
    expected = sorted((-row.score, row.slug) for row in rows)
    assert sorted((-item.score, item.organization.slug) for item in pages) == expected
    assert [item.score for item in pages] == sorted((item.score for item in pages), reverse=True)
