"""The twelve key tasks of people, each done without scripts; with --full also without the CDN, by keyboard
alone, and with the next htmx.

A task is written once, for a hand that opens, fills, chooses and presses by what a person reads; how the hand does it
is the way that is tried.
"""

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Download, Locator, Page, expect

from devkit.testservers import TestRun
from tests.browser.conftest import ADMIN, CUSTOMER, PASSWORD, LivePortal, running_portal
from tests.full import part

pytestmark = pytest.mark.browser
PATIENCE_MILLISECONDS = 20_000
WAYS = ["without scripts", "without the CDN", "by keyboard", "with htmx 4"]
HTMX_4 = {
    "HTMX_URL": "https://cdn.jsdelivr.net/npm/htmx.org@4.0.1/dist/htmx.min.js",
    "HTMX_INTEGRITY": "sha384-Qp9rdC8H7EqOoX+nR0P3RPG2Noji+qdwJlGpfzwQJsfOpp3sGwIdSP9xO3+UlEhn",
}
MOST_TABS = 150


@pytest.fixture(params=part(WAYS, len(WAYS)))
def way(request: pytest.FixtureRequest) -> str:
    """How the tasks are done."""
    return str(request.param)


@pytest.fixture
def portal(test_run: TestRun, worker_number: int, way: str) -> Iterator[LivePortal]:
    """A portal of its own: a month becomes final only once."""
    settings = HTMX_4 if way == "with htmx 4" else {}
    with running_portal(test_run, f"tasks_{worker_number}", redis=60 + worker_number, **settings) as portal:
        yield portal


class Hand:
    """Does what a person does, by the words on the page; with the mouse."""

    def __init__(self, page: Page, portal: LivePortal) -> None:
        self.page, self.portal = page, portal
        self.main = page.locator("main")

    def open(self, path: str) -> None:
        self.page.goto(f"{self.portal.url}{path}")

    def sees(self, *words: str) -> None:
        for each in words:
            expect(self.main).to_contain_text(each, timeout=PATIENCE_MILLISECONDS)

    def fill(self, label: str, text: str) -> None:
        self.reach(self.page.get_by_label(label).first)
        self.page.keyboard.press("ControlOrMeta+A")
        self.page.keyboard.type(text)

    def choose(self, label: str, option: str) -> None:
        """A list takes the option whose words are typed."""
        self.reach(self.page.get_by_label(label).first)
        self.page.keyboard.type(option)

    def press(self, words: str) -> None:
        self.go(self.page.get_by_role("button", name=words).first)

    def follow(self, words: str) -> None:
        self.go(self.page.get_by_role("link", name=words).first)

    def saves(self, words: str) -> bytes:
        """The file that a link leads to."""
        with self.page.expect_download() as found:
            self.follow(words)
        download: Download = found.value
        return download.path().read_bytes()

    def reach(self, what: Locator) -> None:
        what.focus()

    def go(self, what: Locator) -> None:
        what.click()


class Keys(Hand):
    """The same with nothing but the keyboard; wherever it stands can be seen."""

    def reach(self, what: Locator) -> None:
        for _ in range(MOST_TABS):
            self.page.keyboard.press("Tab")
            # Looked up each time: a part of the page may have been swapped meanwhile.
            if what.evaluate("wanted => document.activeElement === wanted"):
                assert what.evaluate("wanted => wanted.matches(':focus-visible')")
                return
        raise AssertionError(f"{what} cannot be reached by the Tab key")

    def go(self, what: Locator) -> None:
        self.reach(what)
        self.page.keyboard.press("Enter")


def sign_in(hand: Hand, email: str) -> None:
    hand.open("/sign-in")
    hand.fill("E-mail", email)
    hand.fill("Password", PASSWORD)
    hand.press("Sign in")
    expect(hand.page).not_to_have_url(f"{hand.portal.url}/sign-in", timeout=PATIENCE_MILLISECONDS)


def filter_usage(hand: Hand) -> None:
    hand.open(f"/usage?period={hand.portal.last_month:%Y-%m}")
    hand.choose("Meter", "Egress")
    hand.press("Show")
    hand.sees("500")
    expect(hand.page).to_have_url(re.compile("meter=egress_gb"), timeout=PATIENCE_MILLISECONDS)


