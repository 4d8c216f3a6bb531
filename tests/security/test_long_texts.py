"""Long texts: no pattern takes them in more than a straight line of steps, and no form breaks on one."""

import importlib
import inspect
import pkgutil
import re
import signal
from collections import Counter
from collections.abc import Iterator
from itertools import product

import pytest

import portal
from devkit.formbrowser import Page
from tests.full import FULL, every
from tests.security.crawling import UUIDS, World, make_world
from tests.security.test_canaries import pages_of

# They end the visit, or make it somebody else's.
LEAVING = ("/sign-out", "/view", "/sessions")


# All patterns together need a second of the processor for all texts; one that goes back over what it has read, more.
LONG, SECONDS = 50_000, 15
BEGINNINGS = ("", "a", "1", '"', "a@a.")
PIECES = (
    *("a", "1", " ", "\n", ".", "-", ",", ":", "@", '"', "{", "}", "[", "/"),
    *("0,", "1.", "a.", "a@", "a-", ";1", '",', "1;", "/1"),
)
WAYS = "fullmatch|match|search|sub|split|findall"


def patterns() -> Iterator[tuple[str, re.Pattern[str], str]]:
    """Every pattern that a module keeps with each way in which it is used: a search may begin anywhere."""
    for module in pkgutil.walk_packages(portal.__path__, "portal."):
        if not module.name.endswith("__main__"):
            found = importlib.import_module(module.name)
            for name, pattern in vars(found).items():
                if isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str):
                    for way in sorted(set(re.findall(rf"\b{name}\.({WAYS})\(", inspect.getsource(found)))):
                        yield f"{module.name}.{name}", pattern, way


@pytest.fixture
def processor_time() -> Iterator[None]:
    """Ends the test when it has used its time of the processor, however busy the machine is, also within a pattern."""

    def end(*_: object) -> None:
        raise TimeoutError(f"{SECONDS} s of the processor are over")

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


@pytest.mark.usefixtures("processor_time")
def test_no_pattern_goes_back_over_what_it_has_read() -> None:
    tried = list(patterns())
    for name, pattern, way in tried:
        for beginning, piece, end in product(BEGINNINGS, PIECES, ("", "\0!")):
            text = beginning + piece * (LONG // len(piece)) + end
            try:
                pattern.sub("", text) if way == "sub" else getattr(pattern, way)(text)
            except TimeoutError:
                pytest.fail(f"{name} takes too long for {beginning + piece!r}, {piece!r}, …")
    assert len(tried) > 30


@pytest.fixture
def world(app, clean_database, clean_redis, owner_connection, monkeypatch) -> World:
    """Without form tokens, so that each form is read."""
    monkeypatch.setitem(app.config, "WTF_CSRF_ENABLED", False)
    return make_world(app, owner_connection)


def test_no_form_breaks_on_a_long_text_or_number(world: World) -> None:
    """Every form of an owner, one field at a time; with --full an admin's too, and every field."""
    client, cases = world.app.test_client(use_cookies=False), {}
    for caller in world.callers:
        for path in pages_of(world, caller) if caller.name == "owner" or (FULL and caller.name == "admin") else ():
            for form in Page(path, 200, client.get(path, headers=caller.headers).text).forms:
                address = form.action or path
                if form.method == "post" and not address.endswith(LEAVING):
                    for field in form.fields.keys() - {"csrf_token"}:
                        cases.setdefault((UUIDS.sub("", address), field), (address, form.fields, caller.headers))
    tried, seen = [(case, text) for case in sorted(cases) for text in "9a"][:: every(11)], Counter()
    for (place, field), character in tried:
        address, values, headers = cases[place, field]
        response = client.post(address, data={**values, field: character * LONG}, headers=headers)
        # No Stripe answers here: what opens one of its pages says so.
        assert response.status_code < 500 or response.status_code == 503, (address, field, character)
        seen[response.status_code] += 1
    assert seen[422] > len(tried) // 9, seen
