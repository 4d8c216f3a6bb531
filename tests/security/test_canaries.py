"""Markup and scripts in every text that people or senders can write: nothing runs, whoever opens whatever page."""

import csv
import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import render_template_string
from werkzeug.serving import make_server

from portal.core.visible import hides_something, visible
from portal.infra.pages import csv_response, policy_of
from tests.browser.serving import closed
from tests.full import every
from tests.security.crawling import Attempt, Caller, World, make_world, paths_of

TURNING = "\u202e"
CANARY = f"\"'><svg onload=window.pwned=1><script>window.pwned=1;alert(1)</script>{TURNING}{{{{7*7}}}}"
# Other pages each time that there is a new route; all of them with --full.
EVERY = every(3)
WATCH = "addEventListener('securitypolicyviolation', event => reported(event.violatedDirective + event.blockedURI))"
FOREIGN_MARKUP = "document.querySelectorAll('[onload], script:not([src]), iframe, object').length"


@pytest.fixture
def world(app, clean_database, clean_redis, owner_connection) -> World:
    return make_world(app, owner_connection, marks=(CANARY, CANARY + "2"))


@pytest.fixture
def address(app) -> Iterator[str]:
    """The portal behind a port of its own."""
    server = make_server("127.0.0.1", 0, closed(app), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(10)


def pages_of(world: World, caller: Caller) -> list[str]:
    """The addresses of all pages that somebody may open."""
    found = []
    for rule in sorted(world.app.url_map.iter_rules(), key=lambda each: each.rule):
        for path, foreign in paths_of(world, rule):
            attempt = Attempt(caller, "GET", rule.endpoint, path, policy_of(world.app, rule.endpoint) or "")
            if "GET" in rule.methods and not foreign and attempt.allowed and rule.endpoint != "static":
                response = world.send(attempt)
                if response.mimetype == "text/html" and response.status_code == 200:
                    found.append(path)
    return found


@pytest.mark.browser
@pytest.mark.parametrize("name", ["owner", "admin"])
def test_no_text_becomes_markup_in_a_browser(world: World, address: str, new_context: Any, name: str) -> None:
    [caller] = [each for each in world.callers if each.name == name]
    context, events = new_context(), []
    cookie, _, value = caller.headers["Cookie"].partition("=")
    context.add_cookies([{"name": cookie, "value": value, "url": address}])
    context.expose_function("reported", lambda what: events.append(what))
    context.add_init_script(WATCH)
    page = context.new_page()
    page.on("dialog", lambda dialog: (events.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: events.append(str(error)))
    pages, with_canary = pages_of(world, caller), 0
    assert len(pages) > 10
    for path in pages[::EVERY]:
        page.goto(address + path)
        shown = page.title() + page.inner_text("body")
        assert page.evaluate("window.pwned === undefined"), path
        assert page.evaluate(FOREIGN_MARKUP) == 0, path
        assert TURNING not in shown, path
        with_canary += "[U+202E]" in shown
        assert events == [], path
    assert with_canary > len(pages[::EVERY]) // 4


def test_characters_that_turn_the_direction_are_refused_in_forms_and_shown_elsewhere(app, client, monkeypatch) -> None:
    monkeypatch.setitem(app.config, "WTF_CSRF_ENABLED", False)
    answer = client.post("/sign-in", data={"email": f"a{TURNING}@example.com", "password": "x"})
    assert (answer.status_code, "cannot be seen" in answer.text) == (400, True)
    with app.test_request_context():
        text = render_template_string("{{ name }}|{{ name | upper }}", name=f"1{TURNING}<b>")
    assert text == "1[U+202E]&lt;b&gt;|1[U+202E]&lt;B&gt;"


@pytest.mark.parametrize("character", ["\u202a", "\u2066", "\u2069", "\u200b", "\ufeff", "\u00ad", "\U000e0041"])
def test_what_hides_is_written_out(character: str) -> None:
    assert hides_something(f"a{character}b")
    assert visible(f"a{character}b") == f"a[U+{ord(character):04X}]b"


@pytest.mark.parametrize("text", ["Ärger", "日本語", "שלום", "नमस्ते क्\u200dष", "👩\u200d💻", "a\u200fb"])
def test_what_languages_need_stays(text: str) -> None:
    assert visible(text) == text
    assert not hides_something(text)


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        *((sign + "1+1", f"'{sign}1+1") for sign in ("=", "+", "-", "@", "\t", "\n", " =", "\uff1d")),
        *((f"a{TURNING}b", "a[U+202E]b"), ("-12.50", "-12.50"), ("a=b", "a=b"), (-3, "-3"), (None, "")),
    ],
)
def test_no_cell_of_a_csv_is_a_formula(app, value: object, cell: str) -> None:
    with app.test_request_context():
        rows = list(
            csv.reader(
                io.StringIO(
                    csv_response("x", ["a"], [[value, "b"]]).get_data(as_text=True).removeprefix("\ufeff"), newline=""
                )
            )
        )
    assert rows == [["a"], [cell, "b"]]
