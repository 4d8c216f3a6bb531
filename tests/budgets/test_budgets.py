"""Budgets warn once for each threshold and month, whatever the figures do, and stop nothing."""

from datetime import UTC, date, datetime, timedelta

import pytest

from portal.budgets.keeping import Watched, budgets_of, remove_budget, set_budget
from portal.budgets.models import Reached
from portal.budgets.spending import passed_on, spent_in, watchable
from portal.budgets.watching import look, warnings_of, watch_by_clock
from portal.core.errors import InvalidInput, NotFound
from portal.core.periods import Month
from portal.forecasting.making import forecast_by_clock
from portal.infra import clock
from portal.infra.db import tenant, transaction
from portal.organizations.queries import organization_by_id
from tests.factories import acting, add, at_once, make_draft, make_meter, make_organization, make_price, sql, use
from tests.mailing.conftest import join, post
from tests.payments.conftest import work

__all__ = ["post"]
NOVEMBER = Month(2026, 11)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
EVERYTHING = Watched()


@pytest.fixture
def acme(app, clean_database, clean_redis, monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: NOW)
    with acting(app):
        make_price(make_meter(dimensions=("app",)))
        organization = make_organization()
        join(organization, "owner", "owner")
        yield organization


def spend(organization, dollars: int, *, day: int = 20, now=NOW, app: str = "web"):
    """So much usage on a day of November; a second costs a cent."""
    use(organization, make_meter(dimensions=("app",)), dollars * 100, at=date(2026, 11, day), now=now, app=app)


def budget(organization, amount: int = 10_000, *, watched=EVERYTHING, thresholds=(50, 80, 100)):
    with transaction():
        return set_budget(organization, watched, amount=amount, thresholds=thresholds, now=NOW)


def given(organization) -> list[tuple[str, int, int]]:
    with transaction():
        return sorted((each.reached, each.threshold, each.figure) for each in warnings_of(organization.id, limit=50))


def subjects() -> list[str]:
    return [subject for (subject,) in sql("SELECT subject FROM mails ORDER BY id")]


def test_a_threshold_is_warned_of_once_however_the_figures_move(acme):
    budget(acme)
    spend(acme, 49)
    assert watch_by_clock(now=NOW) == 1
    assert given(acme) == []
    spend(acme, 2)
    watch_by_clock(now=NOW)
    assert given(acme) == [("spent", 50, 5100)]
    add(make_draft(acme, NOVEMBER), "-20")
    watch_by_clock(now=NOW)
    spend(acme, 20)
    watch_by_clock(now=NOW)
    assert given(acme) == [("spent", 50, 5100)]
    assert subjects() == ["Acme: 50% of the November 2026 budget used ($51.00 of $100.00)"]


def test_what_passes_several_thresholds_at_once_is_one_mail_about_the_highest(acme):
    budget(acme)
    spend(acme, 120)
    watch_by_clock(now=NOW)
    assert [threshold for _, threshold, _ in given(acme)] == [50, 80, 100]
    assert subjects() == ["Acme: 100% of the November 2026 budget used ($120.00 of $100.00)"]


def test_exactly_the_amount_is_all_of_it_and_a_cent_less_is_not(acme):
    budget(acme, thresholds=(100,))
    spend(acme, 99)
    add(make_draft(acme, NOVEMBER), "0.99")
    watch_by_clock(now=NOW)
    assert given(acme) == []
    add(make_draft(acme, NOVEMBER), "0.01")
    watch_by_clock(now=NOW)
    assert given(acme) == [("spent", 100, 10_000)]


def test_what_is_expected_warns_at_the_whole_amount_only_and_once(acme):
    budget(acme, 10_000)
    for day in range(15, 22):
        spend(acme, 5, day=day)
    forecast_by_clock(now=NOW)
    watch_by_clock(now=NOW)
    # 35.00 were used, and 9 days of 5.00 are expected: 80.00, below the amount.
    assert given(acme) == []
    spend(acme, 30, day=21)
    forecast_by_clock(now=NOW + timedelta(hours=2))
    watch_by_clock(now=NOW + timedelta(hours=2))
    # 65.00, and 9 days of 9.28.
    assert [(reached, threshold) for reached, threshold, _ in given(acme)] == [("expected", 100), ("spent", 50)]
    assert subjects() == ["Acme: 50% of the November 2026 budget used ($65.00 of $100.00)"]


def test_only_what_is_expected_says_so(acme):
    budget(acme, 6_000, thresholds=(100,))
    for day in range(15, 22):
        spend(acme, 5, day=day)
    forecast_by_clock(now=NOW)
    watch_by_clock(now=NOW)
    assert given(acme) == [("expected", 100, 8000)]
    assert subjects() == ["Acme: November 2026 is expected to come to $80.00, above the budget of $60.00"]


def test_a_new_month_warns_anew(acme, monkeypatch):
    budget(acme, thresholds=(100,))
    spend(acme, 100)
    watch_by_clock(now=NOW)
    december = datetime(2026, 12, 1, 1, tzinfo=UTC)
    assert watch_by_clock(now=december) == 1
    use(acme, make_meter(), 20_000, at=date(2026, 12, 1), now=december, app="web")
    watch_by_clock(now=december)
    assert sql("SELECT count(*) FROM budget_warnings")[0][0] == 2


