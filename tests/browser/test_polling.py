"""Pages that look again by themselves: while something moves, no more often than they say, and never when hidden."""

import re
from typing import Any

import pytest

from portal import ROOT
from tests.browser.conftest import HTMX

pytestmark = pytest.mark.browser
PAGE = """<!doctype html><title>t</title><script src="/htmx.js"></script><script src="/app.js"></script>
<p id="live"></p><main><section hx-get="/part" hx-trigger="every 2s" hx-swap="none"></section></main>"""
HIDE = "hidden => Object.defineProperty(document, 'hidden', {value: hidden, configurable: true})"
FASTEST_SECONDS = 2


def test_a_hidden_page_asks_for_nothing_until_it_is_seen_again(new_context: Any) -> None:
    page, asked = new_context().new_page(), []
    files = {
        "htmx.js": HTMX.read_text(),
        "app.js": (ROOT / "static/js/app.js").read_text(),
        "": PAGE,
        "part": "",
        "other": "",
    }

    def answer(route: Any) -> None:
        name = route.request.url.rpartition("/")[2]
        asked.append(name)
        route.fulfill(body=files[name], content_type="text/javascript" if name.endswith(".js") else "text/html")

    page.route("http://portal.test/**", answer)
    page.clock.install()
    page.goto("http://portal.test/")
    with page.expect_response("**/part"):
        page.clock.run_for(2_100)
    asked.clear()
    page.evaluate(HIDE, True)
    page.clock.run_for(60_000)
    # By hand it is asked for all the same; and whatever the minute had sent would have come before.
    with page.expect_response("**/other"):
        page.evaluate("htmx.ajax('GET', '/other', {target: 'main', swap: 'none'})")
    assert asked == ["other"]
    page.evaluate(HIDE, False)
    with page.expect_response("**/part"):
        page.clock.run_for(2_100)


def test_every_part_that_looks_again_stops_by_itself_or_takes_its_time() -> None:
    """The seconds come from the view, which leaves them out when nothing moves; a fixed time is inside a condition."""
    found = {}
    for path in sorted((ROOT / "templates").rglob("*.html")):
        for tag in re.findall(r"<\w+[^\n]*hx-trigger=\"every [^\n]*>", path.read_text()):
            condition, seconds = re.search(r"(\{% if [^%]+%\} )?hx-get=.*hx-trigger=\"every ([^\"]+)s\"", tag).groups()
            found[str(path.relative_to(ROOT / "templates"))] = (condition is not None, seconds)
    assert len(found) >= 6
    always = {name for name, (conditional, _) in found.items() if not conditional}
    # The running month moves until it is final; then its answer is another page.
    assert always == {"web/invoices/_total.html"}
    fixed = [int(seconds) for _, seconds in found.values() if seconds.isdecimal()]
    assert all(seconds >= FASTEST_SECONDS for seconds in fixed)
