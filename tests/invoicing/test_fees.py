"""Subscriptions on invoices: in advance, changed, cancelled, discounted, committed; and reservations."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from sqlalchemy import update

from portal.catalog.models import Coupon, CouponRedemption, Price, SubscriptionChange, TaxRate
from portal.core.errors import NotReady
from portal.core.periods import Month
from portal.core.statement import LineKind
from portal.core.subscriptions import Interval
from portal.infra.db import transaction
from portal.invoicing.crediting import grant_credit
from portal.invoicing.drafting import draft_of
from tests.factories import (
    MONTH,
    finalize_now,
    make_draft,
    make_meter,
    make_organization,
    make_plan,
    make_price,
    subscribe,
    use,
)

pytestmark = pytest.mark.usefixtures("books")
FIRST = datetime(2026, 10, 1, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


def at(day: int, month: int = 10, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def draft(organization, month=MONTH):
    with transaction():
        return draft_of(organization, month)


def amounts(organization, month=MONTH, *kinds: LineKind) -> list[tuple[str, int]]:
    return [
        (line.description, line.amount)
        for line in draft(organization, month).statement.lines
        if not kinds or line.kind in kinds
    ]


def change(subscription, plan, moment: datetime, quantity: int = 1) -> None:
    with transaction() as session:
        session.add(
            SubscriptionChange(
                organization_id=subscription.organization_id,
                subscription_id=subscription.id,
                plan_id=plan.id,
                quantity=quantity,
                effective_at=moment,
            )
        )


def end(subscription, moment: datetime) -> None:
    with transaction() as session:
        session.merge(subscription).ended_at = moment


def give_coupon(organization, *, percent: str, months: tuple[Month, Month | None] = (MONTH, None)) -> None:
    with transaction() as session:
        coupon = Coupon(code=f"c{percent}", name="Welcome", percent=Decimal(percent))
        session.add(coupon)
        session.flush()
        first, last = months
        session.add(
            CouponRedemption(
                organization_id=organization.id,
                coupon_id=coupon.id,
                first_month=first.first_day,
                last_month=last and last.first_day,
            )
        )


def test_a_fee_is_charged_on_the_day_of_the_month_on_which_its_period_starts():
    acme = make_organization()
    subscribe(acme, make_plan(fee="31"), at(15), anchor_at=at(15))
    assert amounts(acme, MONTH.previous) == []
    [line] = draft(acme).statement.lines
    assert (line.amount, line.period_start, line.period_end) == (3_100, date(2026, 10, 15), date(2026, 11, 14))
    [line] = draft(acme, MONTH.next).statement.lines
    assert (line.amount, line.period_start, line.period_end) == (3_100, date(2026, 11, 15), date(2026, 12, 14))


def test_an_anchor_on_the_31st_is_clamped_in_short_months_and_comes_back():
    acme = make_organization()
    subscribe(acme, make_plan(fee="31"), datetime(2026, 1, 31, tzinfo=UTC), anchor_at=datetime(2026, 1, 31, tzinfo=UTC))
    days = [
        line.period_start
        for month in range(1, 6)
        for line in draft(acme, Month(2026, month)).statement.lines
    ]  # fmt: skip
    assert days == [date(2026, 1, 31), date(2026, 2, 28), date(2026, 3, 31), date(2026, 4, 30), date(2026, 5, 31)]


def test_a_yearly_fee_is_charged_once_a_year():
    acme, plan = make_organization(), make_plan(fee="120", of_plan={"interval": Interval.YEAR})
    subscribe(acme, plan, FIRST, anchor_at=FIRST)
    assert amounts(acme) == [("Support", 12_000)]
    assert amounts(acme, MONTH.next) == []
    assert amounts(acme, MONTH.plus(12)) == [("Support", 12_000)]


def test_a_trial_is_free_and_the_first_fee_is_a_whole_one():
    acme = make_organization()
    subscribe(acme, make_plan(fee="31"), at(10), anchor_at=at(24), trial_ends_at=at(24))
    [line] = draft(acme).statement.lines
    assert (line.amount, line.period_start, line.period_end) == (3_100, date(2026, 10, 24), date(2026, 11, 23))


def test_an_upgrade_gives_back_the_rest_of_the_old_fee_and_charges_the_rest_of_the_new_one():
    # 31 days: on the 11th, 21/31 are left. 31.00 × 21/31 = 21.00 go back, 62.00 × 21/31 = 42.00 are charged.
    acme, small, large = make_organization(), make_plan(fee="31"), make_plan("premium", fee="62")
    change(subscribe(acme, small, FIRST), large, at(11))
    assert amounts(acme) == [("Premium", 4_200), ("Support", 3_100), ("Support, unused time", -2_100)]
    assert amounts(acme, MONTH.next) == [("Premium", 6_200)]


def test_a_downgrade_at_the_periods_end_needs_no_credit():
    acme, small, large = make_organization(), make_plan(fee="31"), make_plan("premium", fee="62")
    change(subscribe(acme, large, FIRST), small, NOVEMBER)
    assert amounts(acme) == [("Premium", 6_200)]
    assert amounts(acme, MONTH.next) == [("Support", 3_100)]


def test_more_seats_are_charged_from_the_second_they_are_there():
    # At noon of the 16th exactly half of October is left: 2 × 10.00 / 2 go back, 5 × 10.00 / 2 are charged.
    acme, plan = make_organization(), make_plan(fee="10")
    change(subscribe(acme, plan, FIRST, quantity=2), plan, at(16, hour=12), quantity=5)
    assert amounts(acme) == [("Support", 2_000), ("Support", 2_500), ("Support, unused time", -1_000)]


def test_seats_can_have_tiers():
    terms = {"model": "graduated", "tiers": [{"up_to": "3", "unit_amount": "10"}, {"up_to": None, "unit_amount": "6"}]}
    acme = make_organization()
    from portal.catalog.publishing import ensure_plan, publish_price

    with transaction():
        plan = ensure_plan("team2", name="Team", unit="seat")
        publish_price(name="Team", plan=plan, currency="USD", terms=terms, valid_from=date(2026, 1, 1), open_from=None)
    subscribe(acme, plan, FIRST, quantity=5)
    # 3 × 10.00 + 2 × 6.00
    assert amounts(acme) == [("Team", 4_200)]
    assert len(draft(acme).statement.lines[0].derivation["steps"]) == 2


def test_cancelled_at_once_the_rest_is_given_back_and_cancelled_at_period_end_nothing_is():
    acme, other, plan = make_organization(), make_organization("other"), make_plan(fee="31")
    end(subscribe(acme, plan, FIRST), at(11))
    end(subscribe(other, plan, FIRST), NOVEMBER)
    assert amounts(acme) == [("Support", 3_100), ("Support, unused time", -2_100)]
    assert amounts(other) == [("Support", 3_100)]
    assert amounts(acme, MONTH.next) == amounts(other, MONTH.next) == []


def test_a_fee_of_a_final_invoice_is_given_back_as_it_was_billed_less_its_discount():
    # October's invoice bills 15 Oct to 15 Nov at half price: 15.50 of 31.00. Cancelled on 5 November, 10/31 are left
    # of what was paid: 5.00, and not 10.00.
    acme = make_organization()
    subscription = subscribe(acme, make_plan(fee="31"), at(15), anchor_at=at(15))
    give_coupon(acme, percent="50", months=(MONTH, MONTH))
    finalize_now(make_draft(acme))
    end(subscription, at(5, month=11))
    assert amounts(acme, MONTH.next) == [("Support, unused time", -500)]
    # Half-finished figures are never used: the same as long as October was a draft would have been 10.00.
    [line] = draft(acme, MONTH.next).statement.lines
    assert line.derivation["billed"] == 1_550


def test_a_coupon_lowers_only_what_is_used_of_a_fee_that_is_cut_short():
    acme = make_organization()
    end(subscribe(acme, make_plan(fee="31"), FIRST), at(11))
    give_coupon(acme, percent="50")
    # 10.00 were used; half of it is 5.00.
    assert draft(acme).statement.total == 500


def test_an_upgrade_with_a_new_interval_starts_a_new_row_of_periods():
    acme, monthly = make_organization(), make_plan(fee="31")
    yearly = make_plan("yearly", fee="300", of_plan={"interval": Interval.YEAR})
    change(subscribe(acme, monthly, FIRST), yearly, at(11))
    assert amounts(acme) == [("Support", 3_100), ("Support, unused time", -2_100), ("Yearly", 30_000)]
    assert amounts(acme, MONTH.next) == []
    [line] = draft(acme, MONTH.plus(12)).statement.lines
    assert (line.amount, line.period_start) == (30_000, date(2027, 10, 11))


def test_what_usage_and_fee_lack_to_the_commitment_is_asked_as_one_line():
    # 100.00 a month are agreed; the fee is 20.00, usage 30.00, so 50.00 are missing.
    acme, meter = make_organization(), make_meter()
    make_price(meter, "1")
    subscribe(acme, make_plan(fee="20", terms={"commitment": "100"}), FIRST)
    use(acme, meter, 30)
    assert amounts(acme, MONTH, LineKind.TRUE_UP) == [("Up to the minimum commitment of Support", 5_000)]
    use(acme, meter, 60)
    assert amounts(acme, MONTH, LineKind.TRUE_UP) == []


def test_a_commitment_of_a_part_of_the_month_asks_for_its_part():
    # From noon of the 16th, half of October: half of 100.00, less half of the fee of 20.00, is 40.00.
    acme = make_organization()
    subscribe(acme, make_plan(fee="20", terms={"commitment": "100"}), at(16, hour=12))
    assert amounts(acme, MONTH, LineKind.TRUE_UP) == [("Up to the minimum commitment of Support", 4_000)]


def test_a_reservation_pays_for_its_meters_and_does_not_roll_over():
    acme, machines, disks = make_organization(), make_meter(), make_meter("disk_hours")
    make_price(machines, "1")
    make_price(disks, "1")
    plan = make_plan(
        "reservation",
        fee="36",
        terms={"monthly_credit": "5"},
        of_plan={"interval": Interval.YEAR, "credit_meters": ("machine_seconds",)},
    )
    subscribe(acme, plan, FIRST, anchor_at=FIRST)
    use(acme, machines, 3)
    use(acme, disks, 9)
    use(acme, machines, 8, at=date(2026, 11, 3))
    assert amounts(acme, MONTH, LineKind.RESERVATION) == [("Reservation, credit for usage", -300)]
    assert draft(acme).statement.total == 3_600 + 900
    # November: 5.00 again, and not 7.00.
    assert amounts(acme, MONTH.next, LineKind.RESERVATION) == [("Reservation, credit for usage", -500)]


def test_a_plan_brings_its_own_usage_price_from_the_next_midnight_until_it_ends():
    acme, meter, plan = make_organization(), make_meter(), make_plan(fee="0")
    make_price(meter, "2", name="list")
    make_price(meter, "1", name="of the plan", for_plan=plan)
    end(subscribe(acme, plan, at(10, hour=9)), at(20, hour=9))
    for day in (10, 11, 20, 21):
        use(acme, meter, 1, at=date(2026, 10, day))
    # The 10th and the 21st at the list's price; the 11th and the 20th at the plan's.
    usage = amounts(acme, MONTH, LineKind.USAGE)
    assert usage == [("list", 400), ("of the plan", 200)]


def test_an_agreed_minimum_is_asked_without_any_usage_and_a_listed_one_is_not():
    acme, other, meter, gpu = make_organization(), make_organization("other"), make_meter(), make_meter("gpu_seconds")
    minimum = {"model": "per_unit", "unit_amount": "1", "minimum": "25"}
    make_price(meter, minimum, organization_id=acme.id, name="agreed")
    make_price(gpu, minimum, name="listed")
    assert amounts(acme) == [("agreed", 2_500)]
    assert amounts(other) == []


def test_an_archived_price_applies_no_more_from_its_day_on():
    acme, meter = make_organization(), make_meter()
    version = make_price(meter, "1")
    use(acme, meter, 1, at=date(2026, 10, 5))
    use(acme, meter, 1, at=date(2026, 10, 20))
    with transaction() as session:
        session.merge(version.price).archived_at = at(20, hour=15)
    assert amounts(acme) == [("Price of machine_seconds", 100)]
    assert [series.quantity for series in draft(acme).unpriced] == [1]


def test_what_promotional_credit_paid_is_not_given_back_as_money():
    # The fee of 31.00 was paid by credit; cancelled in the next month, nothing comes back.
    acme = make_organization()
    subscription = subscribe(acme, make_plan(fee="31"), at(15), anchor_at=at(15))
    with transaction():
        grant_credit(
            acme.id, kind="promotional", name="Gift", amount=3_100, reason="gift", by="Ada", today=date(2026, 10, 1)
        )
    assert finalize_now(make_draft(acme)).total == 0
    end(subscription, at(5, month=11))
    assert amounts(acme, MONTH.next) == [("Support, unused time", 0)]


def test_a_fee_is_given_back_only_after_the_invoice_that_asked_for_it():
    acme = make_organization()
    subscription = subscribe(acme, make_plan(fee="31"), at(15), anchor_at=at(15))
    october, november = make_draft(acme), make_draft(acme, MONTH.next)
    end(subscription, at(5, month=11))
    assert "The invoice of 2026-10 comes first" in " ".join(draft(acme, MONTH.next).blockers)
    with pytest.raises(NotReady, match="2026-10 comes first"):
        finalize_now(november, now=datetime(2026, 12, 5, tzinfo=UTC))
    finalize_now(october)
    assert draft(acme, MONTH.next).blockers == ()
    assert amounts(acme, MONTH.next) == [("Support, unused time", -1_000)]


def test_a_fee_that_no_invoice_asked_for_is_not_given_back():
    acme = make_organization()
    subscription = subscribe(acme, make_plan(fee="31"), at(15), anchor_at=at(15))
    end(subscription, at(5, month=11))
    assert amounts(acme, MONTH.next) == []


def test_tax_goes_back_at_the_rate_it_was_taken_at():
    # 31.00 and 20 % in October; 10/31 of it goes back in November, when the rate is 10 %: 10.00 and 2.00.
    acme = make_organization()
    with transaction() as session:
        session.add(TaxRate(percent=Decimal(20), valid_from=date(2026, 1, 1)))
        session.add(TaxRate(percent=Decimal(10), valid_from=date(2026, 11, 1)))
    subscription = subscribe(acme, make_plan(fee="31"), at(15), anchor_at=at(15))
    assert finalize_now(make_draft(acme)).total == 3_720
    end(subscription, at(5, month=11))
    assert draft(acme, MONTH.next).statement.total == -1_200


def test_a_reservation_grants_what_it_was_sold_with_until_it_renews():
    acme, machines = make_organization(), make_meter()
    make_price(machines, "1")
    of_plan = {"interval": Interval.YEAR, "credit_meters": ("machine_seconds",)}
    plan = make_plan("reservation", fee="36", terms={"monthly_credit": "5"}, of_plan=of_plan)
    subscribe(acme, plan, datetime(2026, 9, 1, tzinfo=UTC), anchor_at=datetime(2026, 9, 1, tzinfo=UTC))
    make_plan("reservation", fee="36", terms={"monthly_credit": "1"}, of_plan=of_plan, valid_from=date(2026, 10, 1))
    use(acme, machines, 30)
    assert amounts(acme, MONTH, LineKind.RESERVATION) == [("Reservation, credit for usage", -500)]
    with transaction() as session:
        session.execute(update(Price).where(Price.plan_id.is_not(None)).values(archived_at=at(2)))
    # Paid for until next September, though it is no longer sold.
    assert amounts(acme, MONTH, LineKind.RESERVATION) == [("Reservation, credit for usage", -500)]


def test_a_reservations_credit_is_never_money_beside_a_correction():
    acme, machines = make_organization(), make_meter()
    make_price(machines, "1", match={"region": "a"})
    make_price(machines, "1", match={"region": "b"})
    plan = make_plan(
        "reservation", fee="0", terms={"monthly_credit": "100"}, of_plan={"credit_meters": ("machine_seconds",)}
    )
    subscribe(acme, plan, FIRST)
    use(acme, machines, 100, region="a")
    use(acme, machines, -40, region="b", correction=True)
    assert draft(acme).statement.total == 0


def test_no_coupon_lowers_what_a_commitment_asks_for():
    acme = make_organization()
    subscribe(acme, make_plan(fee="20", terms={"commitment": "100"}), FIRST)
    give_coupon(acme, percent="100")
    assert draft(acme).statement.total == 8_000
