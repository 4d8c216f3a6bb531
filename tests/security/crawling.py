"""Every request that can be made of the portal: route × caller × ids × htmx's header."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import product

import psycopg
from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from portal.infra.db import transaction
from portal.infra.pages import policy_of
from portal.organizations.api_keys import create_key
from portal.organizations.roles import CUSTOMER_ROLES, STAFF_ROLES
from portal.organizations.sessions import sign_in
from portal.signed_in import ADMIN, cookie_name
from tests.factories import MONTH, acting, sql
from tests.security.worlds import MINE, PASSWORD, THEIRS, Side, build, fingerprint

HTMX = {"HX-Request": "true"}
# They say only that somebody was here: when a session or a key was last used, and what was sent.
TRACES = {"sessions", "api_keys", "ingest_requests"}
# Ends the session of the one who crawls; its own tests are in tests/web.
NOT_CRAWLED = {"session.sign_out"}
TABLE_OF = (
    ("approvals", "approval_requests"),
    ("announcements", "announcements"),
    ("credit-notes/new", "invoices"),
    ("simulations", "price_simulations"),
    ("api-keys", "api_keys"),
    ("invitations", "invitations"),
    ("members", "users"),
    ("staff", "staff"),
    ("sessions", "sessions"),
    ("passkeys", "passkeys"),
    ("item-templates", "item_templates"),
    ("runs", "bill_runs"),
    ("organizations", "organizations"),
    ("credit-notes", "credit_notes"),
    ("invoices", "invoices"),
    ("prices", "prices"),
    ("drift", "drift"),
    ("mails", "mails"),
    ("budgets", "budgets"),
    ("exports", "exports"),
    ("webhooks/deliveries", "webhook_deliveries"),
    ("webhooks", "webhook_endpoints"),
    ("meters", "meters"),
    ("plans", "plans"),
    ("catalog", "meters"),
)
TABLE_OF_ARGUMENT = {
    "organization_id": "organizations",
    "redemption_id": "coupon_redemptions",
    "grant_id": "credit_grants",
    "subscription_id": "subscriptions",
    "change_id": "subscription_changes",
    "item_id": "one_off_items",
}
TEXTS = {
    "kind": "meters",
    "language": "de",
    "step": "archive",
    "event_id": "evt_1",
    "filename": "app.css",
    "table": "prices",
    "slug": "nobody",
}
NUMBERS = {"year": MONTH.first_day.year, "job_number": 1}
# Everybody's, or the staff's.
SHARED = ("meters", "plans", "bill_runs", "item_templates", "price_simulations")
UUIDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")


@dataclass(frozen=True)
class Caller:
    """Somebody who asks, and what they may: a set of permissions, or of a key's scopes."""

    name: str
    headers: dict[str, str]
    may: frozenset[str]
    staff: bool = False
    key: bool = False
    platform: bool = False

    @property
    def sees_all(self) -> bool:
        """Whether every organization is theirs to see."""
        return self.staff or self.platform


@dataclass(frozen=True)
class Attempt:
    """One request. `foreign` says that an id of the other organization stands in its path."""

    caller: Caller
    method: str
    endpoint: str
    path: str
    policy: str
    values: dict[str, str] = field(default_factory=dict)
    htmx: bool = False
    foreign: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.values or ''} as {self.caller.name}{' by htmx' if self.htmx else ''}"

    @property
    def mixed(self) -> bool:
        """Whether things of both organizations stand in one address, which is nobody's; a bill run is everybody's."""
        own = [each for each in UUIDS.findall(self.path) if f"/runs/{each}" not in self.path]
        return self.foreign and len(own) > 1

    @property
    def allowed(self) -> bool:
        """What the policy says of this caller, as it is written down, whatever the guard does."""
        if self.policy == "public":
            return True
        if self.policy.startswith("api key: "):
            return self.caller.key and bool(set(self.policy[9:].split(" or ")) & self.caller.may)
        if self.caller.key or self.policy in ("signature", "token"):
            return False
        if self.policy == "signed in":
            return self.caller.name != "nobody"
        return self.policy in self.caller.may and self.endpoint.startswith(ADMIN) == self.caller.staff


@dataclass
class World:
    """The portal, both sides, and everybody who asks."""

    app: Flask
    owner: psycopg.Connection
    mine: Side
    theirs: Side
    callers: list[Caller]
    shared: dict[str, str]

    def send(self, attempt: Attempt) -> TestResponse:
        """Ask, with the caller's cookie or key."""
        headers = attempt.caller.headers | (HTMX if attempt.htmx else {})
        where = "query_string" if attempt.method in ("GET", "HEAD", "OPTIONS") else "data"
        client = self.app.test_client(use_cookies=False)
        # Read to its end and closed, as a server does: a file that is streamed keeps its request open.
        asked = {"method": attempt.method, "headers": headers, where: attempt.values}
        return client.open(attempt.path, buffered=True, **asked)

    def written(self) -> int:
        """A number that grows with every transaction that writes, of this database or of a neighbour."""
        [(number,)] = self.owner.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").fetchall()
        return int(number)

    def state(self, *, of: Side | None = None) -> dict[str, tuple[int, int]]:
        """What the database holds, without mere traces."""
        found = fingerprint(self.owner, organization_id=of.id if of else None)
        return {table: rows for table, rows in found.items() if table not in TRACES}


