"""POST /api/v1/events: each item gets its answer, good ones are kept, nothing is dropped in silence."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest

from portal.api import guard
from portal.core.keys import secret_hash
from portal.core.periods import Month
from portal.infra.db import transaction
from portal.invoicing.drafting import draft_of
from portal.organizations.api_keys import create_key
from tests.factories import acting, make_draft, make_meter, make_organization, make_price, sql

NOW = datetime.now(UTC)
TODAY = NOW.strftime("%Y-%m-%dT00:00:00Z")


class Api:
    """A machine that reports usage."""

    def __init__(self, app) -> None:
        self.app = app
        with acting(app):
            self.acme, self.umbrella = make_organization(), make_organization("umbrella")
            self.closed = make_organization("closed", status="closed")
            self.meter = make_meter(dimensions=("region",))
            make_price(self.meter, "0.5")
            self.keys = {
                "acme": self.key(self.acme),
                "umbrella": self.key(self.umbrella),
                "platform": self.key(None),
                "closed": self.key(self.closed),
                "reader": self.key(self.acme, scopes=("read",)),
            }

    def key(self, organization, *, scopes=("ingest", "read")) -> str:
        with transaction():
            return create_key(
                name="machine", organization_id=organization.id if organization else None, scopes=scopes, live=False
            )

    def post(self, body, *, key="acme", content_type="application/json", path="/api/v1/events", headers=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        token = self.keys.get(key, key)
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        return self.app.test_client().post(
            path, data=data, content_type=content_type, headers={**authorization, **(headers or {})}
        )

    def sql(self, statement, **values):
        with acting(self.app):
            return sql(statement, **values)

    def events(self) -> int:
        return self.sql("SELECT count(*) FROM usage_events")[0][0]


@pytest.fixture
def api(app, clean_database, clean_redis) -> Api:
    return Api(app)


def event(**changes) -> dict:
    return {
        "id": "e1",
        "meter": "machine_seconds",
        "quantity": "10",
        "time": TODAY,
        "properties": {"region": "ams"},
    } | changes


def test_one_event_is_taken_and_a_list_too(api):
    answer = api.post(event())
    assert answer.status_code == 200
    assert answer.get_json() == {
        "accepted": 1,
        "duplicate": 0,
        "conflict": 0,
        "waiting": 0,
        "rejected": 0,
        "results": [{"index": 0, "id": "e1", "status": "accepted"}],
    }
    assert api.post([event(id="e2"), event(id="e3")]).get_json()["accepted"] == 2
    assert api.events() == 3


def test_what_was_answered_with_200_is_in_the_draft_at_once(api):
    api.post([event(id=f"e{number}", quantity=number) for number in range(1, 5)])
    with acting(api.app):
        make_draft(api.acme, Month.of(NOW))
        with transaction():
            draft = draft_of(api.acme, Month.of(NOW))
    assert draft.statement.total == 500
    api.post(event(id="e5", quantity="0.02"))
    with acting(api.app), transaction():
        assert draft_of(api.acme, Month.of(NOW)).statement.total == 501


KEYS = {
    "none": None,
    "empty": " ",
    "unknown": "blk_test_nobody",
    "cut": lambda api: api.keys["acme"][:-1],
    "longer": lambda api: api.keys["acme"] + "x",
    "of a closed organization": lambda api: api.keys["closed"],
    "not ASCII": "blk_t\u00e9st",
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_without_a_good_key_nothing_is_taken(api, key):
    answer = api.post(event(), key=key(api) if callable(key) else key)
    assert answer.status_code == 401
    assert answer.content_type == "application/problem+json"
    assert answer.get_json()["code"] == "key_required"
    assert api.events() == 0


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ("revoked_at = now()", 401),
        ("expires_at = now() - interval '1 second'", 401),
        ("expires_at = now() + interval '1 hour'", 200),
    ],
)
def test_a_revoked_or_expired_key_stops_at_once(api, change, status):
    assert api.post(event()).status_code == 200
    api.sql(f"UPDATE api_keys SET {change} WHERE secret_sha256 = :hash", hash=secret_hash(api.keys["acme"]))
    assert api.post(event(id="e2")).status_code == status


def test_a_suspended_organization_reports_no_more(api):
    api.sql("UPDATE organizations SET status = 'suspended' WHERE slug = 'acme'")
    assert api.post(event()).status_code == 401
    assert api.post(event(organization="acme"), key="platform").get_json()["results"][0]["field"] == "organization"
    assert api.events() == 0


def test_a_key_in_the_address_is_refused_even_beside_a_good_one(api):
    path = f"/api/v1/events?api_key={api.keys['acme']}"
    for key in ("acme", None):
        answer = api.post(event(), key=key, path=path)
        assert answer.status_code == 401
        assert "never in the address" in answer.get_json()["detail"]
    assert api.events() == 0


@pytest.mark.parametrize("scheme", ["Basic", "Token", ""])
def test_another_way_of_authorization_is_refused(api, scheme):
    answer = api.post(event(), key=None, headers={"Authorization": f"{scheme} {api.keys['acme']}".strip()})
    assert answer.status_code == 401


def test_a_key_without_the_scope_is_told_which_one_it_needs(api):
    answer = api.post(event(), key="reader")
    assert answer.status_code == 403
    assert "ingest" in answer.get_json()["detail"]
    assert api.events() == 0


def test_a_session_cookie_is_no_key(api):
    client = api.app.test_client()
    client.set_cookie("portal_session", api.keys["acme"])
    assert client.post("/api/v1/events", json=event()).status_code == 401


def test_an_organizations_key_writes_only_to_its_own(api):
    answer = api.post([event(organization="umbrella"), event(id="e2", organization="nobody"), event(id="e3")])
    statuses = [(result["status"], result.get("field")) for result in answer.get_json()["results"]]
    assert statuses == [("rejected", "organization"), ("rejected", "organization"), ("accepted", None)]
    theirs = answer.get_json()["results"][0]["message"]
    assert theirs == answer.get_json()["results"][1]["message"]  # it does not tell which organizations there are
    assert api.sql("SELECT DISTINCT organization_id FROM usage_events") == [(api.acme.id,)]
    assert api.post(event(id="e4", organization="acme")).get_json()["accepted"] == 1
    assert api.post(event(id="e5", organization=str(api.acme.public_id))).get_json()["accepted"] == 1


def test_the_platforms_key_names_organizations_by_slug_or_id(api):
    answer = api.post(
        [
            event(organization="acme"),
            event(organization=str(api.umbrella.public_id)),
            event(id="e2", organization="closed"),
            event(id="e3"),
            event(id="e4", organization="nobody"),
            event(id="e5", organization=7),
            event(id="e6", organization=str(api.acme.id)),
        ],
        key="platform",
    )
    results = [(result["status"], result.get("field")) for result in answer.get_json()["results"]]
    assert results == [("accepted", None)] * 2 + [("rejected", "organization")] * 5
    assert sorted(api.sql("SELECT organization_id FROM usage_events")) == [(api.acme.id,), (api.umbrella.id,)]


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "a" * 300, ""])
def test_an_organizations_name_that_cannot_be_is_rejected_and_the_others_are_kept(api, name):
    body = json.dumps([event(organization=name), event(id="e2", organization="acme")]).encode()
    answer = api.post(body, key="platform")
    assert answer.status_code == 200
    assert [result["status"] for result in answer.get_json()["results"]] == ["rejected", "accepted"]
    answer = api.post(json.dumps([event(id="e3", organization=name), event(id="e4")]).encode())
    assert [result["status"] for result in answer.get_json()["results"]] == ["rejected", "accepted"]


def test_the_same_id_of_two_organizations_is_two_events(api):
    assert api.post(event()).get_json()["accepted"] == 1
    assert api.post(event(), key="umbrella").get_json()["accepted"] == 1
    assert api.events() == 2


def test_a_batch_that_is_sent_again_counts_once(api):
    batch = [event(id=f"e{number}") for number in range(20)]
    assert api.post(batch).get_json()["accepted"] == 20
    again = api.post(batch)
    assert (again.status_code, again.get_json()["duplicate"]) == (200, 20)
    assert api.events() == 20
    assert api.sql("SELECT sum(quantity), sum(events) FROM usage_daily") == [(Decimal(200), 20)]


def test_the_same_event_written_another_way_is_a_duplicate(api):
    api.post(event(quantity="10", time=NOW.strftime("%Y-%m-%dT00:00:00Z")))
    body = json.dumps(event()).replace('"10"', "10.000").encode()
    assert api.post(body).get_json()["duplicate"] == 1
    moved = event(time=NOW.strftime("%Y-%m-%dT02:00:00+02:00"))
    assert api.post(moved).get_json()["duplicate"] == 1


@pytest.mark.parametrize(
    "change",
    [{"quantity": "11"}, {"properties": {"region": "fra"}}, {"properties": {"region": "ams", "note": "x"}},
     {"time": (NOW - timedelta(days=1)).isoformat()}],
)  # fmt: skip
def test_the_same_id_with_other_content_is_a_conflict_and_the_first_stays(api, change):
    api.post(event())
    answer = api.post(event(**change))
    assert answer.status_code == 422
    assert answer.get_json()["conflict"] == 1
    assert "the first one stays" in answer.get_json()["results"][0]["message"]
    assert api.sql("SELECT quantity FROM usage_events") == [(Decimal(10),)]
    within = api.post([event(id="x"), event(id="x"), event(id="x", quantity="99")])
    assert [result["status"] for result in within.get_json()["results"]] == ["accepted", "duplicate", "conflict"]
    assert api.sql("SELECT sum(quantity) FROM usage_daily") == [(Decimal(20),)]


BAD = {
    "id": [None, "", 7, "x" * 256, "a\0b", ["e1"]],
    "meter": [None, "", 7, "x" * 256],
    "quantity": [None, "", "ten", "NaN", "Infinity", "-1", True, [], "1e40", "0.0000000000001", "1" * 60, "0x10"],
    "time": [None, "", 1700000000, "yesterday", "2026-10-10T00:00:00", "2026-02-30T00:00:00Z",
             "1999-12-31T23:59:59Z", "2999-01-01T00:00:00Z"],
    "properties": [[], "x", {"region": 5}, {"region": ""}, {str(n): "x" for n in range(33)}],
    "source": ["", 7, "x" * 256],
    "correction": ["yes", 1, None],
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in BAD.items() for value in values])
def test_a_bad_item_is_rejected_with_its_field_and_the_good_ones_are_kept(api, field, value):
    answer = api.post([event(id="good 1"), event(**{field: value}), event(id="good 2")])
    assert answer.status_code == 200
    first, bad, last = answer.get_json()["results"]
    assert (first["status"], last["status"]) == ("accepted", "accepted")
    assert (bad["index"], bad["status"]) == (1, "rejected")
    assert bad["field"] == field or (field == "properties" and bad["field"] == "region")
    assert len(bad["message"]) > 10
    assert api.events() == 2


def test_an_event_of_a_meter_that_does_not_exist_is_kept_for_its_own_organization(api):
    for key in ("acme", "umbrella", "acme"):
        answer = api.post(event(meter="tape"), key=key)
        assert answer.status_code == 200
    assert answer.get_json() == {
        "accepted": 0,
        "duplicate": 1,
        "conflict": 0,
        "waiting": 0,
        "rejected": 0,
        "results": [{"index": 0, "id": "e1", "status": "duplicate"}],
    }
    named = api.post(event(id="e2", meter="tape", organization="umbrella"), key="platform")
    assert (named.status_code, named.get_json()["waiting"]) == (200, 1)
    assert api.post(event(meter="tape", quantity="11")).status_code == 422
    assert api.sql("SELECT organization_id, event_id FROM waiting_events ORDER BY 1, 2") == [
        (api.acme.id, "e1"),
        (api.umbrella.id, "e1"),
        (api.umbrella.id, "e2"),
    ]
    assert api.events() == 0
    assert api.post({"id": "x", "cancels": "e1"}).get_json()["accepted"] == 1
    assert api.sql("SELECT count(*) FROM waiting_events WHERE discarded_at IS NULL") == [(2,)]


@pytest.mark.parametrize("item", [None, 5, "event", [], [event()]])
def test_an_item_that_is_no_object_is_rejected(api, item):
    answer = api.post([item, event()])
    assert [result["status"] for result in answer.get_json()["results"]] == ["rejected", "accepted"]


def test_a_field_that_does_not_exist_is_named(api):
    answer = api.post(event(amount=5))
    assert answer.status_code == 422
    assert answer.get_json()["results"][0]["field"] == "amount"


def test_if_all_items_are_bad_the_answer_says_so(api):
    answer = api.post([event(meter="x", quantity="ten"), event(quantity="-1")])
    assert answer.status_code == 422
    assert answer.get_json()["rejected"] == 2


BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "not UTF-8": b'{"id": "\xff"}',
    "a number": b"5",
    "null": b"null",
    "a text": b'"event"',
    "an empty list": b"[]",
    "NaN": b'{"id": "e", "meter": "machine_seconds", "quantity": NaN, "time": "2026-10-10T00:00:00Z"}',
    "a name twice": b'{"id": "1", "id": "2", "meter": "machine_seconds", "quantity": 1, "time": "2026-10-10T00:00Z"}',
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_no_batch_is_refused_with_a_sentence(api, body):
    answer = api.post(body)
    assert answer.status_code in (400, 422)
    problem = answer.get_json()
    assert problem.get("detail") or problem["results"][0]["field"] == "quantity"
    assert api.events() == 0


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "text/csv", ""])
def test_another_kind_of_content_is_refused(api, content_type):
    answer = api.post(event(), content_type=content_type)
    assert answer.status_code == 415
    assert "application/json" in answer.get_json()["detail"]
    assert api.events() == 0


def test_a_charset_beside_the_content_type_is_fine(api):
    assert api.post(event(), content_type="application/json; charset=utf-8").status_code == 200


def test_5000_events_are_taken_and_5001_are_refused_whole(api):
    batch = [event(id=f"e{number}", properties={}) for number in range(5001)]
    answer = api.post(batch)
    assert answer.status_code == 422
    assert "at most 5000" in answer.get_json()["detail"]
    assert api.events() == 0
    assert api.post(batch[:5000]).get_json()["accepted"] == 5000
    assert api.events() == 5000


def test_a_body_above_the_limit_is_refused_without_being_read(api):
    answer = api.post(b"[" + b" " * (5 * 1024 * 1024) + b"]")
    assert answer.status_code == 413
    assert answer.content_type == "application/problem+json"
    large = json.dumps([event(properties={"note": "x" * 250}, id=f"e{n}") for n in range(4500)]).encode()
    assert 1024 * 1024 < len(large) < 5 * 1024 * 1024
    assert api.post(large).get_json()["accepted"] == 4500


def test_a_negative_quantity_is_a_correction_or_a_mistake(api):
    assert api.post(event(quantity="-2")).status_code == 422
    assert api.post(event(id="c1", quantity="-2", correction=True)).get_json()["accepted"] == 1
    assert api.sql("SELECT sum(quantity) FROM usage_daily") == [(Decimal(-2),)]


def test_a_quantity_keeps_every_digit(api):
    body = json.dumps(event()).replace('"10"', "123456789012345.123456789012").encode()
    assert api.post(body).get_json()["accepted"] == 1
    assert api.sql("SELECT quantity FROM usage_events") == [(Decimal("123456789012345.123456789012"),)]


def test_meters_are_listed_for_whoever_may_report(api):
    client = api.app.test_client()
    answer = client.get("/api/v1/meters", headers={"Authorization": f"Bearer {api.keys['acme']}"})
    assert answer.get_json()["data"] == [
        {"code": "machine_seconds", "name": "machine seconds", "unit": "second", "dimensions": ["region"]}
    ]
    assert client.get("/api/v1/meters").status_code == 401


def test_an_unknown_address_is_a_problem_document(api):
    answer = api.app.test_client().get("/api/v1/nothing")
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"


def test_the_use_of_a_key_is_noted_and_never_its_text(api):
    api.post(event())
    [(used, prefix, stored)] = api.sql(
        "SELECT last_used_at IS NOT NULL, prefix, secret_sha256 FROM api_keys WHERE secret_sha256 = :hash",
        hash=secret_hash(api.keys["acme"]),
    )
    assert used
    assert api.keys["acme"].startswith(prefix)
    assert len(prefix) <= 12
    assert api.keys["acme"].encode() not in bytes(stored)
    audited = api.sql("SELECT coalesce(after::text, '') FROM audit_entries WHERE action = 'created API key'")
    assert all(api.keys["acme"] not in text for (text,) in audited)


def test_health_is_for_everybody_and_says_nothing_more(api):
    client = api.app.test_client()
    assert client.get("/healthz").data == b"ok"
    assert client.get("/readyz").get_json() == {"database": "ok", "redis": "ok"}


def test_an_event_is_amended_or_cancelled_by_naming_it(api):
    api.post([event(id="a"), event(id="b"), event(id="c")])
    answer = api.post(
        [
            event(id="a2", amends="a", quantity="4"),
            {"id": "b2", "cancels": "b"},
            event(id="a3", amends="a"),
            {"id": "x2", "cancels": "x"},
            {"id": "c2", "cancels": "c", "quantity": "1"},
        ]
    )
    items = answer.get_json()["results"]
    assert [each["status"] for each in items] == ["accepted", "accepted", "conflict", "rejected", "rejected"]
    assert "was amended or cancelled before" in items[2]["message"]
    assert "no event with the id" in items[3]["message"]
    assert items[4]["field"] == "quantity"
    assert api.sql("SELECT sum(quantity), sum(events) FROM usage_daily") == [(Decimal(14), 2)]


def test_a_key_cannot_correct_what_another_organization_has_sent(api):
    api.post(event(id="a"))
    for body in ({"id": "b", "cancels": "a"}, event(id="c", amends="a")):
        assert api.post(body, key="umbrella").get_json()["rejected"] == 1
    assert api.post({"id": "d", "cancels": "a", "organization": "umbrella"}, key="platform").get_json()["rejected"] == 1
    assert api.post({"id": "e", "cancels": "a", "organization": "acme"}, key="platform").get_json()["accepted"] == 1


def test_a_revoked_key_is_refused_a_second_later_at_the_latest(api, monkeypatch):
    now = 1_000_000_000
    monkeypatch.setattr(guard, "time", SimpleNamespace(monotonic_ns=lambda: now))
    monkeypatch.setitem(api.app.config, "TESTING", False)
    monkeypatch.delitem(api.app.extensions, "known_keys", raising=False)
    assert api.post(event()).status_code == 200
    api.sql("UPDATE api_keys SET revoked_at = now() RETURNING id")
    now += guard.REMEMBERED_FOR_SECONDS * 1_000_000_000
    assert api.post(event(id="e2")).status_code == 401
    assert api.post(event(id="e3")).status_code == 401
    assert api.events() == 1
