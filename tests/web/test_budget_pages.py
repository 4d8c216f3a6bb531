"""The page of budgets: figures, a form with every refusal in a sentence, a preview, the file."""

from datetime import UTC, date, datetime
from uuid import uuid4

import pytest

from portal.budgets.watching import watch_by_clock
from portal.infra import clock
from portal.infra.db import transaction
from portal.organizations.queries import ids_by_slug, organization_by_id
from tests.factories import acting, make_meter, use
from tests.web.conftest import assert_flawless, post
from tests.web.test_cost_pages import rows_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _november(app, world, monkeypatch):
    """Acme has used 6.00 in November."""
    with acting(app):
        with transaction():
            acme = organization_by_id(ids_by_slug({"acme"})["acme"])
        use(acme, make_meter(dimensions=("app",)), 600, at=date(2026, 11, 20), now=NOW, app="launchpad")
    monkeypatch.setattr(clock, "now", lambda: NOW)


def set_one(browser, **values):
    return post(
        browser, "/budgets", page="/budgets", **{"watched": "", "amount": "10", "thresholds": "50, 100", **values}
    )


def test_without_a_budget_the_page_says_what_one_is_for(owner):
    page = owner.get("/budgets")
    assert_flawless(page)
    assert "No budget yet" in page.text
    assert "A budget warns; it does not stop usage." in page.text


def test_a_budget_stands_there_with_what_is_used_and_what_comes_next(app, owner):
    assert set_one(owner).status_code == 303
    with acting(app):
        watch_by_clock(now=NOW)
    page = owner.get("/budgets")
    assert_flawless(page)
    for text in ("Everything", "$10.00", "$6.00 (60%)", "at 100%", "50% used"):
        assert text in page.text, text
    [row] = rows_of(owner.get("/budgets.csv").text)
    assert (row["Budget"], row["Used"], row["Used %"], row["Warns at %"]) == ("Everything", "6.00", "60", "50 100")


def test_a_preview_sets_nothing(owner):
    page = set_one(owner, amount="2", preview="1")
    assert_flawless(page)
    assert page.status_code == 200
    # October's 2.50 came on the 10th.
    assert "would have warned" in page.text
    assert "10 Oct 2026" in page.text
    assert "No budget yet" in page.text


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"amount": ""}, "Enter a number"),
        ({"amount": "0"}, "A budget is more than nothing"),
        ({"amount": "-5"}, "A budget is more than nothing"),
        ({"amount": "1.005"}, "USD has fewer decimals"),
        ({"thresholds": "half"}, "Enter percentages with commas"),
        ({"thresholds": "0"}, "whole percentages from 1 to 500"),
        ({"watched": "app:secret-app"}, "Not a valid choice"),
    ],
)
def test_what_cannot_be_a_budget_is_refused_and_nothing_typed_is_lost(owner, values, sentence):
    answer = set_one(owner, **values)
    assert answer.status_code == 422
    assert sentence in answer.text
    assert f'value="{values.get("amount", "10")}"' in answer.text


def test_the_same_twice_is_refused_in_a_sentence(owner):
    set_one(owner)
    answer = set_one(owner)
    assert answer.status_code == 422
    assert "There is a budget of “Everything” already" in answer.text


def test_removing_is_for_those_who_may_and_for_their_own(owner, as_person):
    set_one(owner)
    action = owner.get("/budgets").text.partition('action="/budgets/')[2].partition('"')[0]
    assert post(owner, f"/budgets/{uuid4()}/remove", page="/budgets").status_code == 404
    assert as_person("developer@acme.example").get("/budgets").status_code == 404
    assert post(owner, f"/budgets/{action}", page="/budgets").status_code == 303
    assert "No budget yet" in owner.get("/budgets").text


@pytest.mark.parametrize(("amount", "passed"), [("10", False), ("6", False), ("5.99", True)])
def test_the_overview_says_when_the_budget_was_passed(owner, amount, passed):
    set_one(owner, amount=amount)
    assert (f"This month has passed the budget of ${amount}." in owner.get("/").text) == passed
