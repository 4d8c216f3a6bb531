"""The month over all organizations: sums that are those of each, who moves most, and sources that went silent."""

from datetime import UTC, datetime, timedelta

import pytest

from portal.core.periods import Month
from portal.forecasting import platform
from portal.forecasting.making import forecast_by_clock
from portal.infra import clock
from portal.infra.db import transaction
from portal.invoicing.draft_totals import refresh_by_clock
from portal.usage.folding import fold_by_clock
from portal.usage.silence import silent_sources
from tests.factories import add, make_draft, make_final, make_meter, make_organization, make_price, use

NOW = datetime(2026, 11, 11, 12, 0, tzinfo=UTC)
TODAY, NOVEMBER = NOW.date(), Month(2026, 11)

pytestmark = pytest.mark.usefixtures("books")


@pytest.fixture(autouse=True)
def eleventh_of_november(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


def made_up_world() -> None:
    """Two in dollars, of which one has doubled; one in euros that has never had an invoice, nor any usage."""
    meter = make_meter()
    make_price(meter, "0.01")
    for slug, before, daily in (("steady", "300.00", 1_000), ("doubled", "300.00", 2_000)):
        organization = make_organization(slug)
        make_final(organization, before, month=NOVEMBER.previous)
        for day in range(10):
            use(organization, meter, daily, at=datetime(2026, 11, 1 + day, tzinfo=UTC), region="ams")
    make_organization("newcomer", currency="EUR")
    fold_by_clock()
    assert forecast_by_clock(now=NOW) == 3


def test_the_sums_are_those_of_each_by_currency() -> None:
    made_up_world()
    with transaction():
        euros, dollars = platform.sums_by_currency(TODAY)
        everybody = {each.name: each for each in platform.everybody(TODAY)}
    assert (dollars.currency, dollars.organizations, dollars.so_far, dollars.before) == ("USD", 2, 30_000, 60_000)
    assert dollars.expected == sum(everybody[name].expected for name in ("Steady", "Doubled"))
    assert (euros.currency, euros.so_far, euros.expected, euros.before) == ("EUR", 0, 0, 0)
    assert dollars.by_then is not None
    assert (everybody["Newcomer"].before, everybody["Doubled"].before) == (None, 30_000)


def test_a_month_that_is_not_final_counts_as_its_draft_was_computed() -> None:
    made_up_world()
    draft = make_draft(make_organization("slow"), NOVEMBER.previous)
    add(draft, "70.00")
    assert refresh_by_clock(now=NOW) == 1
    forecast_by_clock(now=NOW)
    with transaction():
        [slow] = [each for each in platform.everybody(TODAY) if each.name == "Slow"]
    assert (slow.before, slow.change) == (7_000, slow.expected - 7_000)


def test_who_moves_most_comes_first() -> None:
    made_up_world()
    with transaction():
        found = platform.movers(TODAY)
    assert [each.name for each in found][:1] == ["Doubled"]
    assert found[0].change == found[0].expected - 30_000 > 20_000
    assert "Newcomer" not in [each.name for each in found]


@pytest.mark.parametrize(
    ("distances", "silence", "is_silent"),
    [
        ([1] * 10, 3, False),  # an hour's silence is usual, but four hours is the least
        ([1] * 10, 6, True),
        ([24] * 5, 70, False),  # once a day: not before three days
        ([24] * 5, 75, True),
        ([1, 1], 20, False),  # too few to know what is usual
    ],
)
def test_a_source_is_silent_after_three_times_its_usual_distance(
    distances: list[int], silence: int, is_silent: bool
) -> None:
    meter, organization = make_meter(), make_organization()
    moments = [NOW - timedelta(hours=silence + 1)]
    for hours in distances:
        moments.append(moments[-1] - timedelta(hours=hours))
    for moment in moments:
        use(organization, meter, 1, at=moment)
    fold_by_clock()
    with transaction():
        found = silent_sources(organization.id, now=NOW)
    assert [each.since for each in found] == ([moments[0].replace(minute=0) + timedelta(hours=1)] if is_silent else [])


def test_silence_is_noted_beside_the_forecast_and_shown() -> None:
    meter, organization = make_meter(), make_organization("quiet")
    for hour in range(30):
        use(organization, meter, 1, at=NOW - timedelta(hours=40 + hour))
    fold_by_clock()
    forecast_by_clock(now=NOW)
    with transaction():
        [found] = platform.silent(TODAY, limit=10)
    [(_, since)] = found.silent
    assert (found.name, since) == ("Quiet", NOW - timedelta(hours=39))
    # What comes after all ends it with the next forecast.
    use(organization, meter, 1, at=NOW - timedelta(hours=1))
    fold_by_clock()
    forecast_by_clock(now=NOW + timedelta(hours=2))
    with transaction():
        assert platform.silent(TODAY, limit=10) == []
