"""The usage explorer and its file."""

import pytest
from flask.testing import FlaskClient

from tests.web.conftest import MONTH, World, assert_flawless


def test_usage_of_one_organization_shows_and_nobody_elses(owner: FlaskClient, world: World):
    text = owner.get(f"/usage?month={MONTH}").text
    assert "launchpad" in text
    assert "250" in text
    assert "secret-app" not in text


def test_the_file_holds_what_the_page_shows(owner: FlaskClient, world: World):
    lines = owner.get(f"/usage.csv?month={MONTH}").text.splitlines()
    assert lines[1] == "2026-10,Compute,machine seconds,machine_seconds,app=launchpad,250,second,1"


def test_the_filter_holds_for_the_page_and_the_file(owner: FlaskClient, world: World):
    assert "No usage of this meter" in owner.get(f"/usage?month={MONTH}&meter=other").text
    assert len(owner.get(f"/usage.csv?month={MONTH}&meter=other").text.splitlines()) == 1


@pytest.mark.parametrize("month", ["october", "2026-13", "9999-12", "0001-01", "2026-10-01"])
def test_a_month_that_is_none_is_refused_in_words(owner: FlaskClient, month: str):
    answer = owner.get(f"/usage?month={month}")
    assert answer.status_code == 422
    assert "month" in answer.text
    assert_flawless(answer)
