"""A card is left at Stripe's page and shows here, in a real browser: its policy lets the form lead there and back."""

import re
import time
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import CUSTOMER, LivePortal, sign_in
from tests.browser.test_main_job import PATIENCE_MILLISECONDS, watch_console

pytestmark = pytest.mark.browser


def test_a_card_that_is_entered_at_stripes_page_shows_here(live_portal: LivePortal, new_context: Any) -> None:
    page = new_context().new_page()
    problems = watch_console(page)
    sign_in(page, live_portal, CUSTOMER)
    page.get_by_role("link", name="Payment", exact=True).click()
    page.get_by_role("button", name="Set up a payment method").click()
    expect(page).to_have_url(re.compile(f"^{re.escape(live_portal.sandbox_url)}/checkout/cs_"))
    page.get_by_role("button", name="Keep this card").click()
    expect(page).to_have_url(f"{live_portal.url}/payment?back=kept")
    until = time.monotonic() + PATIENCE_MILLISECONDS / 1000
    while "Visa •••• 4242, expires 12/2030" not in page.inner_text("main") and time.monotonic() < until:
        page.get_by_role("link", name="Look again").click() if "back" in page.url else page.reload()
    expect(page.locator("main")).to_contain_text("Visa •••• 4242, expires 12/2030")
    page.get_by_role("button", name="See all that Stripe keeps").click()
    expect(page.locator("main")).to_contain_text("Pays the invoices")
    assert problems == []
