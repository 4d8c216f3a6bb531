"""Forecasts: usage goes on as on the last full days, is priced like the invoice, with a range of what was wrong before.

November 2026 has 30 days; it is the 22nd, so 9 days are not over.
"""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import chain

import pytest

from portal.core.periods import Month
from portal.core.quantities import Aggregation, Counting
from portal.forecasting.making import forecast_by_clock, forecast_of, same_day
from portal.forecasting.reading import Comparison, outlook, spread
from portal.infra.db import transaction
from portal.invoicing.drafting import draft_of
from tests.factories import (
    acting,
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

NOVEMBER = Month(2026, 11)
TODAY = date(2026, 11, 22)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def acme(app, clean_database):
    with acting(app):
        make_price(make_meter())
        yield make_organization()


def expected(organization, *, month=NOVEMBER, today=TODAY, **factors):
    """What the month is expected to come to, in cents; a second costs one."""
    wishes = {code: Decimal(factor) for code, factor in factors.items()}
    with transaction():
        return forecast_of(organization, month, today=today, factors=wishes).statement.total


def use_on(organization, first: int, last: int, quantity: int):
    for day in range(first, last + 1):
        use(organization, make_meter(), quantity, at=date(2026, 11, day), now=NOW + timedelta(days=8))


def test_usage_goes_on_with_the_average_of_the_last_seven_full_days(acme):
    use_on(acme, 1, 14, 1000)
    use_on(acme, 15, 21, 100)
    # 14 days of 1,000 and 7 of 100 are 14,700; the 9 days from today bring 100 each.
    assert expected(acme) == 14_700 + 9 * 100


def test_what_today_has_brought_already_is_not_expected_again(acme):
    use_on(acme, 15, 21, 100)
    use_on(acme, 22, 22, 40)
    assert expected(acme) == 700 + 9 * 100


def test_a_day_that_is_above_the_average_already_stays_what_it_is(acme):
    use_on(acme, 15, 21, 100)
    use_on(acme, 22, 22, 5000)
    assert expected(acme) == 700 + 5000 + 8 * 100


def test_what_is_younger_than_a_week_counts_by_its_own_days(acme):
    use_on(acme, 20, 21, 50)
    assert expected(acme) == 100 + 9 * 50


def test_what_began_today_goes_on_as_today(acme):
    use_on(acme, 22, 22, 30)
    assert expected(acme) == 30 + 8 * 30


def test_days_without_usage_count_as_days(acme):
    use_on(acme, 1, 1, 700)
    use_on(acme, 18, 18, 70)
    # The average of the last seven days is 10.
    assert expected(acme) == 700 + 70 + 9 * 10


def test_usage_that_has_ended_long_ago_is_not_expected(acme):
    use_on(acme, 1, 3, 700)
    assert expected(acme) == 2100


def test_the_last_days_of_the_month_before_tell_what_the_first_days_bring(acme):
    for day in range(25, 32):
        use(acme, make_meter(), 20, at=date(2026, 10, day), now=NOW)
    assert expected(acme, today=date(2026, 11, 1)) == 30 * 20


def test_on_the_last_day_only_the_rest_of_it_is_expected(acme):
    use_on(acme, 23, 29, 10)
    use_on(acme, 30, 30, 4)
    assert expected(acme, today=date(2026, 11, 30)) == 70 + 10


def test_it_is_priced_as_the_invoice_will_be(acme):
    """The first 1,000 are free, so what is expected costs more than what was used so far."""
    tiers = [{"up_to": "1000", "unit_amount": "0"}, {"up_to": None, "unit_amount": "0.10"}]
    meter = make_meter("egress_gb")
    make_price(meter, {"model": "graduated", "tiers": tiers})
    for day in range(15, 22):
        use(acme, meter, 100, at=date(2026, 11, day), now=NOW)
    # 700 used, 1,600 expected: 600 of them at 0.10.
    assert draft_of(acme, NOVEMBER).statement.total == 0
    assert expected(acme) == 6000


def test_a_price_that_changes_on_a_later_day_counts_from_then(acme):
    make_price(make_meter(), "0.02", valid_from=date(2026, 11, 27))
    use_on(acme, 15, 21, 100)
    # 7 days and the 22nd to 26th at a cent, the 27th to 30th at two.
    assert expected(acme) == 700 + 500 + 4 * 200


def test_fees_and_one_off_items_are_those_that_are_known(acme):
    subscribe(acme, make_plan(fee="29"), datetime(2026, 10, 1, tzinfo=UTC))
    add(make_draft(acme, NOVEMBER), "5")
    use_on(acme, 15, 21, 100)
    assert expected(acme) == 2900 + 500 + 700 + 900


@pytest.mark.parametrize("aggregation", [Aggregation.MAX, Aggregation.LATEST])
def test_largest_and_latest_values_stay(acme, aggregation):
    meter = make_meter("disk_gb", counting=Counting(aggregation))
    make_price(meter, "1")
    for day in (3, 20):
        use(acme, meter, day, at=date(2026, 11, day), now=NOW)
    assert expected(acme) == 2000


@pytest.mark.parametrize(("factor", "total"), [("1", 1600), ("1.5", 700 + 1350), ("0", 700), ("2", 700 + 1800)])
def test_a_wish_changes_what_is_to_come_and_nothing_else(acme, factor, total):
    use_on(acme, 15, 21, 100)
    assert expected(acme, machine_seconds=factor) == total
    assert expected(acme) == 1600


def test_another_organizations_usage_is_not_expected(acme):
    use_on(make_organization("rival"), 15, 21, 100)
    assert expected(acme) == 0


@pytest.mark.parametrize(
    ("month", "day", "same"),
    [
        (Month(2026, 10), date(2026, 11, 30), date(2026, 10, 30)),
        (Month(2026, 9), date(2026, 10, 31), date(2026, 9, 30)),
        (Month(2028, 2), date(2028, 3, 31), date(2028, 2, 29)),
    ],
)
def test_the_same_day_of_another_month(month, day, same):
    assert same_day(month, day) == same


def compared(*pairs):
    return [Comparison(NOVEMBER, TODAY, before, total) for before, total in pairs]


@pytest.mark.parametrize(
    ("pairs", "low", "high"),
    [
        ((), 1000, 1000),
        (((100, 110), (200, 190)), 950, 1100),
        (((100, 104), (100, 110)), 1000, 1100),
        (((100, 80), (100, 90)), 800, 1000),
        (((0, 50), (100, 100)), 1000, 1000),
    ],
)
def test_the_range_is_as_wide_as_the_errors_and_holds_the_forecast(pairs, low, high):
    assert spread(1000, compared(*pairs)) == (low, high)


def test_a_credit_has_no_range():
    assert spread(-500, compared((100, 150))) == (-500, -500)


def test_the_clock_keeps_forecasts_and_those_of_the_same_day_of_closed_months(acme):
    for day in chain(range(1, 22), (31,)):
        use(acme, make_meter(), 100, at=date(2026, 10, day), now=NOW)
    finalize_now(make_draft(acme, Month(2026, 10)))
    use_on(acme, 15, 21, 100)
    assert forecast_by_clock(now=NOW) == 1
    with transaction():
        found = outlook(acme.id, NOVEMBER)
    # Of October, 21 days of 100 were known on the 22nd, and 10 more were expected; one came, on the 31st.
    assert [(each.month, each.day, each.expected, each.total) for each in found.comparisons] == [
        (Month(2026, 10), date(2026, 10, 22), 3100, 2200)
    ]
    assert found.comparisons[0].percent == Decimal("-29")
    assert (found.so_far, found.expected, found.low, found.high) == (700, 1600, 1600 * 22 // 31, 1600)


def test_within_an_hour_nothing_is_made_again_and_afterwards_the_day_has_one_forecast(acme):
    use_on(acme, 15, 21, 100)
    assert [forecast_by_clock(now=NOW + timedelta(minutes=minutes)) for minutes in (0, 59, 60)] == [1, 0, 1]
    use_on(acme, 22, 22, 5000)
    assert forecast_by_clock(now=NOW + timedelta(days=1)) == 1
    kept = sql("SELECT day, so_far FROM forecasts ORDER BY day")
    assert [(row.day, row.so_far) for row in kept] == [(TODAY, 700), (TODAY + timedelta(days=1), 5700)]


def test_one_that_cannot_be_made_does_not_stop_the_others(acme, monkeypatch):
    make_organization("rival")
    from portal.core.errors import InvalidInput
    from portal.forecasting import making

    usual = making.keep_forecast

    def broken(organization_id, *, now):
        if organization_id == acme.id:
            raise InvalidInput("No.")
        usual(organization_id, now=now)

    monkeypatch.setattr(making, "keep_forecast", broken)
    assert forecast_by_clock(now=NOW) == 1
    assert sql("SELECT count(*) FROM forecasts")[0][0] == 1


def test_before_the_first_forecast_there_is_none(acme):
    with transaction():
        assert outlook(acme.id, NOVEMBER) is None
