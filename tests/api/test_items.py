"""/api/v1/organizations/…/items: a key of the platform adds one-off items to drafts, each once, and takes them off."""

from typing import Any

import pytest
from flask import Flask

from portal.core.periods import Month
from portal.infra import clock
from portal.infra.db import transaction
from portal.invoicing.drafting import draft_of
from portal.organizations.api_keys import create_key
from tests.api.test_openapi import DESCRIPTION
from tests.factories import acting, at_once, finalize_now, make_draft, make_organization, reload, sql

ITEMS = DESCRIPTION["paths"]["/api/v1/organizations/{slug}/items"]
EXAMPLE = ITEMS["post"]["requestBody"]["content"]["application/json"]["examples"]["charge"]["value"]
MONTH = Month(2026, 10)
CHARGE = {**EXAMPLE, "month": str(MONTH)}
CREDIT = {**CHARGE, "kind": "credit", "description": "Outage", "quantity": "1", "unit_amount": "25"}

WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"month": None}, "month"),
    ({"month": "2026-13"}, "month"),
    ({"month": "2019-01"}, "month"),
    ({"kind": "gift"}, "kind"),
    ({"kind": "credit", "internal_reason": None}, "internal_reason"),
    ({"description": " "}, "description"),
    ({"description": "a\0b"}, "description"),
    ({"description": "a" * 201}, "description"),
    ({"quantity": 4}, "quantity"),
    ({"quantity": "0"}, "quantity"),
    ({"quantity": "1,000"}, "quantity"),
    ({"unit_amount": "-1"}, "unit_amount"),
    ({"unit_amount": "1e3"}, "unit_amount"),
    ({"unit_amount": "1.0000000000001"}, "unit_amount"),
    ({"unit_amount": "9999999"}, "unit_amount"),
    ({"service_period": ["2026-10-02", "2026-10-01"]}, "service_period"),
    ({"service_period": ["2026-10-02"]}, "service_period"),
    ({"service_period": "2026-10-02"}, "service_period"),
    ({"product": "Nothing"}, "product"),
    ({"tax_code": "reduced"}, "tax_code"),
    ({"created_by": "me"}, "created_by"),
)


