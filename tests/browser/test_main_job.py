"""From usage to "Paid", in a real browser: nobody reloads a page by hand."""

import json
import urllib.request
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import ADMIN, CUSTOMER, PASSWORD, LivePortal, sign_in

pytestmark = pytest.mark.browser
PATIENCE_MILLISECONDS = 30_000


def test_an_invoice_goes_from_usage_to_paid_without_a_reload(live_portal: LivePortal, new_context: Any) -> None:
    customer, admin = new_context().new_page(), new_context().new_page()
    problems = watch_console(customer) + watch_console(admin)
    sign_in(customer, live_portal, CUSTOMER)
    customer.goto(f"{live_portal.url}/invoices/{live_portal.invoice}")
    expect(customer.locator("main")).to_contain_text("$10.00")

    send_usage(live_portal, quantity=100)
    customer.reload()
    expect(customer.locator("main")).to_contain_text("$12.00")

    sign_in(admin, live_portal, ADMIN)
    admin.goto(f"{live_portal.url}/admin/invoices/{live_portal.invoice}/items/new")
    admin.get_by_label("Description").fill("Migration assistance")
    admin.get_by_label("Quantity").fill("2")
    admin.get_by_label("Unit price").fill("150.00")
    admin.get_by_role("button", name="Review the item").click()
    admin.get_by_role("button", name="Add $300.00").click()
    expect(admin.locator("main")).to_contain_text("$312.00")
    admin.goto(f"{live_portal.url}/admin/invoices/{live_portal.invoice}/finalize")
    admin.get_by_role("button", name="Finalize").click()

    pay = customer.locator("main").get_by_role("link", name="Pay")
    expect(pay).to_be_visible(timeout=PATIENCE_MILLISECONDS)
    hosted = new_context().new_page()
    hosted.goto(str(pay.get_attribute("href")))
    hosted.get_by_role("button", name="Pay", exact=True).click()
    expect(customer.locator("main")).to_contain_text("Paid", timeout=PATIENCE_MILLISECONDS)
    expect(admin.locator("main")).to_contain_text("Paid", timeout=PATIENCE_MILLISECONDS)

    assert ledger_of(live_portal) == [("paid", 31_200)]
    assert problems == []
    assert said_in_logs(live_portal, customer, admin) == {}


def said_in_logs(portal: LivePortal, *pages: Page) -> dict[str, list[str]]:
    """What of secrets, people and cards the log of web, worker or clock holds, by process; there must be logs."""
    texts = {name: (portal.logs / f"{name}.log").read_text() for name in ("web", "worker", "clock")}
    assert '"event"' in texts["worker"]
    cookies = [cookie["value"] for page in pages for cookie in page.context.cookies()]
    never = [*portal.secrets, portal.api_key, PASSWORD, CUSTOMER, ADMIN, "Otto Owner", "4242424242424242", *cookies]
    found = {name: [each for each in never if len(each) > 5 and each in text] for name, text in texts.items()}
    return {name: each for name, each in found.items() if each}


def watch_console(page: Page) -> list[str]:
    """Collect what the browser complains of: scripts that fail, resources that the policy refuses."""
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    return problems


def send_usage(portal: LivePortal, *, quantity: int) -> None:
    """One more event of last month, through the API."""
    event = {"id": "one-more", "meter": "egress_gb", "quantity": quantity, "time": f"{portal.last_month}T12:00:00Z"}
    request = urllib.request.Request(
        f"{portal.url}/api/v1/events",
        data=json.dumps([event]).encode(),
        headers={"Authorization": f"Bearer {portal.api_key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer)["accepted"] == 1


def ledger_of(portal: LivePortal) -> list[tuple[str, int]]:
    """Status and total of every invoice that the sandbox has."""
    with urllib.request.urlopen(f"{portal.sandbox_url}/_ctl/ledger") as answer:
        return [(invoice["status"], invoice["total"]) for invoice in json.load(answer)["invoices"]]
