"""A browser without JavaScript: pages, links and forms over HTTP, with cookies. What the smoke run drives."""

import http.cookiejar
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

TIMEOUT_SECONDS = 20


class NotOnPage(Exception):
    """A page lacks what the walk needs; the text says what was looked for and where."""


@dataclass
class Button:
    """A button; pressing it sends its name and value with the form."""

    label: str
    name: str = ""
    value: str = ""


@dataclass
class Form:
    """A form with the values it would send, hidden ones included."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[Button] = field(default_factory=list)

    def button(self, label: str = "") -> Button | None:
        """The first button that says exactly this; without words, the first of all, as the Enter key does."""
        return next((button for button in self.buttons if label in ("", button.label.strip())), None)


@dataclass
class Link:
    """A link and its words."""

    href: str
    label: str = ""


class _Reader(HTMLParser):
    """Collects what a person could use on a page."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[Link] = []
        self.data: dict[str, str] = {}
        self.words: list[str] = []
        self._form: Form | None = None
        self._open: str | None = None  # the element whose text is being collected
        self._unseen = 0  # depth inside script and style
        self._field = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.data |= {name: value for name, value in given.items() if name.startswith("data-")}
        if tag in ("script", "style"):
            self._unseen += 1
        elif tag == "form":
            self._form = Form(given.get("action", ""), given.get("method", "get").lower())
            self.forms.append(self._form)
        elif tag == "a" and "href" in given:
            self.links.append(Link(given["href"]))
            self._open = "a"
        elif self._form is not None:
            self._read_control(tag, given)

    def _read_control(self, tag: str, given: dict[str, str]) -> None:
        assert self._form is not None
        name = given.get("name", "")
        if tag == "button":
            self._form.buttons.append(Button("", name, given.get("value", "")))
            self._open = "button"
        elif tag == "input" and given.get("type") == "submit":
            self._form.buttons.append(Button(given.get("value", ""), name, given.get("value", "")))
        elif tag == "input" and name and (given.get("type") not in ("checkbox", "radio") or "checked" in given):
            self._form.fields[name] = given.get("value", "")
        elif tag == "textarea" and name:
            self._form.fields[name] = ""
            self._open, self._field = "textarea", name
        elif tag == "select" and name:
            self._field = name
        elif tag == "option" and self._field and ("selected" in given or self._field not in self._form.fields):
            self._form.fields[self._field] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._unseen -= 1
        elif tag == "form":
            self._form = None
        elif tag == "select":
            self._field = ""
        if tag == self._open:
            self._open = None

    def handle_data(self, text: str) -> None:
        if self._unseen:
            return
        self.words.append(text)
        if self._open == "a":
            self.links[-1].label += text
        elif self._form is not None and self._open == "button":
            self._form.buttons[-1].label += text
        elif self._form is not None and self._open == "textarea":
            self._form.fields[self._field] += text


class Page:
    """One answer, read."""

    def __init__(self, url: str, status: int, html: str) -> None:
        self.url, self.status = url, status
        reader = _Reader()
        reader.feed(html)
        self.forms, self.links, self.data = reader.forms, reader.links, reader.data
        self.text = " ".join(" ".join(reader.words).split())

    def form(self, *, action: str = "", button: str = "") -> Form:
        """The first form whose address ends with this and that has a button which says this."""
        for form in self.forms:
            path = urllib.parse.urlsplit(urllib.parse.urljoin(self.url, form.action)).path
            if path.endswith(action) and form.button(button):
                return form
        raise NotOnPage(f"no form {action or button!r} on {self.url} ({self.status}); it says: {self.text[:300]}")

    def link(self, *, start: str) -> Link | None:
        """The first link whose address starts so."""
        return next((link for link in self.links if link.href.startswith(start)), None)


class FormBrowser:
    """One person's browser: cookies, redirects, and the Referer that a browser sends."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        )

    def open(self, address: str) -> Page:
        """Follow an address, relative to the site."""
        return self._ask(urllib.request.Request(urllib.parse.urljoin(self._base_url, address)))

    def submit(self, page: Page, form: Form, values: Mapping[str, str] | None = None, *, button: str = "") -> Page:
        """Fill in a form of a page, keep what it holds besides, and press a button of it."""
        unknown = set(values or {}) - set(form.fields)
        if unknown:
            raise NotOnPage(f"the form {form.action!r} on {page.url} has no {', '.join(sorted(unknown))}")
        pressed = form.button(button)
        clicked = {pressed.name: pressed.value} if pressed and pressed.name else {}
        encoded = urllib.parse.urlencode(form.fields | dict(values or {}) | clicked)
        target = urllib.parse.urljoin(page.url, form.action)
        if form.method == "get":
            return self._ask(urllib.request.Request(f"{target}?{encoded}"))
        return self._ask(urllib.request.Request(target, encoded.encode(), {"Referer": page.url}))

    def _ask(self, request: urllib.request.Request) -> Page:
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                return Page(answer.url, answer.status, answer.read().decode())
        except urllib.error.HTTPError as error:  # an error page is a page
            with error:
                return Page(error.url or request.full_url, error.code, error.read().decode(errors="replace"))


def call_json(url: str, *, body: Any = None, token: str | None = None) -> tuple[int, Any]:
    """One call to a JSON interface: its status and what it answered."""
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")
