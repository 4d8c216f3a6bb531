"""Every route says who may use it, and what it says is written down in tests/route_policy.json.

After adding a route on purpose: `.venv/bin/python -m tests.house.test_routes --update`, and read the difference.
"""

import json
import sys
from pathlib import Path

import pytest
from flask import Flask

from devkit.testservers import TEST_SETTINGS
from portal import create_app
from portal.config import settings_from_env
from portal.infra.pages import csrf, policy, policy_of
from portal.organizations.api_keys import PLATFORM_SCOPES, SCOPES
from portal.organizations.roles import Permission

WRITTEN_DOWN = Path(__file__).parents[1] / "route_policy.json"
UPDATE = "run `.venv/bin/python -m tests.house.test_routes --update` and read the difference before you keep it"
UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}
WITHOUT_CSRF = {
    *("api.post_events", "estimates.post_estimate", "organizations_api.put_organization", "webhooks.stripe"),
    *("items_api.add", "items_api.remove"),
}


def make_app() -> Flask:
    """The portal on servers that nobody calls."""
    nowhere = {"DATABASE_URL": "postgresql://127.0.0.1:9/none_test", "REDIS_URL": "redis://127.0.0.1:9/0"}
    return create_app(settings_from_env(TEST_SETTINGS | nowhere))


@pytest.fixture(scope="module")
def app() -> Flask:
    return make_app()


def methods_of(rule) -> set[str]:
    return rule.methods - {"HEAD", "OPTIONS"}


def policies(app: Flask) -> dict[str, str | None]:
    """ "GET,POST /path" → policy, for every route."""
    return {
        f"{','.join(sorted(methods_of(rule)))} {rule.rule}": policy_of(app, rule.endpoint)
        for rule in app.url_map.iter_rules()
    }


def known_policies() -> set[str]:
    keys = {f"api key: {scope}" for scope in (*PLATFORM_SCOPES, " or ".join(SCOPES))}
    return {"public", "signed in", "signature", "token", *keys, *Permission}


def test_every_route_has_a_policy_that_means_something(app):
    unguarded = [route for route, name in policies(app).items() if name not in known_policies()]
    assert not unguarded, f"say with @policy(…) who may use {unguarded}"


def test_every_policy_is_the_one_that_was_written_down(app):
    written = json.loads(WRITTEN_DOWN.read_text())
    found = policies(app)
    new = {route: name for route, name in found.items() if route not in written}
    gone = sorted(set(written) - set(found))
    changed = {r: f"{written[r]} → {found[r]}" for r in found if r in written and written[r] != found[r]}
    assert (new, gone, changed) == ({}, [], {}), UPDATE


def test_a_route_without_a_policy_is_refused_at_run_time():
    app = make_app()
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.add_url_rule("/forgotten", "forgotten", lambda: "secret")
    app.add_url_rule("/guarded", "guarded", policy("public")(lambda: "open"))
    client = app.test_client()
    assert client.get("/guarded").data == b"open"
    with app.test_request_context("/forgotten"), pytest.raises(RuntimeError, match="forgotten has no policy"):
        app.preprocess_request()


def test_exactly_the_api_and_the_webhook_take_a_change_without_a_form_token(app):
    exempt = set()
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        by_view = f"{view.__module__}.{view.__name__}" in csrf._exempt_views
        by_blueprint = rule.endpoint.rpartition(".")[0] in {
            getattr(each, "name", each) for each in csrf._exempt_blueprints
        }
        if methods_of(rule) & UNSAFE and (by_view or by_blueprint):
            exempt.add(rule.endpoint)
    assert exempt == WITHOUT_CSRF


def test_every_other_change_without_a_form_token_is_refused(app):
    """Asked over HTTP, with values for the arguments; nothing answers, because the token is checked first."""
    client = app.test_client()
    asked = 0
    for rule in app.url_map.iter_rules():
        if not methods_of(rule) & UNSAFE or rule.endpoint in WITHOUT_CSRF:
            continue
        uuid = "0190f3a4-7c1d-7abc-8def-0123456789ab"
        values = {name: uuid if "UUID" in type(rule._converters[name]).__name__ else "1" for name in rule.arguments}
        with app.test_request_context():
            path = app.url_for(rule.endpoint, **values)
        for method in methods_of(rule) & UNSAFE:
            asked += 1
            answer = client.open(path, method=method)
            assert answer.status_code == 400, f"{method} {path} answered {answer.status_code}"
    changing = [rule for rule in app.url_map.iter_rules() if methods_of(rule) & UNSAFE]
    assert asked >= len(changing) - len(WITHOUT_CSRF)


def test_nothing_but_reading_happens_by_get(app):
    mixed = {
        rule.rule: policy_of(app, rule.endpoint)
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("api.") and "GET" in methods_of(rule) and methods_of(rule) & UNSAFE
    }
    assert mixed == {}


if __name__ == "__main__":
    if "--update" not in sys.argv:
        sys.exit(f"Usage: {UPDATE}")
    WRITTEN_DOWN.write_text(json.dumps(policies(make_app()), indent=2, sort_keys=True) + "\n")
