"""Everybody asks for everything: every route, as every role, with the other organization's ids in every place.

A part is tried each time, always the same one; all of it with --full.
"""

import gzip
import io
import re
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import html5lib
import pypdf
import pytest
from flask import Flask
from sqlalchemy import event
from werkzeug.test import TestResponse

from portal.infra.db import TENANT_ROLE, db
from portal.signed_in import ADMIN
from tests.full import every
from tests.security.crawling import NOT_CRAWLED, UUIDS, Attempt, World, attempts, make_world
from tests.security.worlds import Side

# Primes, so that what is skipped differs from route to route and from role to role.
EVERY = every(61)
REFUSED = {401, 403, 404}
# Figures alone, without a text or an id that a page could show; tests/house/test_row_level_security.py has their rows.
ONLY_FIGURES = {
    *("archived_events", "archived_daily", "invoice_replacements", "usage_unfolded", "payer_links"),
    *("usage_readings", "usage_subjects", "usage_changes", "usage_levels", "billed_usage"),
}
# They need a word in their address that only another page gives, or a setting.
NOTHING_THERE = {"admin_waiting.confirm", "static"}
# A page that holds a connection open for each reader would hold a thread of the server too.
NEVER_ENDING = "text/event-stream"
# Made by the portal, of nothing that somebody has typed but codes and short names, whose letters are checked.
FILE_NAME = re.compile(r'attachment; filename="?[A-Za-z0-9][A-Za-z0-9._-]*"?')


@pytest.fixture
def world(app: Flask, clean_database: None, clean_redis: object, owner_connection, monkeypatch) -> World:
    """Both organizations; without form tokens (tests/house asks for those), so that refusals come from the guard."""
    monkeypatch.setitem(app.config, "WTF_CSRF_ENABLED", False)
    unlimited = replace(app.config["SETTINGS"], api_requests_per_minute=0, api_events_per_minute=0)
    monkeypatch.setitem(app.config, "SETTINGS", unlimited)
    return make_world(app, owner_connection)


def text_of(response: TestResponse) -> str:
    """Everything that a reader of the answer could see: headers, text, a PDF's text, what a ZIP holds."""
    heads = "\n".join(f"{name}: {value}" for name, value in response.headers)
    return f"{heads}\n{_readable(response.mimetype or '', response.data) if response.data else ''}"


def _readable(kind: str, data: bytes) -> str:
    if kind == "application/zip":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = [(name, archive.read(name)) for name in archive.namelist()]
        return "\n".join(name + _readable("application/pdf" if name.endswith(".pdf") else "", b) for name, b in parts)
    if kind == "application/pdf":
        return "\n".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(data)).pages)
    return data.decode("utf-8", "replace")


def assert_nothing_of(theirs: Side, attempt: Attempt, response: TestResponse) -> None:
    """No mark and no id of the other organization, beyond what the request itself said."""
    shown = text_of(response)
    for said in (*attempt.values.values(), *(UUIDS.findall(attempt.path) if attempt.foreign else ())):
        shown = shown.replace(said, "")
    secrets = {theirs.mark, f"{theirs.slug}.example", *(each for ids in theirs.ids.values() for each in ids)}
    assert not [each for each in secrets if each in shown], str(attempt)


def assert_harmless(world: World, attempt: Attempt, response: TestResponse) -> None:
    """A file's name is one plain word, and no answer goes on for ever."""
    named = response.headers.get("Content-Disposition")
    if named is not None and attempt.endpoint != "static":
        # A document's number is the portal's own; the world has put its mark behind it.
        for mark in (world.mine.mark, world.theirs.mark):
            named = named.replace(f" {mark}", "")
        assert FILE_NAME.fullmatch(named), f"{attempt}: {named}"
    assert response.mimetype != NEVER_ENDING, str(attempt)


def assert_refused(attempt: Attempt, response: TestResponse) -> None:
    """As if there were nothing there; who is not signed in is sent to sign in."""
    status = response.status_code
    if attempt.policy == "signature":
        assert status == 400, f"{attempt}: {status}"
    elif status == 303:
        assert response.location.startswith("/sign-in"), f"{attempt}: to {response.location}"
        assert "Cookie" not in attempt.caller.headers, str(attempt)
    else:
        assert status in REFUSED, f"{attempt}: {status}"


def assert_valid_and_light(attempt: Attempt, response: TestResponse) -> None:
    """HTML without one fault, of which a slow line has no more to carry than it must (100 KB, 20 KB packed)."""
    parser = html5lib.HTMLParser(strict=True)
    try:
        parser.parse(response.text) if response.text.lstrip().startswith("<!") else parser.parseFragment(response.text)
    except html5lib.html5parser.ParseError as fault:
        pytest.fail(f"{attempt}: {fault}")
    assert len(response.data) <= 100_000, str(attempt)
    assert len(gzip.compress(response.data)) <= 20_000, str(attempt)


def sampled(every: Iterable[Attempt]) -> list[Attempt]:
    return list(every)[::EVERY]


