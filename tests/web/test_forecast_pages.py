"""The page of what a month is expected to come to, its file, what if, and the card of the overview."""

from datetime import UTC, date, datetime, timedelta

import pytest

from portal.forecasting.making import forecast_by_clock
from portal.infra import clock
from portal.infra.db import transaction
from portal.organizations.queries import ids_by_slug, organization_by_id
from tests.factories import acting, make_meter, use
from tests.statements import statements
from tests.web.conftest import assert_flawless
from tests.web.test_cost_pages import rows_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def november(app, world, monkeypatch):
    """A week of 100 seconds a day: 7.00 so far, 16.00 expected; September's forecast from the 22nd was right."""
    with acting(app):
        with transaction():
            acme = organization_by_id(ids_by_slug({"acme"})["acme"])
        for day in range(15, 22):
            use(acme, make_meter(dimensions=("app",)), 100, at=date(2026, 11, day), now=NOW, app="launchpad")
        forecast_by_clock(now=NOW)
    monkeypatch.setattr(clock, "now", lambda: NOW)


@pytest.mark.usefixtures("november")
def test_the_page_says_what_is_expected_how_and_how_right_it_was(owner):
    page = owner.get("/forecast")
    assert_flawless(page)
    for text in ("Expected for November 2026", "9 days are not over", "$7.00", "$16.00", "last 7 full days", "<svg"):
        assert text in page.text, text
    assert "September 2026" in page.text
    assert "as expected" in page.text
    assert "secret-app" not in page.text


@pytest.mark.usefixtures("november")
def test_the_overview_has_a_card_with_its_age(owner):
    page = owner.get("/")
    assert_flawless(page)
    assert "Expected for the month" in page.text
    assert "$16.00" in page.text


@pytest.mark.usefixtures("november")
def test_what_if_usage_is_half_as_much_again(owner):
    page = owner.get("/forecast?change.machine_seconds=50")
    assert_flawless(page)
    # 7.00 so far, and nine days of 1.50.
    assert "Expected with these changes" in page.text
    assert "$20.50" in page.text
    assert "$16.00 if usage goes on as usual" in page.text
    assert 'value="50"' in page.text


@pytest.mark.usefixtures("november")
@pytest.mark.parametrize("text", ["abc", "-101", "1001", "5.5", "٣", "--5"])
def test_a_change_that_is_none_is_refused_in_a_sentence(owner, text):
    answer = owner.get("/forecast", query_string={"change.machine_seconds": text})
    assert answer.status_code == 422
    assert "percent" in answer.text


@pytest.mark.usefixtures("november")
def test_the_file_has_the_lines(owner):
    [row] = rows_of(owner.get("/forecast.csv").text)
    assert (row["so_far"], row["expected"], row["currency"]) == ("7.00", "16.00", "USD")


def test_a_month_without_anything_says_so(owner, monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: NOW)
    page = owner.get("/forecast")
    assert_flawless(page)
    assert "Nothing has been used yet" in page.text


@pytest.mark.usefixtures("november")
def test_more_usage_costs_no_more_statements(app, owner, world):
    with statements(app) as few:
        owner.get("/forecast")
    with acting(app):
        with transaction():
            acme = organization_by_id(ids_by_slug({"acme"})["acme"])
        for number in range(20):
            moment = NOW - timedelta(days=number % 7)
            use(acme, make_meter(dimensions=("app",)), 1, at=moment, now=NOW, app=f"app {number}")
    with statements(app) as many:
        assert owner.get("/forecast").status_code == 200
    assert len(many) == len(few)