class Api:
    """A platform that bills two organizations, and what it asks for."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        with acting(app):
            self.acme, other = make_organization(), make_organization("umbrella")
            self.draft = make_draft(self.acme, MONTH)
            make_draft(other, MONTH)
            keys = {
                "platform": (None, ("items",)),
                "registrar": (None, ("ingest", "read", "organizations")),
                "acme": (self.acme.id, ("ingest", "read", "items")),
            }
            with transaction():
                self.keys = {
                    name: create_key(name=name, organization_id=organization_id, scopes=scopes, live=False)
                    for name, (organization_id, scopes) in keys.items()
                }

    def send(self, method: str, path: str, *, key: str = "platform", slug: str = "acme", **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.keys[key]}", **more.pop("headers", {})}
        address = f"/api/v1/organizations/{slug}/items{path}"
        return self.app.test_client().open(address, method=method, headers=headers, **more)

    def add(self, body: Any, once: str | None = "order-1", **more: Any) -> Any:
        return self.send("POST", "", json=body, headers={} if once is None else {"Idempotency-Key": once}, **more)

    def listed(self, *, slug: str = "acme") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.send("GET", f"?month={MONTH}", slug=slug).get_json()["data"]
        return found

    def total(self) -> int:
        with acting(self.app), transaction():
            return draft_of(self.acme, MONTH).statement.total


@pytest.fixture
def api(app: Flask, clean_database: None, clean_redis: Any) -> Api:
    return Api(app)


def test_an_item_is_added_listed_and_removed_by_the_same_verbs_as_on_the_page(api: Api) -> None:
    made = api.add(CHARGE)
    item = made.get_json()
    # 4 × 150.00 = 600.00
    assert (made.status_code, item["amount"]) == (201, {"major": "600.00", "minor": 60_000})
    assert (item["month"], item["quantity"], item["internal_reason"]) == ("2026-10", "4", "T-1001")
    period = ["2026-09-03", "2026-09-04"]
    credit = api.add({**CREDIT, "service_period": period, "tax_code": "exempt"}, "order-2").get_json()
    assert (credit["amount"]["minor"], credit["service_period"], credit["tax_code"]) == (-2_500, period, "exempt")
    assert api.listed() == [item, credit]
    assert api.total() == 57_500
    removed = api.send("DELETE", f"/{credit['id']}")
    assert (removed.status_code, removed.get_json()["id"]) == (200, credit["id"])
    assert removed.get_json()["removed_at"] is not None
    assert api.send("DELETE", f"/{credit['id']}").get_json() == removed.get_json()
    assert api.listed() == [item]
    # Sent again, a removed item does not come back.
    again = api.add({**CREDIT, "service_period": period, "tax_code": "exempt"}, "order-2")
    assert (again.status_code, again.get_json()) == (200, removed.get_json())
    assert api.total() == 60_000
    with acting(api.app):
        entries = sql(
            "SELECT action, actor_kind, actor_name FROM audit_entries WHERE action LIKE '%one-off%' ORDER BY id"
        )
    assert [tuple(each) for each in entries] == [
        ("added one-off item", "api key", "platform"),
        ("added one-off item", "api key", "platform"),
        ("removed one-off item", "api key", "platform"),
    ]


def test_one_idempotency_key_is_one_item_of_each_organization(api: Api) -> None:
    first = api.add(CHARGE)
    again = api.add({**CHARGE, "quantity": "4.0", "product": None})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.get_json() == first.get_json()
    for change in ({"quantity": "5"}, {"description": "More"}, {"month": "2026-11"}, {"tax_code": "exempt"}):
        refused = api.add({**CHARGE, **change})
        assert (refused.status_code, refused.get_json()["code"]) == (422, "idempotency_key_reused"), change
    assert len(api.listed()) == 1
    assert api.add(CHARGE, slug="umbrella").status_code == 201
    assert len(api.listed(slug="umbrella")) == 1


def test_two_that_ask_at_once_with_one_key_add_one_item(api: Api) -> None:
    with acting(api.app):
        make_draft(api.acme, MONTH.next)
    other_month = {**CHARGE, "month": str(MONTH.next)}
    for once, bodies in (("same", (CHARGE, CHARGE)), ("other", (CHARGE, other_month))):
        answers = at_once(api.app, *(lambda body=body, once=once: api.add(body, once).status_code for body in bodies))
        assert sorted(map(str, answers)) == ["200", "201"] if once == "same" else ["201", "422"]
    with acting(api.app):
        assert sql("SELECT count(*) FROM one_off_items")[0][0] == 2


def test_a_final_invoice_takes_and_loses_nothing_but_knows_its_items(api: Api) -> None:
    item = api.add(CHARGE).get_json()
    with acting(api.app):
        finalize_now(reload(api.draft))
    assert api.add(CHARGE).get_json() == item
    assert api.listed() == [item]
    for refused in (api.add(CHARGE, "order-2"), api.send("DELETE", f"/{item['id']}")):
        assert (refused.status_code, refused.get_json()["code"]) == (409, "invalid_transition")


def test_only_keys_of_the_platform_with_the_scope_and_only_at_its_own_address(api: Api) -> None:
    item = api.add(CHARGE).get_json()["id"]
    for key in ("registrar", "acme"):
        for refused in (
            api.send("GET", "", key=key),
            api.add(CHARGE, "order-2", key=key),
            api.send("DELETE", f"/{item}", key=key),
        ):
            assert (refused.status_code, refused.get_json()["code"]) == (403, "not_allowed"), key
    nobody = api.app.test_client().post("/api/v1/organizations/acme/items", json=CHARGE)
    assert nobody.status_code == 401
    for path in ("", f"/{item}"):
        assert api.send("DELETE" if path else "GET", path, slug="nobody").status_code == 404
    assert api.add(CHARGE, slug="nobody").status_code == 404
    assert api.send("DELETE", f"/{item}", slug="umbrella").status_code == 404
    assert [each["id"] for each in api.listed()] == [item]


def test_what_does_not_fit_is_refused_at_its_field(api: Api) -> None:
    for change, field in WRONG:
        refused = api.add({**CHARGE, **change})
        assert (refused.status_code, refused.get_json().get("field")) == (422, field), refused.get_json()
    assert api.listed() == []


def test_a_request_without_its_key_or_without_an_object_adds_nothing(api: Api) -> None:
    for once in (None, "", "with a space", "k" * 256):
        assert api.add(CHARGE, once).get_json()["field"] == "Idempotency-Key"
    assert api.add([CHARGE]).status_code == 422
    assert api.send("POST", "", data=b"{", headers={"Idempotency-Key": "a"}).status_code == 415
    # 99 × 10,000 + 9,999.99 is the largest that one invoice bills; the next item is not kept.
    assert api.add({**CHARGE, "quantity": "99", "unit_amount": "10000"}, "a").status_code == 201
    assert api.add({**CHARGE, "quantity": "1", "unit_amount": "9999.99"}, "b").status_code == 201
    too_much = api.add({**CHARGE, "quantity": "1", "unit_amount": "0.01"}, "c")
    assert too_much.status_code == 422
    assert "largest amount of one invoice" in too_much.get_json()["detail"]
    assert len(api.listed()) == 2


def test_without_a_month_it_is_the_current_one(api: Api) -> None:
    with acting(api.app):
        month = Month.of(clock.now())
        make_draft(api.acme, month)
    assert api.add({**CHARGE, "month": str(month)}).status_code == 201
    assert [each["month"] for each in api.send("GET", "").get_json()["data"]] == [str(month)]
