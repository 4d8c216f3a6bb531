"""Sources: up to when they are complete, and what counts as a gap."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskCliRunner

from portal.infra.db import tenant, transaction
from portal.organizations.models import Organization
from portal.usage import heard
from portal.usage.events import Reader
from portal.usage.folding import fold_by_clock
from portal.usage.heard import Gap, heard_sources, sources_of
from portal.usage.ingesting import ingest
from tests.factories import NOW, acting, cancel_usage, make_meter, make_organization, use

START = datetime(2026, 11, 10, tzinfo=UTC)
WEEK = (START, START + timedelta(days=7))


@pytest.fixture
def acme(app: Flask, clean_database: None) -> Iterator[Organization]:
    with acting(app):
        yield make_organization()


def report(organization: Organization, hours: Iterable[int], *, source: str = "a", now: datetime = NOW) -> None:
    """One event a quarter past every such hour after START, in one batch; folded."""
    meter = make_meter()
    reader = Reader({meter.code: meter}, now=now, organization_id=organization.id, organizations={})
    documents = [
        {
            "id": f"{source}-{hour}",
            "meter": meter.code,
            "quantity": 1,
            "source": source,
            "time": (START + timedelta(hours=hour, minutes=15)).isoformat(),
        }
        for hour in hours
    ]
    with transaction():
        ingest([reader.read(each) for each in documents], now=now)
    fold_by_clock()


def gaps(organization: Organization, *, between: tuple[datetime, datetime] = WEEK) -> dict[str, list[tuple[int, int]]]:
    """The gaps of each source, in hours after START."""
    hour = timedelta(hours=1)
    return {
        each.source: [((gap.start - START) // hour, (gap.end - START) // hour) for gap in each.gaps]
        for each in heard_sources(organization.id, *between)
    }


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (range(24), []),
        ([*range(5), *range(8, 24)], []),  # three hours without any are three times the usual hour, and not longer
        ([*range(5), *range(9, 24)], [(5, 9)]),
        ([*range(5), *range(9, 24), *range(40, 60)], [(5, 9), (24, 40)]),
        (range(0, 24 * 6, 24), []),  # once a day
        ([0, 24, 48, 120, 144], []),  # two days missing: 71 hours are less than three usual days
        ([0, 24, 48, 144, 168], [(49, 144)]),
        ([3], []),
        ([3, 90], []),  # nothing is usual yet
    ],
)
def test_a_gap_is_longer_than_three_times_what_is_usual(acme, hours, expected):
    report(acme, hours)
    assert gaps(acme) == {"a": expected}


def test_a_gap_that_reaches_into_the_time_is_found_from_either_side(acme):
    report(acme, [*range(5), *range(100, 110)])
    day = timedelta(days=1)
    for start in (0, 1, 2, 3, 4):
        assert gaps(acme, between=(START + start * day, START + (start + 1) * day)) == {"a": [(5, 100)]}
    assert gaps(acme, between=(START + 5 * day, START + 6 * day)) == {"a": []}


def test_a_source_that_reports_more_often_in_a_later_month_was_not_missing_before(acme):
    december = 21 * 24
    report(acme, [*range(0, december, 24), *range(december, december + 60)], now=START + timedelta(days=25))
    assert gaps(acme, between=(START, START + timedelta(days=25))) == {"a": []}


def test_a_source_that_has_fallen_silent_has_no_gap_but_says_how_far_it_came(acme):
    report(acme, range(10), source="silent")
    report(acme, range(100), source="steady")
    silent, steady = heard_sources(acme.id, *WEEK)
    assert (silent.gaps, steady.gaps) == ((), ())
    assert silent.complete_up_to == START + timedelta(hours=9, minutes=15)
    assert steady.complete_up_to == START + timedelta(hours=99, minutes=15)
    assert (silent.events, steady.events) == (10, 100)


def test_late_usage_fills_a_gap_and_was_heard_of_lately(acme):
    report(acme, [*range(5), *range(12, 24)])
    assert gaps(acme) == {"a": [(5, 12)]}
    later = NOW + timedelta(hours=3)
    report(acme, range(5, 12), now=later)
    [source] = heard_sources(acme.id, *WEEK)
    assert source.gaps == ()
    assert source.heard_at == later
    assert source.complete_up_to == START + timedelta(hours=23, minutes=15)


def test_a_cancelled_event_shows_all_the_same_that_its_source_was_there(acme):
    use(acme, make_meter(), 1, at=START, event_id="wrong")
    cancel_usage(acme, "wrong")
    fold_by_clock()
    [source] = heard_sources(acme.id, *WEEK)
    assert (source.source, source.events, source.complete_up_to) == ("api", 1, START)


def test_only_so_many_sources_are_looked_at(acme, monkeypatch):
    for name in ("c", "a", "d", "b"):
        report(acme, range(3), source=name)
    assert sources_of(acme.id) == ["a", "b", "c", "d"]
    monkeypatch.setattr(heard, "MOST_SOURCES", 2)
    assert [each.source for each in heard_sources(acme.id, *WEEK)] == ["a", "b"]


def test_a_tenant_sees_its_own_sources(app, acme):
    umbrella = make_organization("umbrella")
    report(acme, range(3), source="mine")
    report(umbrella, range(3), source="theirs")
    with acting(app, tenant(acme.id)):
        assert [each.source for each in heard_sources(acme.id, *WEEK)] == ["mine"]
        assert heard_sources(umbrella.id, *WEEK) == []


def test_the_command_lists_the_sources_of_all_organizations_or_of_one(acme, runner: FlaskCliRunner, monkeypatch):
    monkeypatch.setattr("portal.infra.clock.now", lambda: NOW)
    report(acme, [*range(5), *range(9, 24)], source="scheduler")
    report(make_organization("umbrella"), range(3), source="theirs")
    everybody = runner.invoke(args=["usage", "sources"]).output
    assert "umbrella" in everybody
    alone = runner.invoke(args=["usage", "sources", "--organization", "acme"]).output
    assert "theirs" not in alone
    assert "scheduler" in alone
    assert "10 Nov 2026, 23:15 UTC" in alone
    assert "10 Nov 2026, 05:00 UTC to 10 Nov 2026, 09:00 UTC" in alone
    refused = runner.invoke(args=["usage", "sources", "--organization", "nobody"])
    assert refused.exit_code == 2
    assert "no active organization" in refused.output


def test_a_gap_says_its_hours(acme):
    report(acme, [0, 1, 2, 9, 10])
    [source] = heard_sources(acme.id, *WEEK)
    assert source.gaps == (Gap(START + timedelta(hours=3), START + timedelta(hours=9)),)
