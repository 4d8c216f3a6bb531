"""One usage event followed to "paid", over HTTP alone, as a machine, a customer and an admin would.

Every step says what it saw. The walk ends well only if the portal and the sandbox's ledger both say paid,
with equal totals.
"""

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from devkit.formbrowser import FormBrowser, NotOnPage, Page, call_json
from devkit.words import say

WAIT_SECONDS = 40
EVENT_COUNT = 5
METER = "machine_seconds"
QUANTITY = 1_000_000
ITEM = {
    "description": "Migration help",
    "kind": "charge",
    "quantity": "2",
    "unit_price": "12.50",
    "internal_reason": "Smoke run",
}


class WalkFailed(Exception):
    """The portal did not show what it should have; the text says what differed."""


def walk(description: dict[str, Any]) -> bool:
    """Go the whole way; say what differed if it does not end in "paid"."""
    started = time.monotonic()
    try:
        _Walk(description).go()
    except (WalkFailed, NotOnPage, OSError) as failure:
        say(f"  ✗ {failure}")
        return False
    say(f"The smoke run passed in {time.monotonic() - started:.1f} s.")
    return True


class _Walk:
    """The story; its steps in the order in which they happen."""

    def __init__(self, description: dict[str, Any]) -> None:
        self._portal_url = description["portal_url"]
        self._sandbox_url = description["sandbox_url"]
        self._api_key = description["api_keys"]["organization"]
        self._passwords = {login["email"]: login["password"] for login in description["logins"]}
        self._smoke = description["smoke"]
        self._run = secrets.token_hex(4)
        self._invoice_path = f"/invoices/{self._smoke['invoice']}"

    def go(self) -> None:
        """Raises WalkFailed or NotOnPage where the story breaks."""
        customer = self._sign_in(self._smoke["customer_email"])
        before = _total(customer.open(self._invoice_path))
        _saw(f"the customer's draft of last month stands at {before}")
        self._send_events()
        self._see_usage(customer)
        after = _total(customer.open(self._invoice_path))
        _require(after > before, f"the draft's total rose from {before} to {after}")
        admin = self._sign_in(self._smoke["admin_email"])
        self._add_item(admin)
        self._finalize(admin)
        hosted = self._wait_for_pay_link(customer)
        self._pay(hosted)
        paid = _wait(lambda: customer.open(self._invoice_path), lambda page: _state(page) == "paid")
        _require(_state(paid) == "paid", f"the portal says {_state(paid)} for the invoice")
        self._compare(_total(paid))

    def _sign_in(self, email: str) -> FormBrowser:
        browser = FormBrowser(self._portal_url)
        page = browser.open("/sign-in")
        page = browser.submit(page, page.form(action="/sign-in"), {"email": email, "password": self._passwords[email]})
        _require(
            page.status == 200 and not page.url.endswith("/sign-in"),
            f"{email} signed in and is at {page.url}",
        )
        return browser

    def _send_events(self) -> None:
        month_end = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        events = [
            {
                "id": f"smoke-{self._run}-{number}",
                "source": "smoke",
                "meter": METER,
                "quantity": str(QUANTITY),
                "time": (month_end - timedelta(days=3, minutes=number)).isoformat(),
                "properties": {"size": "shared-cpu-1x-256MB", "app": f"smoke-{self._run}"},
            }
            for number in range(EVENT_COUNT)
        ]
        status, answer = call_json(f"{self._portal_url}/api/v1/events", body=events, token=self._api_key)
        _require(
            status == 200 and answer["accepted"] == EVENT_COUNT,
            f"{EVENT_COUNT} events of last month were sent and answered {status}, {answer['accepted']} accepted",
        )

    def _see_usage(self, customer: FormBrowser) -> None:
        last_month = (datetime.now(UTC).replace(day=1) - timedelta(days=1)).strftime("%Y-%m")
        page = customer.open(f"/usage?month={last_month}")
        _require(f"smoke-{self._run}" in page.text, f"the usage page of {last_month} shows the new app")

    def _add_item(self, admin: FormBrowser) -> None:
        organization = admin.open(f"/admin/organizations/{self._smoke['organization_id']}")
        _require(organization.status == 200, f"the admin opened the organization: {organization.url}")
        page = admin.open(f"/admin{self._invoice_path}/items/new")
        review = admin.submit(page, page.form(action="/items/new"), ITEM)
        page = admin.submit(review, review.form(action="/items/new"))
        added = ITEM["description"] in page.text and page.url.endswith(self._invoice_path)
        _require(added, "the one-off item stands on the draft")

    def _finalize(self, admin: FormBrowser) -> None:
        page = admin.open(f"/admin{self._invoice_path}")
        confirm = admin.submit(page, page.form(action="/finalize"))
        page = admin.submit(confirm, confirm.form(action="/finalize"))
        _require(_state(page) == "scheduled", f"the admin finalized; the invoice is {_state(page)}")

    def _wait_for_pay_link(self, customer: FormBrowser) -> str:
        page = _wait(lambda: customer.open(self._invoice_path), lambda page: bool(page.link(start=self._sandbox_url)))
        link = page.link(start=self._sandbox_url)
        if link is None:
            raise WalkFailed(f"no Pay link after {WAIT_SECONDS} s; the invoice page says: {page.text[:400]}")
        _saw(f"the worker synced the invoice; {link.label.strip()!r} leads to {link.href}")
        return link.href

    def _pay(self, hosted: str) -> None:
        stripe = FormBrowser(self._sandbox_url)
        page = stripe.open(hosted)
        page = stripe.submit(page, page.form(button="Pay"), button="Pay")
        _require(page.status == 200, f"clicked Pay at the sandbox; it says: {page.text[:120]}")

    def _compare(self, total: int) -> None:
        _, ledger = call_json(f"{self._sandbox_url}/_ctl/ledger")
        ours = [entry for entry in ledger["invoices"] if entry["metadata"].get("invoice_id") == self._smoke["invoice"]]
        _require(len(ours) == 1, f"the sandbox's ledger holds the invoice {len(ours)} time(s)")
        theirs = ours[0]
        _require(theirs["status"] == "paid", f"the sandbox's ledger says {theirs['status']}")
        _require(theirs["total"] == total, f"the total is {total} here and {theirs['total']} there, in minor units")


def _wait(look: Callable[[], Page], enough: Callable[[Page], bool]) -> Page:
    """Reload a page until it shows enough, or the time is up."""
    deadline = time.monotonic() + WAIT_SECONDS
    page = look()
    while not enough(page) and time.monotonic() < deadline:
        time.sleep(0.3)
        page = look()
    return page


def _total(page: Page) -> int:
    """The invoice's total in minor units, which its page carries for programs."""
    if "data-total-minor" not in page.data:
        raise NotOnPage(f"no total on {page.url} ({page.status}); it says: {page.text[:300]}")
    return int(page.data["data-total-minor"])


def _state(page: Page) -> str:
    """The invoice's state in one word, which its page carries for programs."""
    return page.data.get("data-invoice-state", f"nothing (status {page.status})")


def _require(held: bool, what: str) -> None:
    if not held:
        raise WalkFailed(what)
    _saw(what)


def _saw(what: str) -> None:
    say(f"  ✓ {what}")
