"""Usage of a month that is final already: one linked adjustment on the next invoice, at the old month's prices."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from portal import billing_cycle, doctor
from portal.catalog.models import TaxRate
from portal.core.statement import LineKind
from portal.infra.db import transaction
from portal.invoicing.documents import is_intact
from portal.invoicing.drafting import draft_of
from portal.invoicing.finalizing import cancel
from portal.invoicing.late_standing import late_usage_of
from portal.invoicing.queries import items_of
from portal.invoicing.voiding import void_invoice
from tests.factories import (
    MONTH,
    NOW,
    finalize_now,
    fingerprint_of,
    make_draft,
    make_meter,
    make_organization,
    make_plan,
    make_price,
    reload,
    sql,
    subscribe,
    use,
)

pytestmark = pytest.mark.usefixtures("books")
NEXT = MONTH.next
LATER = datetime(2026, 12, 5, tzinfo=UTC)
TIERS = {
    "model": "graduated",
    "tiers": [{"up_to": "100", "unit_amount": "1"}, {"up_to": None, "unit_amount": "0.5"}],
}


def broken() -> list[str]:
    with transaction():
        return [each.rule for each in doctor.examine() if each.broken and each.code != "I8"]


def adjustments(organization, month=NEXT) -> list[tuple[str, int, date, date]]:
    with transaction():
        return [
            (line.description, line.amount, line.period_start, line.period_end)
            for line in draft_of(organization, month).statement.lines
            if line.kind is LineKind.ADJUSTMENT
        ]


@pytest.fixture
def billed():
    """October is final with 80 units; tiers of 100 at 1.00, then 0.50; from November on everything costs 9.00."""
    acme, meter = make_organization(), make_meter(dimensions=())
    make_price(meter, TIERS)
    make_price(meter, "9", valid_from=NEXT.first_day)
    use(acme, meter, 80)
    invoice = finalize_now(make_draft(acme))
    return acme, meter, invoice


def test_it_is_rated_with_the_prices_and_tiers_of_its_own_month(billed):
    # 80 were billed as 80.00. With 40 more, 120 cost 100 × 1.00 + 20 × 0.50 = 110.00: 30.00 are still owed.
    acme, meter, invoice = billed
    use(acme, meter, 40)
    assert adjustments(acme) == [("Late usage of 2026-10 · Compute", 3_000, MONTH.first_day, MONTH.last_day)]
    assert is_intact(reload(invoice), items_of(invoice.id))
    assert broken() == []


def test_usage_in_time_needs_no_adjustment(billed):
    acme, meter, _ = billed
    use(acme, meter, 1, at=date(2026, 11, 3))
    assert adjustments(acme) == []


def test_it_is_billed_once_and_what_comes_later_still_is_billed_after_that(billed):
    acme, meter, _ = billed
    use(acme, meter, 40)
    november = finalize_now(make_draft(acme, NEXT), now=LATER)
    assert [(item.kind, item.amount) for item in items_of(november.id)] == [("adjustment", 3_000)]
    assert adjustments(acme, NEXT.next) == []
    use(acme, meter, 10)
    assert adjustments(acme, NEXT.next) == [("Late usage of 2026-10 · Compute", 500, MONTH.first_day, MONTH.last_day)]
    december = finalize_now(make_draft(acme, NEXT.next), now=datetime(2027, 1, 5, tzinfo=UTC))
    assert reload(december).total == 500
    assert sql("SELECT sum(quantity) FROM billed_usage") == sql("SELECT sum(quantity) FROM usage_daily")
    assert broken() == []


def test_a_correction_that_comes_late_is_given_back(billed):
    acme, meter, _ = billed
    use(acme, meter, -30, correction=True)
    assert adjustments(acme) == [("Late usage of 2026-10 · Compute", -3_000, MONTH.first_day, MONTH.last_day)]


def test_what_comes_within_the_hold_window_is_late_too_and_a_cancel_takes_it_in(billed):
    acme, meter, _ = billed
    use(acme, meter, 1, at=date(2026, 11, 3))
    november = make_draft(acme, NEXT)
    finalize_now(november, now=LATER, hold_seconds=60)
    use(acme, meter, 2, at=date(2026, 11, 4), now=LATER)
    use(acme, meter, 40, now=LATER)
    with transaction():
        frozen = draft_of(acme, NEXT, frozen_invoice_id=november.id).statement
        assert frozen.total == 900
        in_december = {line.description: line.amount for line in draft_of(acme, NEXT.next).statement.lines}
    assert in_december == {"Late usage of 2026-10 · Compute": 3_000, "Late usage of 2026-11 · Compute": 1_800}
    with transaction():
        cancel(november.id, now=LATER)
        assert draft_of(acme, NEXT).statement.total == 2_700 + 3_000
        assert draft_of(acme, NEXT.next).statement.total == 0
    assert broken() == []


def test_the_first_open_invoice_takes_it_and_no_other(billed):
    acme, meter, _ = billed
    make_draft(acme, NEXT)
    use(acme, meter, 40)
    assert len(adjustments(acme, NEXT)) == 1
    assert adjustments(acme, NEXT.next) == []


def test_a_month_that_is_still_open_just_counts_it(billed):
    acme, meter, _ = billed
    november = make_draft(acme, NEXT)
    use(acme, meter, 2, at=date(2026, 11, 3))
    assert adjustments(acme, NEXT) == []
    finalize_now(november, now=LATER)
    assert reload(november).total == 1_800


def test_voiding_the_invoice_that_took_it_lets_it_go_on_the_next_one(billed):
    acme, meter, _ = billed
    use(acme, meter, 40)
    november = finalize_now(make_draft(acme, NEXT), now=LATER)
    with transaction():
        void_invoice(november.id, reason="wrong", now=LATER)
    assert adjustments(acme) == [("Late usage of 2026-10 · Compute", 3_000, MONTH.first_day, MONTH.last_day)]
    finalize_now(make_draft(acme, NEXT), now=LATER)
    assert sql("SELECT sum(quantity) FROM billed_usage AS b JOIN invoices AS i ON i.id = b.invoice_id"
               " WHERE i.state <> 'void'") == sql("SELECT sum(quantity) FROM usage_daily")  # fmt: skip
    assert broken() == []


def test_voiding_the_month_itself_never_bills_twice_what_a_later_invoice_has_billed(billed):
    # November's invoice has billed 40 late units as 30.00. October is voided and billed again: the 80 that are left
    # cost 80.00, and together that is what 120 cost: nothing is owed beyond it.
    acme, meter, october = billed
    use(acme, meter, 40)
    finalize_now(make_draft(acme, NEXT), now=LATER)
    with transaction():
        void_invoice(october.id, reason="wrong", now=LATER)
        assert draft_of(acme, MONTH).statement.total == 8_000
    finalize_now(make_draft(acme, MONTH), now=LATER)
    assert adjustments(acme, NEXT.next) == []
    assert broken() == []


def test_late_usage_without_a_price_keeps_the_next_invoice_from_being_finalized(billed):
    acme, _, _ = billed
    gpu = make_meter("gpu_seconds")
    use(acme, gpu, 5)
    with transaction():
        assert [series.meter_code for series in draft_of(acme, NEXT).unpriced] == ["gpu_seconds"]


def test_a_month_whose_usage_came_before_it_had_an_invoice_gets_one_of_its_own():
    acme, meter = make_organization(), make_meter(dimensions=())
    make_price(meter, "1")
    use(acme, meter, 7, at=date(2026, 8, 20))
    assert adjustments(acme) == []
    assert billing_cycle.open_drafts(NEXT) == 2
    assert billing_cycle.open_drafts(NEXT) == 0
    assert sql("SELECT period_start, period_end FROM invoices ORDER BY 1") == [
        (date(2026, 8, 1), date(2026, 9, 1)),
        (date(2026, 11, 1), date(2026, 12, 1)),
    ]


def test_the_fingerprint_covers_it(billed):
    acme, meter, _ = billed
    november = make_draft(acme, NEXT)
    before = fingerprint_of(november)
    use(acme, meter, 40)
    assert fingerprint_of(november) != before
    assert MONTH.end < NOW


def test_it_is_taxed_as_its_own_month_and_product_were():
    acme, meter = make_organization(), make_meter(dimensions=())
    make_price(meter, "1")
    with transaction() as session:
        product_id = meter.product_id
        session.add(TaxRate(percent=Decimal(7), product_id=product_id, valid_from=date(2026, 1, 1)))
        session.add(TaxRate(percent=Decimal(9), product_id=product_id, valid_from=date(2026, 11, 1)))
    finalize_now(make_draft(acme))
    use(acme, meter, 100)
    with transaction():
        statement = draft_of(acme, NEXT).statement
    assert (statement.total, statement.tax) == (10_700, 700)
    finalize_now(make_draft(acme, NEXT), now=LATER)
    assert broken() == []


def test_what_a_true_up_has_asked_for_is_not_asked_for_again():
    # 500.00 are agreed: 100.00 of usage and a true-up of 400.00. 100 units more, late, are within it.
    acme, meter = make_organization(), make_meter(dimensions=())
    make_price(meter, "1")
    subscribe(acme, make_plan(fee="0", terms={"commitment": "500"}), MONTH.start)
    use(acme, meter, 100)
    assert finalize_now(make_draft(acme)).total == 50_000
    use(acme, meter, 100)
    assert sum(amount for _, amount, _, _ in adjustments(acme)) == 0
    use(acme, meter, 400)
    # 600 in all: 100.00 beyond what was agreed.
    assert sum(amount for _, amount, _, _ in adjustments(acme)) == 10_000


def test_a_reservation_that_had_some_left_pays_for_it():
    acme, meter = make_organization(), make_meter(dimensions=())
    make_price(meter, "1")
    plan = make_plan(
        "reserved", fee="0", terms={"monthly_credit": "500"}, of_plan={"credit_meters": ("machine_seconds",)}
    )
    subscribe(acme, plan, MONTH.start)
    use(acme, meter, 100)
    assert finalize_now(make_draft(acme)).total == 0
    use(acme, meter, 100)
    assert adjustments(acme) == []
    use(acme, meter, 400)
    assert sum(amount for _, amount, _, _ in adjustments(acme)) == 10_000


def test_where_it_stands_is_told_on_the_closed_invoice(billed):
    acme, meter, invoice = billed

    def standing() -> list[tuple[str, int, str]]:
        closed = reload(invoice)
        with transaction():
            found = late_usage_of(closed, now=LATER)
        return [(each.state, each.amount, each.invoice.number if each.invoice else str(each.month)) for each in found]

    assert standing() == []
    use(acme, meter, 40)
    assert standing() == [("counted now", 3_000, "2026-11")]
    november = reload(finalize_now(make_draft(acme, NEXT), now=LATER))
    assert standing() == [("billed", 3_000, november.number)]
    use(acme, meter, -50, correction=True)
    assert standing() == [("billed", 3_000, november.number), ("counted now", -4_000, "2026-12")]
    december = reload(finalize_now(make_draft(acme, NEXT.next), now=datetime(2027, 1, 5, tzinfo=UTC)))
    assert standing()[1:] == [("credited", -4_000, december.number)]
    with transaction():
        void_invoice(november.id, reason="wrong", now=LATER)
    assert [each[0] for each in standing()] == ["credited", "counted now"]
