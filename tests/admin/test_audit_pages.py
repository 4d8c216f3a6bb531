"""The audit log's page: everything that staff may see, searched, in pages, as a file."""

import csv
import io

import pytest

from portal.infra import audit
from portal.infra.db import transaction
from tests.factories import acting, make_organization
from tests.web.conftest import assert_flawless


@pytest.fixture
def staff(as_staff):
    return as_staff("support").client


@pytest.fixture
def acme(app, world):
    with acting(app, name="Ada"):
        organization = make_organization("thing-maker")
        with transaction():
            for number in range(60):
                audit.record(
                    f"did {number:02d}%",
                    subject="thing",
                    subject_id=number,
                    organization_id=organization.id,
                    reason="<b>",
                )
        return organization


def test_entries_stand_there_newest_first_in_pages(staff, acme):
    first = staff.get("/admin/audit?action=did")
    assert_flawless(first)
    assert "Did 59%" in first.text
    assert "Did 09%" not in first.text
    assert "&lt;b&gt;" in first.text
    next_page = first.text.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert "Did 09%" in staff.get(next_page).text


def test_words_are_looked_for_as_they_are(staff, acme):
    assert "Did 07%" in staff.get("/admin/audit?action=7%25").text
    assert "No entry matches" in staff.get("/admin/audit?action=_").text
    assert "Did 59%" in staff.get("/admin/audit?who=ada").text
    assert "No entry matches" in staff.get("/admin/audit?who=nobody-of-that-name").text


def test_the_file_has_all_of_them(staff, acme):
    text = staff.get(f"/admin/audit.csv?action=did&organization={acme.public_id}").text
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    assert len(rows) == 60
    assert rows[0]["organization"] == acme.name
    assert rows[0]["actor"] == "Ada"
