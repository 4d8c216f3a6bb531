"""Is it you? Asked in the form before a large invoice, a large run or a new address, and never passed by."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask

from portal.infra import clock
from tests.admin.conftest import PASSWORD
from tests.factories import acting, sql

NAME = "Confirm that it is you"


@pytest.fixture
def limit(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Set STEP_UP_ABOVE; the draft comes to $20.00."""

    def set_to(text: str) -> None:
        monkeypatch.setitem(app.config, "SETTINGS", replace(app.config["SETTINGS"], step_up_above=Decimal(text)))

    return set_to


def long_ago(app: Flask) -> None:
    """Everybody signed in 10 minutes ago."""
    with acting(app):
        sql("UPDATE sessions SET confirmed_at = now() - interval '10 minutes'")


def look(admin: Any, world: Any) -> Any:
    return admin.submit(admin.open(world.draft).form(action="/finalize"))


def test_above_the_limit_the_form_asks_and_a_wrong_answer_does_nothing(
    app: Flask, admin: Any, world: Any, limit: Callable[[str], None]
) -> None:
    limit("19.99")
    long_ago(app)
    page = look(admin, world)
    assert NAME in page.text
    before = page.form(action="/finalize").fields
    again = admin.submit(page.form(action="/finalize"), {"confirm": "wrong"})
    assert again.status == 422
    assert "This is not your password." in again.text
    assert world.invoice().state == "draft"
    after = again.form(action="/finalize").fields
    assert (after["fingerprint"], after["seen_total"]) == (before["fingerprint"], before["seen_total"])
    assert admin.submit(again.form(action="/finalize"), {"confirm": PASSWORD}).status == 200
    assert world.invoice().state == "finalized"


def test_a_form_that_was_open_too_long_is_shown_again_and_not_sent(
    app: Flask, admin: Any, world: Any, limit: Callable[[str], None]
) -> None:
    limit("19.99")
    page = look(admin, world)
    assert NAME not in page.text
    long_ago(app)
    again = admin.submit(page.form(action="/finalize"))
    assert (again.status, world.invoice().state) == (422, "draft")
    assert NAME in again.text
    admin.submit(again.form(action="/finalize"), {"confirm": PASSWORD})
    assert world.invoice().state == "finalized"


@pytest.mark.parametrize("amount", ["20", "20.01", None])
def test_up_to_the_limit_or_without_one_nobody_is_asked(
    app: Flask, admin: Any, world: Any, limit: Callable[[str], None], amount: str | None
) -> None:
    if amount:
        limit(amount)
    long_ago(app)
    page = look(admin, world)
    assert NAME not in page.text
    admin.submit(page.form(action="/finalize"))
    assert world.invoice().state == "finalized"


def test_an_answer_holds_for_ten_minutes(
    app: Flask, admin: Any, world: Any, limit: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit("1")
    now = clock.now()
    asked = []
    for minutes in (0, 9, 11):
        monkeypatch.setattr(clock, "now", lambda minutes=minutes: now + timedelta(minutes=minutes))
        asked.append(NAME in look(admin, world).text)
    assert asked == [False, False, True]


def test_guessing_at_the_question_is_limited_like_signing_in(
    app: Flask, admin: Any, world: Any, limit: Callable[[str], None]
) -> None:
    limit("1")
    long_ago(app)
    page = look(admin, world)
    for _ in range(6):
        page = admin.submit(page.form(action="/finalize"), {"confirm": "wrong"})
    assert "Too many tries. Try again in" in page.text
    page = admin.submit(page.form(action="/finalize"), {"confirm": PASSWORD})
    assert (page.status, world.invoice().state) == (422, "draft")