def explain_a_line(hand: Hand) -> None:
    hand.open(f"/invoices/draft?month={hand.portal.last_month:%Y-%m}")
    hand.follow("Explain")
    hand.sees("500 GB", "$0.02")


def save_files(hand: Hand) -> None:
    hand.open(f"/invoices/draft?month={hand.portal.last_month:%Y-%m}")
    assert b"Egress" in hand.saves("Download CSV")
    assert hand.saves("Download PDF").startswith(b"%PDF")


def set_a_budget(hand: Hand) -> None:
    hand.open("/budgets")
    hand.fill("Amount", "430")
    hand.press("Set this budget")
    hand.sees("$430.00")


def invite_a_member(hand: Hand) -> None:
    hand.open("/settings/members")
    hand.fill("E-mail", "vera@example.com")
    hand.press("Invite")
    hand.sees("vera@example.com")


def make_a_key(hand: Hand) -> None:
    hand.open("/settings/api-keys")
    hand.fill("Name", "collector")
    hand.press("Make the key")
    hand.sees("blk_")


def add_an_item(hand: Hand) -> None:
    hand.open(f"/admin/invoices/{hand.portal.invoice}/items/new")
    hand.fill("Description", "Migration assistance")
    hand.fill("Quantity", "2")
    hand.fill("Unit price", "150.00")
    hand.press("Review the item")
    hand.press("Add $300.00")
    hand.sees("$310.00")


def review_a_bill(hand: Hand) -> None:
    hand.open("/admin")
    hand.follow("Review Acme Rockets")
    hand.sees("Migration assistance", "Egress", "$310.00")


def finalize(hand: Hand) -> None:
    """The bill is refused by Stripe's stand-in, so that the next task has something to do."""
    _ctl(hand.portal, "faults", {"match": "POST /v1/customers", "mode": "400", "times": 1})
    hand.open(f"/admin/invoices/{hand.portal.invoice}/finalize")
    hand.press("Finalize")
    expect(hand.page).not_to_have_url(re.compile("/finalize$"), timeout=PATIENCE_MILLISECONDS)
    hand.sees("Final")


def sync_again(hand: Hand) -> None:
    for _ in range(40):
        hand.open(f"/admin/invoices/{hand.portal.invoice}")
        if hand.page.get_by_role("button", name="Sync again").count():
            break
        hand.page.wait_for_timeout(500)
    hand.press("Sync again")
    expect(hand.page.get_by_role("button", name="Sync again")).to_have_count(0, timeout=PATIENCE_MILLISECONDS)
    for _ in range(40):
        hand.open(f"/admin/invoices/{hand.portal.invoice}")
        if "Synced" in hand.main.inner_text():
            return
        hand.page.wait_for_timeout(500)
    hand.sees("Synced")


def find_the_audit_row(hand: Hand) -> None:
    hand.open("/admin/audit")
    hand.fill("What", "scheduled finalizing")
    hand.press("Show")
    hand.sees("Ada Admin", "Scheduled finalizing")


CUSTOMERS: tuple[Callable[[Hand], None], ...] = (
    *(filter_usage, explain_a_line, save_files, set_a_budget, invite_a_member, make_a_key),
)
STAFFS: tuple[Callable[[Hand], None], ...] = (add_an_item, review_a_bill, finalize, sync_again, find_the_audit_row)


def _ctl(portal: LivePortal, path: str, body: dict[str, Any]) -> None:
    request = urllib.request.Request(
        f"{portal.sandbox_url}/_ctl/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=10).close()


def test_the_twelve_key_tasks(portal: LivePortal, new_context: Any, way: str) -> None:
    for email, tasks in ((CUSTOMER, CUSTOMERS), (ADMIN, STAFFS)):
        context = new_context(java_script_enabled=way != "without scripts")
        if way == "without the CDN":
            context.unroute("https://cdn.jsdelivr.net/**")
            context.route("https://cdn.jsdelivr.net/**", lambda route: route.abort())
        page, complaints = context.new_page(), []
        page.on("pageerror", lambda error, said=complaints: said.append(str(error)))
        hand = (Keys if way == "by keyboard" else Hand)(page, portal)
        sign_in(hand, email)
        for task in tasks:
            task(hand)
        if way == "with htmx 4":
            assert str(page.evaluate("htmx.version")).startswith("4.")
        assert complaints == []