def say(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """How much was tried belongs into the log of every run."""
    with capsys.disabled():
        sys.stdout.write(f"\n  {text}\n")


def test_every_table_holds_something_of_both_and_every_route_is_asked_for(world: World, app: Flask, capsys) -> None:
    """So that a new table or page cannot be forgotten: it would be crawled without anything to find."""
    mine, theirs = (world.state(of=side) for side in (world.mine, world.theirs))
    assert {table for table in mine if not (mine[table][0] and theirs[table][0])} == ONLY_FIGURES
    assert [table for table, ids in world.theirs.ids.items() if not ids] == []
    read, written = (list(attempts(world, each)) for each in (("GET", "HEAD", "OPTIONS"), ("POST", "PUT", "DELETE")))
    asked = {(each.method, each.endpoint) for each in (*read, *written)}
    swapped = {(each.method, each.endpoint) for each in (*read, *written) if each.foreign}
    for rule in app.url_map.iter_rules():
        if rule.endpoint in NOT_CRAWLED:
            continue
        wanted = {(method, rule.endpoint) for method in rule.methods - {"HEAD", "OPTIONS"}}
        assert wanted <= asked, rule
        if any(name.endswith("_id") and name != "event_id" for name in rule.arguments):
            assert wanted <= swapped, rule
    whole = [
        each for each in read
        if each.method == "GET" and each.allowed
        and each.caller.name == ("admin" if each.endpoint.startswith(ADMIN) else "owner")
        and not (each.foreign or each.htmx or each.values)
    ]  # fmt: skip
    assert {each.endpoint for each in whole if world.send(each).status_code == 404} == NOTHING_THERE
    say(capsys, f"all there are: {len(read)} combinations that read, {len(written)} that write, {len(swapped)} swapped")


def test_reading_shows_nothing_of_others_and_changes_nothing(world: World, capsys) -> None:
    tried = sampled(attempts(world, ("GET", "HEAD", "OPTIONS")))
    before, written, seen = world.state(), world.written(), Counter()
    for attempt in tried:
        response = world.send(attempt)
        seen[response.status_code] += 1
        assert response.status_code < 500, f"{attempt}: {response.status_code}"
        if attempt.method != "OPTIONS" and not attempt.allowed:
            assert_refused(attempt, response)
        assert_harmless(world, attempt, response)
        if not attempt.caller.sees_all:
            assert_nothing_of(world.theirs, attempt, response)
        if response.mimetype == "text/html":
            assert_valid_and_light(attempt, response)
        if attempt.mixed or (attempt.foreign and not attempt.caller.sees_all):
            assert attempt.method == "OPTIONS" or response.status_code in {303, *REFUSED}, f"{attempt}: {response}"
        if world.written() != written:
            assert world.state() == before, f"{attempt} changed the database"
            written = world.written()
    assert seen[200] > len(tried) // 50, seen
    say(capsys, f"reading: {len(tried)} combinations, {dict(sorted(seen.items()))}")


def test_nobody_writes_without_the_permission_or_into_the_other_organization(world: World, capsys) -> None:
    tried = [each for each in attempts(world, ("POST", "PUT", "PATCH", "DELETE"))
             if not (each.allowed and each.caller.sees_all)][:: min(EVERY, 41)]  # fmt: skip
    seen = Counter()
    for attempt in tried:
        before = world.state(of=world.theirs if attempt.allowed and not attempt.foreign else None)
        response = world.send(attempt)
        seen[response.status_code] += 1
        # No Stripe answers here: what opens one of its pages says so.
        assert response.status_code < 500 or response.status_code == 503, f"{attempt}: {response.status_code}"
        assert_nothing_of(world.theirs, attempt, response)
        if not attempt.allowed:
            assert_refused(attempt, response)
        elif attempt.foreign:
            assert response.status_code in REFUSED, f"{attempt}: {response.status_code}"
        after = world.state(of=world.theirs if attempt.allowed and not attempt.foreign else None)
        assert after == before, f"{attempt} changed the database"
    assert seen[404] > 0
    say(capsys, f"writing: {len(tried)} combinations, {dict(sorted(seen.items()))}")


def test_row_level_security_holds_when_every_query_forgets_the_organization(world: World, capsys) -> None:
    """Each condition on the organization is taken out of each statement, before the database sees it."""
    condition = re.compile(r"[\w.]*\borganization_id = (%\(\w+\)s(?:::\w+)?)")
    forgotten = Counter()

    def forget(_connection, cursor, statement, parameters, _context, _many):
        role = cursor.connection.cursor().execute("SELECT current_user").fetchone()
        if role == (TENANT_ROLE,) and statement.lstrip().upper().startswith(("SELECT", "WITH")):
            statement, times = condition.subn(r"(\1 IS NOT NULL)", statement)
            forgotten["conditions"] += times
        return statement, parameters

    customers = [each for each in world.callers if not each.sees_all and each.name != "nobody"]
    world.callers[:] = customers
    tried = sampled(attempts(world, ("GET",)))
    with world.app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", forget, retval=True)
    try:
        for attempt in tried:
            assert_nothing_of(world.theirs, attempt, world.send(attempt))
    finally:
        event.remove(engine, "before_cursor_execute", forget)
    assert forgotten["conditions"] > len(tried) // 10
    say(capsys, f"without conditions: {len(tried)} combinations, {forgotten['conditions']} conditions forgotten")
