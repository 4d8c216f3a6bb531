"""What has changed in a draft since a day, as its customer sees it."""

from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from portal.infra.db import transaction
from portal.organizations.queries import ids_by_slug, organization_by_id
from tests.factories import acting, make_meter, sql, use
from tests.web.conftest import World, assert_flawless

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
