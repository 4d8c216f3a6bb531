"""What has changed in a draft since a day, as its customer sees it."""

from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from portal.infra import outbox
from portal.infra.db import transaction
from portal.invoicing.as_of import ask
from portal.organizations.queries import ids_by_slug, organization_by_id
from tests.factories import MONTH, acting, make_meter, sql, use
from tests.web.conftest import World, assert_flawless, post

NOW = datetime.now(UTC)


def test_the_page_shows_what_came_since_yesterday(app: Flask, owner: FlaskClient, world: World):
    with acting(app):
        sql("UPDATE usage_daily SET recorded_day = recorded_day - 30 RETURNING day")
        sql("UPDATE usage_events SET recorded_at = recorded_at - interval '30 days' RETURNING event_id")
    page = owner.get("/invoices/draft/changes?month=2026-10")
    assert "Nothing has changed" in page.text
    with acting(app):
        with transaction():
            organization = organization_by_id(ids_by_slug({"acme"})["acme"])
        use(organization, make_meter(), 50, at=datetime(2026, 10, 12, tzinfo=UTC), event_id="<new>", now=NOW, app="lab")
    page = owner.get("/invoices/draft/changes?month=2026-10").text
    for text in ("&lt;new&gt;", "$2.50", "$3.00", "$0.50", "Lines that have changed"):
        assert text in page, text
    assert "secret-app" not in page
    file = owner.get("/invoices/draft/changes.csv?month=2026-10").text
    assert "2.50,3.00,0.50" in file


@pytest.mark.parametrize(
    "since", ["soon", "2026-13-01", str(NOW.date()), str(NOW.date() + timedelta(days=3)), "1999-01-01"]
)
def test_a_day_that_cannot_be_compared_gets_a_sentence(owner: FlaskClient, since: str):
    for address in ("changes", "changes.csv"):
        answer = owner.get(f"/invoices/draft/{address}?since={since}")
        assert answer.status_code == 422
        assert "day" in answer.text


def test_a_final_month_has_no_changes(owner: FlaskClient):
    answer = owner.get("/invoices/draft/changes?month=2026-09")
    assert answer.status_code == 303
    assert answer.location.endswith("/invoices/draft?month=2026-09")


def test_the_draft_has_a_change_log_by_day(app: Flask, owner: FlaskClient, world: World):
    with acting(app):
        sql("UPDATE usage_daily SET recorded_day = '2026-10-20' RETURNING day")
        with transaction():
            organization = organization_by_id(ids_by_slug({"acme"})["acme"])
        use(organization, make_meter(), 614, at=datetime(2026, 10, 12, tzinfo=UTC), event_id="n", now=NOW, app="lab")
    draft = owner.get("/invoices/draft?month=2026-10")
    assert_flawless(draft)
    assert "20 Oct 2026 <strong>+$2.50</strong>: Price of machine_seconds" in draft.text
    assert "<strong>+$6.14</strong>: Price of machine_seconds" in draft.text
    page = owner.get("/invoices/draft/log?month=2026-10")
    assert_flawless(page)
    assert "The draft was then $8.64." in page.text
    assert "The draft was then $2.50." in page.text
    file = owner.get("/invoices/draft/log.csv?month=2026-10").text
    assert f"{NOW.date()},Price of machine_seconds,USD,2.50,8.64,6.14,8.64" in file
    assert owner.get("/invoices/draft/log?month=2026-09").status_code == 303


def address(time: str, *, file: str = "", day: str = "2026-11-01") -> str:
    return f"/invoices/draft/changes{file}?month=2026-10&since={day}&time={time}"


@pytest.fixture
def heard_twice(app: Flask, world: World) -> None:
    """Acme's 250 seconds were heard of on the first of November at 10:00, 50 more at 15:00."""
    first = datetime(2026, 11, 1, 10, tzinfo=UTC)
    with acting(app):
        sql("UPDATE usage_daily SET recorded_day = '2026-11-01'")
        sql("UPDATE usage_events SET recorded_at = :first", first=first)
        with transaction():
            organization = organization_by_id(ids_by_slug({"acme"})["acme"])
        later = first + timedelta(hours=5)
        use(organization, make_meter(), 50, at=MONTH.start, event_id="later", now=later, app="launchpad")


@pytest.mark.usefixtures("heard_twice")
def test_a_time_within_a_day_is_counted_when_somebody_asks(app: Flask, owner: FlaskClient):
    page = owner.get(address("12:00"))
    assert_flawless(page)
    assert "Nobody has asked" in page.text
    assert "http-equiv" not in page.text
    assert owner.get(address("12:00", file=".csv")).status_code == 422
    asked = post(owner, address("12:00"), page=address("12:00"))
    assert asked.status_code == 303
    page = owner.get(asked.location)
    assert_flawless(page)
    for part in ("It is being counted", 'http-equiv="refresh"', 'hx-trigger="every 2s"'):
        assert part in page.text
    with acting(app):
        assert outbox.drain() >= 1
    page = owner.get(asked.location)
    assert_flawless(page)
    for part in (
        "$2.50",
        "$3.00",
        "$0.50",
        "later",
        "1 Nov 2026, 12:00",
        "prices, plans, coupons, credits and taxes of",
    ):
        assert part in page.text, part
    assert "hx-trigger" not in page.text
    assert "2.50,3.00,0.50" in owner.get(address("12:00", file=".csv")).text
    # Asked for again it is there already, and the day's end needs nobody to count.
    assert post(owner, address("12:00"), page=address("12:00")).status_code == 303
    assert "Nothing has changed" in owner.get(address("23:59:59.999999")).text


@pytest.mark.usefixtures("heard_twice")
def test_another_organization_s_time_is_nobody_else_s(app: Flask, owner: FlaskClient):
    with acting(app), transaction():
        rival = ids_by_slug({"rival"})["rival"]
        ask(rival, MONTH, datetime(2026, 11, 1, 12, tzinfo=UTC), now=NOW)
    with acting(app):
        outbox.drain()
    assert "Nobody has asked" in owner.get(address("12:00")).text


def test_a_month_whose_events_are_archived_says_so(app: Flask, owner: FlaskClient):
    with acting(app):
        sql(
            "INSERT INTO usage_archives (month, archived_at, rows, state, file_name, sha256, archived_by)"
            " VALUES ('2026-10-01', now(), 1, 'dropping', 'usage-2026-10.jsonl.gz', 'abc', 'Ada')"
        )
    page = owner.get(address("12:00"))
    assert "archived in usage-2026-10.jsonl.gz" in page.text
    assert "Count it" not in page.text
    answer = post(owner, address("12:00"), page="/invoices/draft/changes?month=2026-10")
    assert answer.status_code == 422
    assert "leave out the time" in answer.text


@pytest.mark.parametrize("time", ["noon", "25:00", "12:00%2B02:00", "<b>"])
def test_a_time_that_is_none_gets_a_sentence(owner: FlaskClient, time: str):
    for file in ("", ".csv"):
        answer = owner.get(address(time, file=file))
        assert answer.status_code == 422
        assert "time of a day" in answer.text


def test_a_time_to_come_and_one_of_just_now_get_a_sentence(owner: FlaskClient):
    for moment in (NOW + timedelta(hours=2), datetime.now(UTC)):
        answer = owner.get(address(f"{moment:%H:%M:%S}", day=str(moment.date())))
        assert answer.status_code == 422
        assert "minutes ago" in answer.text
