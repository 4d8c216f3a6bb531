"""The keys of the review queue, pressed in a real browser: they move, approve and hold, and stay out of fields."""

from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.admin.conftest import Browser, admin, as_staff, world  # noqa: F401 - the pages' people and their world
from tests.bill_runs.test_pages import do_work, month, run, sql_in  # noqa: F401 - month and run are fixtures
from tests.factories import acting, make_draft, make_organization

pytestmark = pytest.mark.browser
ADDRESS = "http://portal.test"


@pytest.fixture
def page(admin: Browser, world: Any, month: Any, new_context: Any) -> Page:  # noqa: F811
    """A page whose requests the portal answers without a network."""
    with acting(world.app):
        for slug in ("brook", "creek"):
            make_draft(make_organization(slug), month)

    def answer(route: Route) -> None:
        asked = route.request
        told = admin.client.open(
            asked.url.removeprefix(ADDRESS),
            method=asked.method,
            data=asked.post_data_buffer,
            headers={"Content-Type": asked.headers.get("content-type", "")},
            follow_redirects=True,
        )
        route.fulfill(status=told.status_code, body=told.data, headers=dict(told.headers))
        told.close()

    opened: Page = new_context().new_page()
    opened.route(f"{ADDRESS}/**", answer)
    return opened


def test_keys_move_approve_and_hold_but_not_in_fields(page: Page, admin: Browser, run: str) -> None:  # noqa: F811
    page.goto(ADDRESS + run)
    at = page.locator("input[name=item]:focus")
    page.keyboard.press("j")
    expect(at).to_have_attribute("aria-label", "Choose Acme")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(at).to_have_attribute("aria-label", "Choose Brook")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Keyboard shortcuts of the queue")
    page.keyboard.press("Escape")
    page.keyboard.press("h")
    page.keyboard.type("ja, ask them?")
    expect(page.get_by_label("Reason to hold, or comment")).to_have_value("ja, ask them?")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("Held: 1.")
    expect(at).to_have_count(1)
    page.keyboard.press("k")
    page.keyboard.press("k")
    page.keyboard.press("a")
    expect(page.locator("main")).to_contain_text("Approved: 1.")
    rows = sql_in(admin, "SELECT o.slug, i.state FROM bill_run_items AS i JOIN organizations AS o"
                         " ON o.id = i.organization_id ORDER BY 1")  # fmt: skip
    assert [tuple(row) for row in rows] == [("acme", "approved"), ("brook", "held"), ("creek", "generated")]
