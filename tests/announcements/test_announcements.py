"""What staff announce stands on top of customers' pages: of those it is for, while it lasts, until it is put away."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from portal.announcements.queries import shown_now
from portal.announcements.writing import announce, take_back
from portal.core.errors import InvalidInput
from portal.infra.db import tenant, transaction
from tests.admin.conftest import Browser, admin, as_staff, customer, world  # noqa: F401 - the pages' people and their world
from tests.factories import acting, make_organization, sql

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def wish(**more):
    return {
        "text": "Usage of the region ams is late.",
        "severity": "warning",
        "starts_at": NOW,
        "ends_at": NOW + HOUR,
        "organization": None,
        "by": "Ada",
        "now": NOW,
        **more,
    }


def texts(app, organization_id: int, now: datetime) -> list[str]:
    with acting(app, tenant(organization_id)):
        return [each.text for each in shown_now(now=now)]


def test_it_is_shown_to_those_it_is_for_while_it_lasts(app, clean_database):
    with acting(app):
        acme, other = make_organization("acme"), make_organization("other")
        form, taken_back = uuid4(), uuid4()
        for _ in range(2):
            with transaction():
                announce(form, **wish())
        with transaction():
            announce(uuid4(), **wish(text="Only you.", organization=acme))
            announce(taken_back, **wish(text="Never mind.", starts_at=NOW + HOUR / 2))
            take_back(taken_back, now=NOW)
            take_back(taken_back, now=NOW)
        actions = [row.action for row in sql("SELECT action FROM audit_entries WHERE subject_kind = 'announcement'")]
    assert sorted(actions) == ["announced to customers"] * 3 + ["took back an announcement"]
    usual = "Usage of the region ams is late."
    assert texts(app, acme.id, NOW) == ["Only you.", usual]
    assert texts(app, other.id, NOW) == [usual]
    assert texts(app, other.id, NOW + HOUR * 3 / 4) == [usual]
    assert texts(app, acme.id, NOW - HOUR / 60) == texts(app, acme.id, NOW + HOUR) == []


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"text": "  "}, "text"),
        ({"text": "x" * 501}, "text"),
        ({"severity": "fatal"}, "severity"),
        ({"ends_at": NOW}, "ends_at"),
        ({"starts_at": NOW - 2 * HOUR, "ends_at": NOW - HOUR}, "ends_at"),
    ],
)
def test_what_cannot_be_announced_is_refused_at_its_field(more, field):
    with pytest.raises(InvalidInput) as refusal:
        announce(uuid4(), **wish(**more))
    assert refusal.value.field == field


def test_staff_write_one_and_a_customer_puts_it_away(admin, customer, as_staff, world):  # noqa: F811
    assert "Announcement" not in customer.get("/").text
    form = admin.open("/admin/announcements/new").form(action="/new")
    words = {"text": "Usage is late <today>.", "severity": "problem"}
    assert "There is no organization with the short name" in admin.submit(form, {**words, "organization": "x"}).text
    page = admin.submit(form, {**words, "organization": "acme"}, button="Announce")
    assert "Shown" in page.text
    assert "Usage is late &lt;today&gt;." in customer.get("/").text
    assert admin.client.get("/admin/announcements.csv").text.count("\r\n") == 2
    assert as_staff("support").client.get("/admin/announcements/new").status_code == 404
    reader = Browser(customer)
    away = reader.open("/usage").form(action="/put-away")
    assert reader.submit(replace(away, action=f"/announcements/{uuid4()}/put-away")).status == 404
    for _ in range(2):
        page = reader.submit(away)
        assert page.url == "/usage"
        assert "Usage is late" not in page.text
    assert "Over" in admin.submit(admin.open("/admin/announcements").form(action="/take-back")).text
