"""The usage explorer, its files, and the events behind it."""

import importlib
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from flask import Flask
from flask.testing import FlaskClient

from portal.core.quantities import Aggregation, Counting
from portal.infra import clock, pages
from portal.organizations.models import Organization
from portal.usage.folding import fold_by_clock
from tests.factories import NOW, acting, cancel_usage, make_meter, sql, use
from tests.web.conftest import MONTH, World, assert_flawless

DAY = datetime(2026, 10, 12, tzinfo=UTC)
# Its package has a blueprint of the same name.
EVENTS = importlib.import_module("portal.web.usage_events")


@pytest.fixture
def acme(app: Flask, world: World) -> Organization:
    """Acme, as it can be given to the factories."""
    with acting(app):
        [(acme_id,)] = sql("SELECT id FROM organizations WHERE slug = 'acme'")
    return Organization(id=acme_id)


@pytest.fixture
def used(app: Flask, acme: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    """On 12 October: two apps in two regions by the hour, a largest value over three days; all folded."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    with acting(app):
        bytes_out = make_meter("bytes_out", dimensions=("app", "region"))
        use(acme, bytes_out, 40, at=DAY.replace(hour=3), app="web", region="fra", machine="m1", event_id="first")
        use(acme, bytes_out, 2, at=DAY.replace(hour=3, minute=59), app="api", region="fra", event_id="second")
        use(acme, bytes_out, 1, at=DAY.replace(hour=17), app="web", region="ams", event_id="third")
        peak = make_meter("peak", dimensions=(), counting=Counting(Aggregation.MAX))
        for day, quantity in ((5, 70), (12, 50), (20, 90)):
            use(acme, peak, quantity, at=DAY.replace(day=day))
        fold_by_clock()


def figures(text: str) -> list[tuple[str, str, str]]:
    """Meter, dimensions and quantity of the table's rows."""
    body = re.search(r'<table class="table data-table".*?</tbody>', text, re.DOTALL)
    assert body is not None
    rows = re.findall(
        r'<tr>\s*<th.*?><a.*?>(.*?)</a></th>\s*<td data-label="Dimensions".*?>(.*?)</td>\s*<td.*?>(.*?)</td>',
        body[0],
        re.DOTALL,
    )
    return [(meter, re.sub("<.*?>", "", dimensions), quantity) for meter, dimensions, quantity in rows]


def test_usage_of_one_organization_shows_and_nobody_elses(owner: FlaskClient, world: World):
    text = owner.get(f"/usage?month={MONTH}").text
    assert "launchpad" in text
    assert "250" in text
    assert "secret-app" not in text


def test_the_file_holds_what_the_page_shows(owner: FlaskClient, world: World):
    lines = owner.get(f"/usage.csv?month={MONTH}").text.splitlines()
    assert lines[1] == "2026-10,Compute,machine seconds,machine_seconds,app=launchpad,250,second,1"


def test_the_filter_holds_for_the_page_and_the_file(owner: FlaskClient, world: World):
    assert "No usage of this kind" in owner.get(f"/usage?period={MONTH}&meter=other").text
    assert len(owner.get(f"/usage.csv?period={MONTH}&meter=other").text.splitlines()) == 1


@pytest.mark.parametrize("month", ["october", "2026-13", "9999-12", "0001-01", "2026-10-01"])
@pytest.mark.parametrize("name", ["month", "period"])
def test_a_month_that_is_none_is_refused_in_words(owner: FlaskClient, name: str, month: str):
    answer = owner.get(f"/usage?{name}={month}")
    assert answer.status_code == 422
    assert "month" in answer.text
    assert_flawless(answer)


@pytest.mark.parametrize(
    "query",
    ["period=1999", "period=2031", "period=day&day=yesterday", "period=day&day=2036-01-01", "where=region", "where=:x"],
)
def test_what_is_no_period_or_value_is_refused_in_words(owner: FlaskClient, used: None, query: str):
    answer = owner.get(f"/usage?{query}")
    assert answer.status_code == 422
    assert_flawless(answer)


@pytest.mark.parametrize(
    "query",
    [
        *("", "period=2026-10", "period=2026", "period=24h", "period=day", "period=day&day=2026-10-12", "period=2025"),
        *("period=2026-10&group_by=none", "period=2026-10&group_by=region&where=app:web", "period=2026-10&meter=peak"),
    ],
)
def test_every_period_is_a_flawless_page_with_a_file(owner: FlaskClient, used: None, query: str):
    answer = owner.get(f"/usage?{query}")
    assert answer.status_code == 200
    assert_flawless(answer)
    for file in ("usage.csv", "usage/points.csv"):
        lines = owner.get(f"/{file}?{query}").text.splitlines()
        assert lines[0].startswith("\ufeffPeriod,Product,Meter")


def test_usage_is_put_together_by_a_dimension_or_not_at_all(owner: FlaskClient, used: None):
    address = "/usage?period=2026-10&meter=bytes_out"
    assert figures(owner.get(address).text) == [
        ("bytes out", "app: web · region: fra", "40"),
        ("bytes out", "app: api · region: fra", "2"),
        ("bytes out", "app: web · region: ams", "1"),
    ]
    assert figures(owner.get(f"{address}&group_by=region").text) == [
        ("bytes out", "region: fra", "42"),
        ("bytes out", "region: ams", "1"),
    ]
    assert figures(owner.get(f"{address}&group_by=none").text) == [("bytes out", "all", "43")]
    assert figures(owner.get(f"{address}&group_by=app&where=region:fra").text) == [
        ("bytes out", "app: web", "40"),
        ("bytes out", "app: api", "2"),
    ]
    assert "Sum of bytes out" in owner.get(address).text


def test_a_meter_without_the_dimension_stands_beside_the_others(owner: FlaskClient, used: None):
    rows = figures(owner.get("/usage?period=2026-10&group_by=region").text)
    assert ("peak", "region: none", "90") in rows
    assert ("machine seconds", "region: none", "250") in rows


def test_a_day_is_told_by_its_hours(owner: FlaskClient, used: None):
    text = owner.get("/usage?period=day&day=2026-10-12&group_by=none").text
    assert figures(text) == [("bytes out", "all", "43"), ("peak", "all", "70")]
    assert "Highest in the hour from 12 Oct 2026, 03:00: 42 second." in text
    assert "Hourly figures are complete up to" in text
    assert "it is not told by the hour" in text
    points = owner.get("/usage/points.csv?period=day&day=2026-10-12&group_by=none").text.splitlines()
    assert [line.split(",")[0::5] for line in points[1:]] == [["2026-10-12 03:00", "42"], ["2026-10-12 17:00", "1"]]


def test_the_last_24_hours_are_whole_hours_and_end_with_the_current_one(
    app: Flask, acme: Organization, owner: FlaskClient, used: None
):
    with acting(app):
        meter = make_meter("bytes_out", dimensions=("app", "region"))
        for hours in (-1, 0, 23, 24):
            use(acme, meter, 1 + hours, at=NOW - timedelta(hours=hours) + timedelta(minutes=5), app="now")
        fold_by_clock()
    # From 13:00 of the day before: 12:05, 24 hours ago, is not in it any more, and 13:05 today is not yet.
    assert figures(owner.get("/usage?period=24h").text) == [("bytes out", "app: now", "25")]


def test_hours_say_up_to_when_they_are_complete(app: Flask, acme: Organization, owner: FlaskClient, used: None):
    assert 'complete up to <time datetime="2026-11-22T12:00:00+00:00">' in owner.get("/usage?period=24h").text
    with acting(app):
        use(acme, make_meter("bytes_out", dimensions=("app", "region")), 5, at=NOW, now=NOW - timedelta(minutes=7))
    text = owner.get("/usage?period=24h").text
    assert 'complete up to <time datetime="2026-11-22T11:53:00+00:00">' in text
    assert figures(owner.get("/usage?period=2026-11").text) == [("bytes out", "none", "5")]


def test_the_largest_value_is_shown_as_the_month_had_reached_it(owner: FlaskClient, used: None):
    text = owner.get("/usage?period=2026-10&meter=peak").text
    assert "the largest value of a month counts; each day shows what the month had reached by then" in text
    assert "Highest on 31 Oct 2026: 90 second." in text
    points = owner.get("/usage/points.csv?period=2026-10&meter=peak").text.splitlines()[1:]
    by_day = {line.split(",")[0]: Decimal(line.split(",")[5]) for line in points}
    assert (min(by_day), max(by_day)) == ("2026-10-05", "2026-10-31")
    assert (by_day["2026-10-11"], by_day["2026-10-12"], by_day["2026-10-19"], by_day["2026-10-20"]) == (70, 70, 70, 90)


def test_a_year_has_its_months(owner: FlaskClient, used: None):
    points = owner.get("/usage/points.csv?period=2026&meter=peak").text.splitlines()[1:]
    assert [line.split(",")[0::5] for line in points] == [["2026-10", "90"]]
    assert "Highest in October 2026: 90 second." in owner.get("/usage?period=2026&meter=peak").text


def test_sources_say_how_far_they_are_complete_and_where_one_is_missing(
    app: Flask, acme: Organization, owner: FlaskClient, used: None
):
    with acting(app):
        meter = make_meter("bytes_out", dimensions=("app", "region"))
        for hour in (*range(8), *range(13, 20)):
            use(acme, meter, 1, at=DAY.replace(day=25, hour=hour, minute=30))
        fold_by_clock()
    text = owner.get("/usage?period=day&day=2026-10-25").text
    assert "25 Oct 2026, 19:30 UTC" in text
    assert re.search(r"25 Oct 2026, 08:00 UTC</time> to <time[^>]*>25 Oct 2026, 13:00 UTC", text)


# Events


def test_events_of_the_newest_day_with_usage_come_first(owner: FlaskClient, used: None):
    answer = owner.get("/usage/events")
    assert_flawless(answer)
    assert "Usage events of 20 Oct 2026" in answer.text


def test_events_of_a_day_newest_first_with_all_that_was_sent(owner: FlaskClient, used: None):
    answer = owner.get("/usage/events?day=2026-10-12&meter=bytes_out")
    assert_flawless(answer)
    text = answer.text
    assert re.findall(r">(first|second|third)</a>", text) == ["third", "second", "first"]
    assert "machine: m1" in text
    assert "secret-app" not in text
    lines = owner.get("/usage/events.csv?day=2026-10-12&meter=bytes_out").text.splitlines()
    assert len(lines) == 4
    assert lines[3].startswith("2026-10-12T03:00:00+00:00,2026-11-22T12:00:00+00:00,bytes_out,40,second,app=web; reg")
    assert lines[3].count("\ufeff") == 0


def test_pages_go_on_where_the_last_one_ended(owner: FlaskClient, used: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(EVENTS, "PAGE", 2)
    seen, address = [], "/usage/events?day=2026-10-12&meter=bytes_out"
    for _ in range(2):
        text = owner.get(address).text
        seen += re.findall(r">(first|second|third)</a>", text)
        older = re.search(r'rel="next" href="([^"]+)"', text)
        address = older[1].replace("&amp;", "&") if older else ""
    assert seen == ["third", "second", "first"]
    assert address == ""


def test_a_corrected_event_says_by_which_and_a_correction_says_of_which(
    app: Flask, acme: Organization, owner: FlaskClient, used: None
):
    with acting(app):
        meter = make_meter("bytes_out", dimensions=("app", "region"))
        use(acme, meter, 3, at=DAY, event_id="better", amends="second", app="api")
        cancel_usage(acme, "third")
    shown = {
        name: re.sub(r"<.*?>|\s+", " ", owner.get(f"/usage/events?id={name}").text)
        for name in ("second", "better", "third")
    }
    assert re.search(r"Amended by\s+better", shown["second"])
    assert re.search(r"Counts\.\s+Amends\s+second", shown["better"])
    assert re.search(r"Cancelled by\s+event-", shown["third"])


def test_one_event_by_its_id_and_source_whatever_its_day(owner: FlaskClient, used: None):
    assert "12 Oct 2026, 03:00 UTC" in owner.get("/usage/events?id=first&day=2026-10-01").text
    assert "There is no event with this id" in owner.get("/usage/events?id=first&source=other").text
    assert "There is no event with this id" in owner.get("/usage/events?id=nobody").text


@pytest.mark.parametrize("query", ["day=october", "series=many", f"series={2**63}", "after=there", "after=MjAyNg"])
def test_a_filter_of_events_that_does_not_fit_is_refused_in_words(owner: FlaskClient, used: None, query: str):
    answer = owner.get(f"/usage/events?{query}")
    assert answer.status_code == 422
    assert_flawless(answer)


def test_a_file_that_ends_before_the_day_says_so(owner: FlaskClient, used: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(EVENTS, "MOST_IN_A_FILE", 2)
    monkeypatch.setattr(pages, "ROWS_AT_ONCE", 1)
    lines = owner.get("/usage/events.csv?day=2026-10-12&meter=bytes_out").text.splitlines()
    assert len(lines) == 4
    assert lines[3].startswith("Only the newest 2 events are in this file")


def test_events_of_one_series_only(app: Flask, owner: FlaskClient, used: None):
    with acting(app):
        [(series_id,)] = sql("SELECT series_id FROM usage_events WHERE event_id = 'third'")
    assert re.findall(
        r">(first|second|third)</a>", owner.get(f"/usage/events?day=2026-10-12&series={series_id}").text
    ) == ["third"]
