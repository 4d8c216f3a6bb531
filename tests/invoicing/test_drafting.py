"""What a month comes to."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from portal.core.errors import DraftChanged, InvalidInput, NotReady
from portal.core.periods import Month
from portal.core.statement import LineKind
from portal.infra.db import transaction
from portal.invoicing.drafting import draft_of
from portal.organizations.models import Organization
from tests.factories import (
    MONTH,
    add,
    finalize_now,
    make_draft,
    make_meter,
    make_organization,
    make_plan,
    make_price,
    sql,
    subscribe,
    use,
)

pytestmark = pytest.mark.usefixtures("books")


def draft(organization: Organization, month: Month = MONTH):
    with transaction():
        return draft_of(organization, month)


def lines(organization: Organization, month: Month = MONTH) -> list[tuple]:
    return [
        (line.description, line.quantity, line.amount, line.period_start.day, line.period_end.day)
        for line in draft(organization, month).statement.lines
    ]


def test_a_month_holds_its_first_instant_and_not_the_next_months():
    acme, meter = make_organization(), make_meter()
    make_price(meter, "1")
    use(acme, meter, 1, at=datetime(2026, 10, 1, tzinfo=UTC))
    use(acme, meter, 2, at=datetime(2026, 10, 31, 23, 59, 59, 999999, tzinfo=UTC))
    use(acme, meter, 4, at=datetime(2026, 11, 1, tzinfo=UTC))
    use(acme, meter, 8, at=datetime(2026, 9, 30, 23, 59, 59, 999999, tzinfo=UTC))
    assert draft(acme).statement.total == 300
    assert draft(acme, MONTH.next).statement.total == 400
    assert draft(acme, MONTH.previous).statement.total == 800


def test_a_line_is_rounded_once_from_all_of_its_usage():
    """1,000 events of 0.4 units at 0.01: 4.00, though each of them alone is 0.004 and would vanish."""
    acme, meter = make_organization(), make_meter()
    make_price(meter, "0.01")
    for number in range(100):
        use(acme, meter, "0.4", region=f"r{number % 7}")
    assert lines(acme) == [("Price of machine_seconds", Decimal(40), 40, 1, 31)]


def test_a_price_that_rises_in_mid_month_makes_two_lines():
    # 14 days × 10 units × $2 + 17 days × 10 units × $3 = $280 + $510
    acme, meter = make_organization(), make_meter()
    make_price(meter, "2")
    make_price(meter, "3", valid_from=date(2026, 10, 15))
    for day in MONTH.days():
        use(acme, meter, 10, at=day)
    assert lines(acme) == [
        ("Price of machine_seconds", Decimal(140), 28000, 1, 14),
        ("Price of machine_seconds", Decimal(170), 51000, 15, 31),
    ]


def test_after_a_price_change_the_later_segment_goes_on_from_the_quantity_reached():
    # The first 100 are free, the next 100 cost $1 and the rest $0.50; from the 16th on $2 and $1.
    # 1–15: 150 units: 100 free, 50 × $1 = $50. 16–31: 150 units from 150 on: 50 × $2 + 100 × $1 = $200.
    acme, meter = make_organization(), make_meter()

    def terms(low: str, high: str) -> dict:
        tiers = [{"up_to": "100", "unit_amount": low}, {"up_to": None, "unit_amount": high}]
        return {"model": "graduated", "free_quantity": "100", "tiers": tiers}

    make_price(meter, terms("1", "0.50"))
    make_price(meter, terms("2", "1"), valid_from=date(2026, 10, 16))
    use(acme, meter, 150, at=date(2026, 10, 15))
    use(acme, meter, 150, at=date(2026, 10, 16))
    assert [amount for _, _, amount, _, _ in lines(acme)] == [5000, 20000]
    assert draft(acme).statement.lines[1].derivation["already"] == "150"


def test_a_volume_price_takes_its_tier_from_the_whole_month_in_both_segments():
    acme, meter = make_organization(), make_meter()

    def terms(low: str, high: str) -> dict:
        tiers = [{"up_to": "100", "unit_amount": low}, {"up_to": None, "unit_amount": high}]
        return {"model": "volume", "tiers": tiers}

    make_price(meter, terms("1", "0.50"))
    make_price(meter, terms("2", "1"), valid_from=date(2026, 10, 16))
    use(acme, meter, 60, at=date(2026, 10, 1))
    use(acme, meter, 60, at=date(2026, 10, 31))
    assert [amount for _, _, amount, _, _ in lines(acme)] == [3000, 6000]


def test_a_price_from_the_first_of_the_month_makes_one_line():
    acme, meter = make_organization(), make_meter()
    make_price(meter, "2")
    make_price(meter, "3", valid_from=MONTH.first_day)
    make_price(meter, "9", valid_from=MONTH.next.first_day)
    use(acme, meter, 1, at=MONTH.first_day)
    use(acme, meter, 1, at=MONTH.last_day)
    assert lines(acme) == [("Price of machine_seconds", Decimal(2), 600, 1, 31)]


def test_the_most_specific_price_wins():
    acme, meter = make_organization(), make_meter(dimensions=("region", "size"))
    make_price(meter, "1", name="list")
    make_price(meter, "2", match={"region": "ams"}, name="ams")
    make_price(meter, "3", match={"region": "ams", "size": "big"}, name="big in ams")
    make_price(meter, "4", organization_id=acme.id, match={"region": "syd"}, name="own in syd")
    make_price(meter, "5", match={"region": "syd", "size": "big"}, name="big in syd")
    for region, size in [("iad", "big"), ("ams", "small"), ("ams", "big"), ("syd", "big"), ("syd", "small")]:
        use(acme, meter, 1, region=region, size=size)
    assert {name: amount for name, _, amount, _, _ in lines(acme)} == {
        "list": 100,
        "ams": 200,
        "big in ams": 300,
        "own in syd": 800,
    }


def test_another_organizations_price_is_not_ours():
    acme, other, meter = make_organization(), make_organization("other"), make_meter()
    make_price(meter, "1")
    make_price(meter, "7", organization_id=other.id)
    use(acme, meter, 1)
    use(other, meter, 1)
    assert (draft(acme).statement.total, draft(other).statement.total) == (100, 700)


def test_a_price_of_ones_own_that_begins_later_leaves_the_days_before_to_the_list():
    acme, meter = make_organization(), make_meter()
    make_price(meter, "2", name="list")
    make_price(meter, "1", organization_id=acme.id, name="own", valid_from=date(2026, 10, 16))
    use(acme, meter, 10, at=date(2026, 10, 15))
    use(acme, meter, 10, at=date(2026, 10, 16))
    assert draft(acme).unpriced == ()
    assert {name: amount for name, _, amount, _, _ in lines(acme)} == {"list": 2000, "own": 1000}


def test_a_price_that_is_agreed_for_next_year_does_not_stop_this_months_invoice():
    acme, meter, plan = make_organization(), make_meter(), make_plan()
    make_price(meter, "2")
    make_price(meter, "1", organization_id=acme.id, valid_from=date(2027, 1, 1))
    from portal.catalog.publishing import publish_price

    with transaction():
        publish_price(
            name="own support", plan=plan, currency="USD", organization_id=acme.id,
            terms={"model": "flat_fee", "unit_amount": "1"}, valid_from=date(2027, 1, 1), open_from=None,
        )  # fmt: skip
    subscribe(acme, plan, datetime(2026, 1, 1, tzinfo=UTC))
    use(acme, meter, 10)
    assert draft(acme).statement.total == 2000 + 2900
    make_draft(acme)
    assert finalize_now(make_draft(acme)).number


def test_usage_without_a_price_is_shown_and_keeps_the_invoice_from_being_finalized():
    acme, meter, other = make_organization(), make_meter(), make_meter("gpu_seconds")
    make_price(meter, "1")
    make_price(other, "1", currency="EUR")  # a price in another currency is none
    use(acme, meter, 1)
    use(acme, other, 1)
    assert [series.meter_code for series in draft(acme).unpriced] == ["gpu_seconds"]
    invoice = make_draft(acme)
    with pytest.raises(NotReady, match="gpu seconds"):
        finalize_now(invoice)
    assert sql("SELECT state FROM invoices") == [("draft",)]
    assert sql("SELECT count(*) FROM billed_usage") == [(0,)]


def test_corrections_lower_the_line_and_may_make_it_a_credit():
    acme, meter = make_organization(), make_meter()
    make_price(meter, "1")
    use(acme, meter, 10)
    use(acme, meter, -4, correction=True)
    assert draft(acme).statement.total == 600
    use(acme, meter, -10, correction=True)
    assert draft(acme).statement.total == -400
    assert draft(acme).statement.carried_forward == 400


def test_a_segment_that_corrections_outweigh_lowers_the_one_before_it():
    # 1,000 with 100 free at 1.00; after the price change −50 in all: 950 cost 850.00, and the −50 nothing.
    acme, meter = make_organization(), make_meter(dimensions=())
    terms = {"model": "per_unit", "unit_amount": "1.00", "free_quantity": "100"}
    make_price(meter, terms)
    make_price(meter, terms, valid_from=date(2026, 10, 16))
    use(acme, meter, 1000, at=date(2026, 10, 3))
    use(acme, meter, -50, at=date(2026, 10, 20), correction=True)
    assert [line.amount for line in draft(acme).statement.lines] == [85_000, 0]


def test_a_minimum_is_asked_once_a_month_by_the_segment_that_ends_it():
    acme, meter = make_organization(), make_meter(dimensions=())
    make_price(meter, {"model": "per_unit", "unit_amount": "1.00", "minimum": "30"})
    make_price(meter, {"model": "per_unit", "unit_amount": "2.00", "minimum": "30"}, valid_from=date(2026, 10, 16))
    use(acme, meter, 5, at=date(2026, 10, 3))
    use(acme, meter, 6, at=date(2026, 10, 20))
    # 5.00 and 12.00 are 17.00; the month comes to at least 30.00.
    assert [line.amount for line in draft(acme).statement.lines] == [500, 2_500]


def test_a_price_that_looks_at_each_event_is_refused_because_usage_is_billed_from_daily_sums():
    terms = {"model": "percentage", "rate_percent": "2.9", "event_minimum": "0.30"}
    with pytest.raises(InvalidInput, match="each event"):
        make_price(make_meter(), terms)


def test_a_plan_without_a_price_is_named_and_keeps_the_invoice_from_being_finalized():
    acme = make_organization()
    subscribe(acme, make_plan("support", currency="EUR"), datetime(2026, 9, 1, tzinfo=UTC))
    assert draft(acme).unpriced_plans == ("Support",)
    with pytest.raises(NotReady, match="A plan has no price: Support"):
        finalize_now(make_draft(acme))


def test_a_subscription_is_charged_for_the_part_of_its_first_month_by_the_second():
    # October has 31 days; from the 16th at noon 15.5 days are left: 31.00 × 15.5 / 31 = 15.50
    acme, plan = make_organization(), make_plan(fee="31")
    subscribe(acme, plan, datetime(2026, 10, 16, 12, 0, tzinfo=UTC))
    assert draft(acme, MONTH.previous).statement.lines == ()
    [line] = draft(acme).statement.lines
    assert (line.kind, line.amount, line.derivation["share"]) == (LineKind.RECURRING, 1550, "1/2")
    assert (line.period_start, line.period_end) == (date(2026, 10, 16), date(2026, 10, 31))
    [following] = draft(acme, MONTH.next).statement.lines
    assert (following.amount, following.derivation["share"]) == (3100, "1")


@pytest.mark.parametrize(
    ("started_at", "amount"),
    [
        (datetime(2026, 10, 1, tzinfo=UTC), 2900),
        (datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC), 0),  # one second of 2,678,400: 0.0011 cents
        (datetime(2026, 10, 11, tzinfo=UTC), 1965),  # 29 × 21 / 31 = 19.645…
        (datetime(2020, 2, 29, tzinfo=UTC), 2900),
    ],
)
def test_a_prorated_fee_is_rounded_once(started_at, amount):
    acme = make_organization()
    plan = make_plan(valid_from=date(2020, 1, 1))
    subscribe(acme, plan, started_at)
    assert draft(acme).statement.total == amount


def test_an_ended_subscription_is_charged_no_more():
    acme, plan = make_organization(), make_plan()
    subscribe(acme, plan, datetime(2026, 1, 1, tzinfo=UTC), ended_at=MONTH.start)
    assert draft(acme, MONTH.previous).statement.total == 2900
    assert draft(acme).statement.lines == ()


def test_two_seats_and_two_addresses_are_told_apart():
    acme, plan = make_organization(), make_plan(fee="2")
    subscribe(acme, plan, datetime(2026, 1, 1, tzinfo=UTC), quantity=3, label="seats")
    subscribe(acme, plan, datetime(2026, 1, 1, tzinfo=UTC), label="address")
    assert [(name, amount) for name, _, amount, _, _ in lines(acme)] == [
        ("Support · address", 200),
        ("Support · seats", 600),
    ]


def test_yen_are_rounded_to_whole_yen():
    acme, meter = make_organization(currency="JPY"), make_meter()
    make_price(meter, "0.3", currency="JPY")
    use(acme, meter, 5)
    assert draft(acme).statement.total == 2  # 1.5 is rounded away from zero


def test_the_same_inputs_give_the_same_fingerprint_and_any_change_gives_another():
    acme, meter = make_organization(), make_meter()
    make_price(meter, "1")
    use(acme, meter, 1, event_id="one")
    first = draft(acme).fingerprint
    assert draft(acme).fingerprint == first
    use(acme, meter, 1, event_id="one")
    assert draft(acme).fingerprint == first
    use(acme, meter, 1, at=MONTH.next.first_day)
    assert draft(acme).fingerprint == first
    use(acme, meter, "0.000000000001")
    second = draft(acme).fingerprint
    add(make_draft(acme), "0.00", "nothing")
    assert len({first, second, draft(acme).fingerprint}) == 3


def test_a_draft_that_changed_since_it_was_seen_is_not_finalized():
    from portal.invoicing.finalizing import finalize
    from tests.factories import NOW, fingerprint_of, terms

    acme, meter = make_organization(), make_meter()
    make_price(meter, "1")
    invoice = make_draft(acme)
    seen = fingerprint_of(invoice)
    use(acme, meter, 1)
    with pytest.raises(DraftChanged), transaction():
        finalize(invoice.id, fingerprint=seen, by="Ada", now=NOW, terms=terms())
    assert sql("SELECT state, total, number FROM invoices") == [("draft", 0, None)]
    assert sql("SELECT count(*) FROM audit_entries WHERE subject_kind = 'invoice'") == [(0,)]


def test_an_invoice_above_the_largest_is_refused_before_anything_is_sent():
    acme = make_organization()
    invoice = make_draft(acme)
    add(invoice, "999999.99")
    assert draft(acme).statement.amount_due == 99_999_999
    with pytest.raises(InvalidInput, match="largest"):
        add(invoice, "1000000.00")
    add(invoice, "0.01", "one cent more")
    assert draft(acme).statement.total == 100_000_000
    with pytest.raises(NotReady, match="largest amount"):
        finalize_now(invoice)


def test_a_draft_is_computed_in_as_many_queries_whatever_was_used(app):
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    acme, meter = make_organization(), make_meter()
    make_price(meter, "1")
    counted: list[str] = []

    def count(conn, cursor, statement, *more):
        counted.append(statement)

    def queries() -> int:
        counted.clear()
        event.listen(Engine, "before_cursor_execute", count)
        try:
            draft(acme)
        finally:
            event.remove(Engine, "before_cursor_execute", count)
        return len(counted)

    use(acme, meter, 1)
    few = queries()
    for number in range(40):
        use(acme, meter, 1, region=f"r{number}", at=MONTH.days()[number % 31])
    assert queries() == few <= 12


@pytest.mark.parametrize(
    ("terms", "first", "then", "total"),
    [
        # Tier of the whole month's 40: 1.00 each.
        ({"model": "volume", "tiers": [{"up_to": "50", "unit_amount": "1"}, {"unit_amount": "0.5"}]}, 100, -60, 4_000),
        ({"model": "per_unit", "unit_amount": "1", "minimum": "100"}, 10, -1, 10_000),
        ({"model": "package", "unit_amount": "3", "package_size": "100", "minimum": "20"}, 84, -60, 2_000),
        ({"model": "per_unit", "unit_amount": "1", "maximum": "40", "discount_percent": "10"}, 87, -35, 4_000),
        ({"model": "flat_fee", "unit_amount": "1", "maximum": "40"}, 92, -42, 4_000),
        ({"model": "per_unit", "unit_amount": "1", "maximum": "40", "free_quantity": "10"}, -40, 115, 4_000),
    ],
)
def test_the_same_terms_published_again_never_change_what_a_corrected_month_costs(terms, first, then, total):
    acme, meter = make_organization(), make_meter(dimensions=())
    make_price(meter, terms)
    for at, quantity in ((date(2026, 10, 3), first), (date(2026, 10, 20), then)):
        use(acme, meter, quantity, at=at, correction=quantity < 0)
    assert draft(acme).statement.total == total
    make_price(meter, terms, valid_from=date(2026, 10, 16))
    assert draft(acme).statement.total == total


def test_what_is_asked_once_a_month_is_not_given_back_by_corrections():
    acme, meter = make_organization(), make_meter(dimensions=())
    make_price(meter, {"model": "graduated", "tiers": [{"unit_amount": "1", "flat_amount": "50"}]})
    use(acme, meter, -1, correction=True)
    assert draft(acme).statement.total == -100
