"""What axe-core, the console and a ruler say of the most important pages; of all of them with --full."""

from typing import Any
from urllib.parse import urlsplit

import pytest

from devkit.accessibility import violations
from devkit.pictures import LOOKS
from tests.browser.conftest import ADMIN, CUSTOMER, LivePortal, sign_in
from tests.browser.test_main_job import watch_console
from tests.full import FULL

pytestmark = pytest.mark.browser
# By default each page in one look, the next page in another one; every page in each with --full.
PAGES = (
    (CUSTOMER, "/"),
    (CUSTOMER, "/usage"),
    (CUSTOMER, "/invoices/draft?month={month}&explain=1"),
    (CUSTOMER, "/invoices"),
    (CUSTOMER, "/budgets"),
    (CUSTOMER, "/settings/members"),
    (ADMIN, "/admin"),
    (ADMIN, "/admin/invoices"),
    (ADMIN, "/admin/invoices/{invoice}"),
    (ADMIN, "/admin/invoices/{invoice}/items/new"),
)


@pytest.mark.parametrize("person", [CUSTOMER, ADMIN])
def test_pages_are_accessible_fit_and_say_nothing_in_the_console(
    live_portal: LivePortal, new_context: Any, person: str
) -> None:
    mine = [path for who, path in PAGES if who == person]
    values = {"month": f"{live_portal.last_month:%Y-%m}", "invoice": live_portal.invoice}
    faults: list[str] = []
    for number, (scheme, width) in enumerate(LOOKS):
        page = new_context(color_scheme=scheme, viewport={"width": width, "height": 900}).new_page()
        problems = watch_console(page)
        sign_in(page, live_portal, person)
        page.wait_for_url(lambda address: urlsplit(address).path != "/sign-in")
        for path in mine if FULL else mine[number :: len(LOOKS)]:
            answer = page.goto(live_portal.url + path.format(**values))
            assert answer.status == 200, path
            wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
            seen = [*violations(page), *(["is wider than the window"] if wide else [])]
            faults += [f"{path} ({scheme}, {width} px): {each}" for each in seen]
        faults += problems
    assert faults == []


def test_a_form_with_errors_is_accessible(live_portal: LivePortal, new_context: Any) -> None:
    page = new_context(viewport={"width": 320, "height": 900}).new_page()
    page.goto(f"{live_portal.url}/sign-in")
    page.get_by_label("E-mail").fill("nobody@example.com")
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    assert "is not right" in page.inner_text("main") or "do not" in page.inner_text("main")
    assert violations(page) == []


def test_a_fault_is_found(live_portal: LivePortal, new_context: Any) -> None:
    page = new_context().new_page()
    page.goto(f"{live_portal.url}/sign-in")
    assert violations(page) == []
    page.evaluate("document.querySelector('main').insertAdjacentHTML('beforeend', '<img src=x>')")
    assert [each.split()[0] for each in violations(page)] == ["image-alt"]