def make_world(app: Flask, owner: psycopg.Connection, *, marks: tuple[str, str] = (MINE, THEIRS)) -> World:
    """Both organizations, and everybody signed in."""
    mine, theirs = build(app, owner, marks=marks)
    with acting(app):
        shared = {table: str(sql(f"SELECT public_id FROM {table}")[0][0]) for table in SHARED}
        shared["staff"] = str(sql("SELECT public_id FROM users WHERE staff_role = 'support'")[0][0])
    return World(app, owner, mine, theirs, list(_callers(app, mine)), shared)


def _callers(app: Flask, mine: Side) -> Iterator[Caller]:
    yield Caller("nobody", {}, frozenset())
    for role, permissions in CUSTOMER_ROLES.items():
        yield Caller(role, _cookie(app, f"{role}@{mine.slug}.example"), frozenset(permissions))
    for role, permissions in STAFF_ROLES.items():
        yield Caller(role, _cookie(app, f"{role}@example.com"), frozenset(permissions), staff=True)
    for scope, key in mine.keys.items():
        yield Caller(f"key to {scope}", {"Authorization": f"Bearer {key}"}, frozenset({scope}), key=True)
    with acting(app), transaction():
        scopes = ("ingest", "read")
        key = create_key(name="platform", organization_id=None, scopes=scopes, live=False)
    yield Caller("platform key", {"Authorization": f"Bearer {key}"}, frozenset(scopes), key=True, platform=True)


def _cookie(app: Flask, email: str) -> dict[str, str]:
    with acting(app), transaction():
        token = sign_in(email, PASSWORD, now=datetime.now(UTC), days=1, address=None, user_agent=None)
    with app.app_context():
        return {"Cookie": f"{cookie_name()}={token}"}


def attempts(world: World, methods: Iterable[str]) -> Iterator[Attempt]:
    """Every route × caller × ids × with and without htmx's header."""
    for rule in sorted(world.app.url_map.iter_rules(), key=lambda each: each.rule):
        if rule.endpoint in NOT_CRAWLED:
            continue
        wanted = sorted(set(methods) & rule.methods)
        paths = paths_of(world, rule)
        policy = policy_of(world.app, rule.endpoint) or ""
        for caller, method, (path, foreign), htmx in product(world.callers, wanted, paths, (False, True)):
            if foreign and method in ("HEAD", "OPTIONS"):
                continue
            bare = Attempt(caller, method, rule.endpoint, path, policy, htmx=htmx, foreign=foreign)
            yield bare
            # Whoever is refused is so before anything is read of what they sent.
            if bare.allowed and not foreign and method not in ("HEAD", "OPTIONS"):
                yield from (replace(bare, values=values) for values in _values(world.theirs, method))


def paths_of(world: World, rule: Rule) -> list[tuple[str, bool]]:
    """The route's address with ids of mine, and with each id of theirs in each place; True for the latter."""
    mine = {name: _own(world, rule, name) for name in rule.arguments}
    identified = [name for name in sorted(rule.arguments) if name.endswith("_id") and name != "event_id"]
    swapped = product(identified, (each for ids in world.theirs.ids.values() for each in ids))
    with world.app.test_request_context():
        return [
            (world.app.url_for(rule.endpoint, **mine), False),
            *((world.app.url_for(rule.endpoint, **mine | {name: foreign}), True) for name, foreign in swapped),
        ]


def _own(world: World, rule: Rule, name: str) -> object:
    if name in NUMBERS:
        return NUMBERS[name]
    if not name.endswith("_id") or name == "event_id":
        choices = re.search(rf"<any\(([^)]*)\):{name}>", rule.rule)
        return choices[1].split(",")[0].strip(" '") if choices else TEXTS[name]
    table = TABLE_OF_ARGUMENT.get(name) or next(table for word, table in TABLE_OF if f"/{word}" in rule.rule)
    return world.shared.get(table) or world.mine.ids[table][0]


def _values(theirs: Side, method: str) -> Iterator[dict[str, str]]:
    """What names the other organization's things: one parameter at a time, in a form all at once."""
    invoice, note = theirs.ids["invoices"][0], theirs.ids["credit_notes"][0]
    named = {
        **{"organization": str(theirs.public_id), "organization_id": str(theirs.id), "slug": theirs.slug},
        **{"invoice": invoice, "public_id": invoice, "item": theirs.ids["one_off_items"][0], "credit_note": note},
        **{"search": theirs.mark[:-2], "like": theirs.mark[:-2], "id": f"{theirs.mark}-1", "app": theirs.mark},
        **{"meter": f"unknown_{theirs.mark.lower()}", "source": theirs.mark, "series": theirs.ids["invoices"][-1]},
        **{"after": invoice, "before": invoice, "budget": theirs.ids["budgets"][0], "by": "app", "group_by": "app"},
    }
    if method != "GET":
        yield named
        return
    for name, value in named.items():
        yield {name: value}
