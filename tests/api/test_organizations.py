"""PUT /api/v1/organizations/…: a key of the platform registers organizations, once each."""

from typing import Any

import pytest
from flask import Flask

from portal.infra.db import transaction
from portal.organizations.api_keys import create_key
from tests.api.test_openapi import DESCRIPTION
from tests.factories import acting, make_organization, sql

EXAMPLE = DESCRIPTION["paths"]["/api/v1/organizations/{slug}"]["put"]["requestBody"]["content"]["application/json"][
    "examples"
]["one"]["value"]


class Api:
    """A platform that registers organizations."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        with acting(app):
            keys = {
                "platform": (None, ("organizations",)),
                "reporter": (None, ("ingest", "read")),
                "acme": (make_organization().id, ("organizations",)),
            }
            with transaction():
                self.keys = {
                    name: create_key(name=name, organization_id=organization_id, scopes=scopes, live=False)
                    for name, (organization_id, scopes) in keys.items()
                }

    def put(self, slug: str, body: Any, *, key: str = "platform") -> Any:
        return self._client().put(f"/api/v1/organizations/{slug}", json=body, headers=self._headers(key))

    def get(self, slug: str, *, key: str = "platform") -> Any:
        return self._client().get(f"/api/v1/organizations/{slug}", headers=self._headers(key))

    def list(self, query: str = "", *, key: str = "platform") -> Any:
        return self._client().get(f"/api/v1/organizations{query}", headers=self._headers(key))

    def follow(self, address: str) -> Any:
        return self._client().get(address, headers=self._headers("platform"))

    def _client(self) -> Any:
        return self.app.test_client()

    def _headers(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[key]}"}


@pytest.fixture
def api(app: Flask, clean_database: None, clean_redis: Any) -> Api:
    return Api(app)


def test_it_is_registered_once_and_stays_as_it_is(api: Api):
    made = api.put("umbrella", EXAMPLE)
    assert made.status_code == 201
    assert made.get_json() | EXAMPLE == made.get_json()
    again = api.put("umbrella", EXAMPLE | {"name": "Another name"})
    assert (again.status_code, again.get_json()) == (200, made.get_json())
    assert api.get("umbrella").get_json() == made.get_json()
    with acting(api.app):
        assert sql("SELECT count(*) FROM organizations WHERE slug = 'umbrella'") == [(1,)]
        assert sql(
            "SELECT actor_name FROM audit_entries WHERE action = 'registered' AND after->>'slug' = 'umbrella'"
        ) == [("platform",)]


def test_another_currency_is_a_conflict_and_changes_nothing(api: Api):
    api.put("umbrella", EXAMPLE)
    answer = api.put("umbrella", EXAMPLE | {"currency": "EUR"})
    assert (answer.status_code, answer.get_json()["code"]) == (409, "other_currency")
    assert api.get("umbrella").get_json()["currency"] == "USD"


@pytest.mark.parametrize(
    ("slug", "body", "field"),
    [
        ("Not-Small", EXAMPLE, "slug"),
        ("-umbrella", EXAMPLE, "slug"),
        ("a" * 64, EXAMPLE, "slug"),
        ("umbrella", EXAMPLE | {"name": " "}, "name"),
        ("umbrella", {"currency": "USD"}, "name"),
        ("umbrella", EXAMPLE | {"currency": "XXX"}, "currency"),
        ("umbrella", EXAMPLE | {"billing_email": "no address"}, "billing_email"),
        ("umbrella", EXAMPLE | {"collection_method": "by_force"}, "collection_method"),
        ("umbrella", EXAMPLE | {"nmae": "Umbrella"}, "nmae"),
        ("umbrella", EXAMPLE | {"name": 1}, "name"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_registered(api: Api, slug, body, field):
    answer = api.put(slug, body)
    assert (answer.status_code, answer.get_json()["field"]) == (422, field)
    assert api.get(slug).status_code == 404


@pytest.mark.parametrize("key", ["reporter", "acme"])
def test_only_the_platforms_keys_with_the_scope_may(api: Api, key):
    assert api.put("umbrella", EXAMPLE, key=key).status_code == 403
    assert api.get("acme", key=key).status_code == 403


def test_a_body_that_is_no_object_is_refused(api: Api):
    assert api.put("umbrella", []).status_code == 422
    answer = api.app.test_client().put(
        "/api/v1/organizations/umbrella", data="name=x", headers={"Authorization": f"Bearer {api.keys['platform']}"}
    )
    assert answer.status_code == 415


def test_pages_hold_every_organization_once_in_the_order_of_registration(api: Api):
    for slug in ("zeta", "beta"):
        assert api.put(slug, EXAMPLE).status_code == 201
    whole = api.list().get_json()
    assert [each["slug"] for each in whole["data"]][-2:] == ["zeta", "beta"]
    assert whole["data"][-1] == api.get("beta").get_json()
    assert whole["next"] is None
    paged, page = [], api.list("?limit=1").get_json()
    paged += page["data"]
    while page["next"] is not None:
        page = api.follow(page["next"]).get_json()
        paged += page["data"]
    assert paged == whole["data"]


@pytest.mark.parametrize("key", ["reporter", "acme"])
def test_only_keys_of_the_platform_with_the_scope_list(api: Api, key: str):
    assert api.list(key=key).status_code == 403


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("?limit=0", 422, "limit"),
        ("?limit=101", 422, "limit"),
        ("?after=beta", 422, "after"),
        ("?after=019a1b2c-0000-7000-8000-000000000001", 404, None),
    ],
)
def test_a_page_that_is_none_is_refused(api: Api, query: str, status: int, field: str | None):
    answer = api.list(query)
    assert (answer.status_code, answer.get_json().get("field")) == (status, field)