def test_the_budget_of_an_app_or_a_meter_counts_that_alone(acme):
    budget(acme, 1_000, watched=Watched("app", "web"), thresholds=(100,))
    budget(acme, 4_000, watched=Watched("meter", "machine_seconds"), thresholds=(100,))
    spend(acme, 9)
    spend(acme, 30, app="lab")
    watch_by_clock(now=NOW)
    assert given(acme) == []
    spend(acme, 1)
    watch_by_clock(now=NOW)
    assert given(acme) == [("spent", 100, 1000), ("spent", 100, 4000)]
    assert "Acme: 100% of the November 2026 budget of app: web used ($10.00 of $10.00)" in subjects()


def test_nothing_that_has_not_moved_is_looked_at_again(acme):
    budget(acme)
    spend(acme, 10, now=NOW - timedelta(minutes=5))
    assert [watch_by_clock(now=NOW), watch_by_clock(now=NOW + timedelta(seconds=20))] == [1, 0]
    spend(acme, 10, now=NOW + timedelta(seconds=30))
    assert watch_by_clock(now=NOW + timedelta(seconds=40)) == 1


def test_two_clocks_at_once_give_one_warning_and_one_mail(app, acme):
    budget(acme)
    spend(acme, 60)

    def strike():
        with transaction():
            return look(organization_by_id(acme.id), now=NOW)

    assert sorted(at_once(app, strike, strike)) == [0, 1]
    assert given(acme) == [("spent", 50, 6000)]
    assert len(subjects()) == 1


def test_the_mail_reaches_the_owner_with_what_to_do(acme, post):
    budget(acme)
    spend(acme, 60)
    watch_by_clock(now=NOW)
    work()
    [mail] = post.mails
    assert mail["To"] == "owner@acme.example"
    text = mail.get_body(("plain",)).get_content()
    for words in ("Used so far: $60.00", "A budget warns; it does not stop usage.", "/budgets", "/invoices/draft"):
        assert words in text, words


def test_a_removed_budget_warns_no_more_and_makes_room_for_another(acme):
    first = budget(acme)
    with pytest.raises(InvalidInput, match="already"):
        budget(acme, 5)
    with transaction():
        remove_budget(first.public_id, now=NOW)
        remove_budget(first.public_id, now=NOW)
    spend(acme, 200)
    assert watch_by_clock(now=NOW) == 0
    budget(acme, 5)
    assert [each.amount for each in budgets_of(acme.id)] == [5]


@pytest.mark.parametrize(
    ("amount", "thresholds", "field"),
    [
        (0, (100,), "amount"),
        (-1, (100,), "amount"),
        (10**12, (100,), "amount"),
        (100, (), "thresholds"),
        (100, (0,), "thresholds"),
        (100, (501,), "thresholds"),
        (100, (1, 2, 3, 4, 5, 6), "thresholds"),
    ],
)
def test_what_is_no_budget_is_refused(acme, amount, thresholds, field):
    with pytest.raises(InvalidInput) as refused:
        budget(acme, amount, thresholds=thresholds)
    assert refused.value.field == field


def test_another_organization_cannot_remove_it(app, acme):
    mine, rival = budget(acme), make_organization("rival")
    with acting(app, tenant(rival.id)), pytest.raises(NotFound), transaction():
        remove_budget(mine.public_id, now=NOW)


def test_a_preview_says_on_which_days_last_month_would_have_warned(acme):
    for day in (1, 10, 20):
        use(acme, make_meter(), 2_000, at=date(2026, 10, day), now=NOW, app="web")
    add(make_draft(acme, Month(2026, 10)), "10")
    with transaction():
        everything = passed_on(acme, Month(2026, 10), EVERYTHING, amount=5_000, thresholds=(20, 50, 80, 200))
        app = passed_on(acme, Month(2026, 10), Watched("app", "web"), amount=5_000, thresholds=(50, 80))
    # 10.00 from the first day; 30.00 on the 1st, 50.00 on the 10th, 70.00 on the 20th.
    assert everything == {20: date(2026, 10, 1), 50: date(2026, 10, 1), 80: date(2026, 10, 10)}
    assert app == {50: date(2026, 10, 10), 80: date(2026, 10, 10)}


def test_what_can_be_watched_are_meters_and_values_that_were_used(acme):
    spend(acme, 1)
    spend(acme, 1, app="lab")
    spend(make_organization("rival"), 1, app="secret")
    with transaction():
        found = watchable(acme.id)
        spent = spent_in(acme, NOVEMBER, found)
    assert [(each.by, each.value) for each in found] == [
        (None, None),
        ("meter", "machine_seconds"),
        ("app", "lab"),
        ("app", "web"),
    ]
    assert list(spent.values()) == [200, 200, 100, 100]


def test_reached_has_the_words_of_the_database():
    assert [str(each) for each in Reached] == ["spent", "expected"]
