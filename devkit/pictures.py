"""`dev.py demo --screenshots DIR`: a picture of every page of the running demo, for people to look at.

Each demo role signs in and follows the links it is shown; of pages that differ only by an id, one is taken. Scripts
are off: the pages have to be whole without them, and no address outside this machine is asked. Then each page is
opened with scripts, and axe-core looks at it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from playwright.sync_api import Browser, BrowserContext, Error, Page, sync_playwright

from devkit.accessibility import violations
from devkit.words import Refusal, say

CHROMIUM = Path("/usr/bin/chromium")
HEIGHT = 900
LOOKS = (("light", 1280), ("dark", 1280), ("light", 320), ("dark", 320))
SIGNED_OUT = ("/sign-in", "/forgot-password", "/there-is-no-such-page")
EXPECTED_STATUS = {"/there-is-no-such-page": 404}
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FILE = re.compile(r"\.[a-z]+$")


@dataclass(frozen=True)
class Found:
    """A page to take: what the picture is called, and the path that is visited."""

    name: str
    path: str


def page_name(path: str) -> str:
    """The picture's name: the path in words, with every id as "one"; pages with one name are the same kind."""
    parts = urlsplit(path)
    words = _ID.sub("one", parts.path).strip("/").replace("/", "-") or "home"
    return f"{words}-explain" if parts.query else words


def page_path(portal_url: str, at: str, href: str) -> str | None:
    """The path of a link on the page `at` if it leads to a page of the portal; None for files and other places.

    Of the queries only a line's explanation is kept: it opens a part of the page; the others filter and sort.
    """
    target = urlsplit(urljoin(portal_url + at, href))
    if f"{target.scheme}://{target.netloc}" != portal_url or _FILE.search(target.path):
        return None
    return f"{target.path}?{target.query}" if "explain=" in target.query else target.path


def one_login_per_role(logins: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The first demo person of each role."""
    chosen: dict[str, Mapping[str, Any]] = {}
    for login in logins:
        chosen.setdefault(login["role"], login)
    return chosen


def take(description: Mapping[str, Any], into: Path) -> bool:
    """Save the pictures; say whether every page answered, fits its width and left no error in the console."""
    if not CHROMIUM.exists():
        raise Refusal(f"Pictures need {CHROMIUM}, which is missing; on Debian: apt-get install chromium.")
    into.mkdir(parents=True, exist_ok=True)
    url = description["portal_url"]
    count = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--headless", "--no-sandbox"])
        signed_out = [Found(page_name(path), path) for path in SIGNED_OUT]
        count += _take_all(browser, url, None, signed_out, into / "signed-out")
        for role, login in one_login_per_role(description["logins"]).items():
            with browser.new_context(java_script_enabled=False) as context:
                page = context.new_page()
                _sign_in(page, url, login)
                found = list(_crawl(page, url))
            say(f"  {role}: {len(found)} pages")
            count += _take_all(browser, url, login, found, into / role.replace(" ", "-"))
        browser.close()
    say(f"The pictures are in {into}. Faults: {count}.")
    return count == 0


def _crawl(page: Page, url: str) -> Iterator[Found]:
    """Every kind of page that can be reached by links from the first one, breadth first."""
    waiting, seen = [urlsplit(page.url).path], set[str]()
    while waiting:
        path = waiting.pop(0)
        name = page_name(path)
        if name in seen:
            continue
        seen.add(name)
        page.goto(url + path)
        yield Found(name, path)
        hrefs = page.eval_on_selector_all("a[href]", "links => links.map(link => link.getAttribute('href'))")
        waiting += [target for href in hrefs if (target := page_path(url, path, href)) is not None]


def _take_all(browser: Browser, url: str, login: Mapping[str, Any] | None, pages: Sequence[Found], into: Path) -> int:
    """Take each page in each look; say what is wrong with them, and return how many faults that were."""
    count = 0
    for scheme, width in LOOKS:
        for scripts in (False, True):
            with _window(browser, scheme, width, scripts=scripts) as context:
                page = context.new_page()
                if login is not None:
                    _sign_in(page, url, login)
                for found in pages:
                    faults = _faults_of(page, url, found)
                    if scripts:
                        faults += violations(page)
                    else:
                        page.screenshot(path=into / f"{found.name}-{scheme}-{width}.png", full_page=True)
                    for fault in faults:
                        say(f"  ✗ {into.name} {found.path} ({scheme}, {width} px): {fault}")
                    count += len(faults)
    return count


def _window(browser: Browser, scheme: Any, width: int, *, scripts: bool) -> BrowserContext:
    """A browser window that reaches the portal and the CDN's address at most, where nobody answers."""
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": HEIGHT}, java_script_enabled=scripts
    )
    context.route(re.compile("^https:"), lambda route: route.abort())
    return context


def _faults_of(page: Page, url: str, found: Found) -> list[str]:
    """Visit the page and return what is wrong with it, in words."""
    expected = EXPECTED_STATUS.get(found.path, 200)
    errors: list[str] = []

    def listen(message: Any) -> None:
        # The browser reports an expected 404 as an error of its own; the status is compared below.
        if message.type == "error" and "Failed to load resource" not in message.text:
            errors.append(message.text)

    page.on("console", listen)
    try:
        answer = page.goto(url + found.path)
    except Error as error:
        return [f"the page did not load: {error.message.splitlines()[0]}"]
    finally:
        page.remove_listener("console", listen)
    if answer is None or answer.status != expected:
        errors.append(f"answered {answer.status if answer else 'nothing'} instead of {expected}")
    is_wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    return [*errors, "is wider than the window"] if is_wide else errors


def _sign_in(page: Page, url: str, login: Mapping[str, Any]) -> None:
    page.goto(f"{url}/sign-in")
    page.get_by_label("E-mail").fill(login["email"])
    page.get_by_label("Password").fill(login["password"])
    page.get_by_role("button", name="Sign in").click()
    if urlsplit(page.url).path == "/sign-in":
        raise Refusal(f"{login['email']} of the demo could not sign in.")
