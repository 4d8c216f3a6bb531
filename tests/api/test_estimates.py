"""POST /api/v1/estimates: any price or a published one, whose prices a key may see, and that nothing is stored."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from portal.api.estimates import LARGEST_BODY_BYTES
from portal.core.periods import Month
from portal.infra.db import transaction
from portal.organizations.api_keys import create_key
from tests.factories import acting, make_meter, make_organization, make_plan, make_price, sql, subscribe

PER_UNIT = {"model": "per_unit", "unit_amount": "0.08"}
GRADUATED = {
    "model": "graduated",
    "tiers": [{"up_to": "100", "unit_amount": "0.08"}, {"up_to": None, "unit_amount": "0.05"}],
}
TODAY = datetime.now(UTC).date()


class Api:
    """A machine that asks what something would cost."""

    def __init__(self, app) -> None:
        self.app = app
        with acting(app):
            self.acme, umbrella = make_organization(), make_organization("umbrella")
            kyoto = make_organization("kyoto", currency="JPY")
            make_organization("closed", status="closed")
            egress = make_meter("egress_gb", dimensions=("region_group",))
            make_price(egress, "0.1", name="Egress elsewhere")
            make_price(egress, GRADUATED, name="Egress", match={"region_group": "na_eu"})
            make_price(egress, "0.06", name="Egress", match={"region_group": "na_eu"}, valid_from=date(2026, 11, 1))
            make_price(egress, "0.01", name="Egress of Umbrella", organization_id=umbrella.id)
            make_price(egress, "15", name="Egress in yen", currency="JPY")
            make_meter("unpriced")
            self.keys = {
                "acme": self.key(self.acme),
                "umbrella": self.key(umbrella),
                "kyoto": self.key(kyoto),
                "platform": self.key(None),
                "reporter": self.key(self.acme, scopes=("ingest",)),
            }

    def key(self, organization, *, scopes=("read",)) -> str:
        with transaction():
            return create_key(
                name="machine", organization_id=organization.id if organization else None, scopes=scopes, live=False
            )

    def post(self, body, *, key="acme", content_type="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.keys[key]}"} if key else {}
        return self.app.test_client().post("/api/v1/estimates", data=data, content_type=content_type, headers=headers)

    def priced(self, body, *, key="acme"):
        answer = self.post(body, key=key)
        assert answer.status_code == 200, answer.get_json()
        return answer.get_json()

    def refused(self, body, *, key="acme", status=422) -> str | None:
        """The field that was refused."""
        answer = self.post(body, key=key)
        assert answer.status_code == status, answer.get_json()
        assert answer.content_type == "application/problem+json"
        return answer.get_json().get("field")


@pytest.fixture
def api(app, clean_database, clean_redis) -> Api:
    return Api(app)


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements that reach the database meanwhile."""
    seen: list[str] = []

    def note(_connection, _cursor, statement, *_rest) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield seen
    event.remove(Engine, "before_cursor_execute", note)


def egress(quantity="120", **more) -> dict:
    return {"meter": "egress_gb", "dimensions": {"region_group": "na_eu"}, "quantity": quantity} | more


def test_any_price_is_worked_out(api):
    assert api.priced({"currency": "USD", "price": GRADUATED, "quantity": "123.5", "unit": "GB"}) == {
        "currency": "USD",
        "amount": {"minor": 918, "major": "9.18"},
        "unrounded": "9.175",  # 100 × 0.08 and 23.5 × 0.05
        "sentence": "USD 0.08 per GB up to 100 GB, USD 0.05 per GB above 100 GB",
        "derivation": {
            "terms": {
                "model": "graduated",
                "free_quantity": "0",
                "tiers": [
                    {"up_to": "100", "unit_amount": "0.08", "flat_amount": "0"},
                    {"up_to": None, "unit_amount": "0.05", "flat_amount": "0"},
                ],
                "zero_usage_charges_first_flat": False,
            },
            "already": "0",
            "events": None,
            "steps": [
                {"kind": "usage", "quantity": "100", "unit_amount": "0.08", "flat_amount": "0", "amount": "8"},
                {"kind": "usage", "quantity": "23.5", "unit_amount": "0.05", "flat_amount": "0", "amount": "1.175"},
            ],
        },
    }


def test_a_number_of_json_keeps_all_its_digits(api):
    body = b'{"currency":"USD","price":{"model":"per_unit","unit_amount":0.10000000000000000001},"quantity":3}'
    assert api.priced(body)["unrounded"] == "0.30000000000000000003"


def test_a_published_price_is_named_by_its_meter_and_a_day(api):
    before = api.priced(egress(day="2026-10-31"))
    assert (before["unrounded"], before["currency"]) == ("9", "USD")  # 100 × 0.08 and 20 × 0.05
    assert before["price"] == {"name": "Egress", "valid_from": "2026-01-01"}
    assert before["sentence"] == "USD 0.08 per second up to 100 second, USD 0.05 per second above 100 second"
    later = api.priced(egress(day="2026-11-01"))
    assert (later["unrounded"], later["price"]["valid_from"]) == ("7.2", "2026-11-01")
    assert api.priced(egress(already="90", quantity="20", day="2026-10-31"))["unrounded"] == "1.3"
    assert api.priced({"meter": "egress_gb", "quantity": "120"})["price"]["name"] == "Egress elsewhere"


def test_without_a_day_it_is_the_price_of_today(api):
    with acting(api.app):
        make_price(make_meter("new"), "1", name="New", valid_from=TODAY)
        make_price(make_meter("next"), "1", name="Next", valid_from=TODAY + timedelta(days=2))
    assert api.priced({"meter": "new", "quantity": "1"})["price"]["valid_from"] == TODAY.isoformat()
    assert api.refused({"meter": "next", "quantity": "1"}) == "meter"


def test_items_of_both_kinds_are_added_up(api):
    items = [egress(day="2026-11-01"), {"price": PER_UNIT, "quantity": "2"}, {"meter": "egress_gb", "quantity": "1"}]
    answer = api.priced({"items": items})
    assert answer["amount"] == {"minor": 746, "major": "7.46"}  # 7.20, 0.16 and 0.10
    assert [each.get("price", {}).get("name") for each in answer["items"]] == ["Egress", None, "Egress elsewhere"]


def test_an_organization_sees_its_own_prices_in_its_own_currency(api):
    assert api.priced(egress(), key="umbrella")["price"]["name"] == "Egress of Umbrella"
    assert api.priced(egress(), key="kyoto")["amount"] == {"minor": 1800, "major": "1800"}
    assert api.priced(egress(currency="JPY"), key="kyoto")["currency"] == "JPY"
    assert api.refused(egress(currency="USD"), key="kyoto") == "currency"
    assert api.refused(egress(organization="umbrella")) == "organization"
    assert (
        api.refused({"currency": "USD", "price": PER_UNIT, "quantity": "1", "organization": "kyoto"}) == "organization"
    )
    assert api.priced(egress(organization="acme"))["price"]["name"] == "Egress"


def test_a_key_of_the_platform_says_whose_prices_it_means(api):
    assert api.priced(egress(organization="umbrella"), key="platform")["price"]["name"] == "Egress of Umbrella"
    assert api.priced(egress(organization=str(api.acme.public_id)), key="platform")["price"]["name"] == "Egress"
    for name in (None, "nobody", "closed", "", 7, ["acme"], "a\0"):
        assert api.refused(egress(organization=name), key="platform") == "organization"
    assert api.refused(egress(), key="platform") == "organization"
    assert api.priced({"currency": "EUR", "price": PER_UNIT, "quantity": "1"}, key="platform")["currency"] == "EUR"


def test_the_price_of_a_plan_is_for_those_who_have_it(api):
    with acting(api.app):
        plan = make_plan("growth")
        make_price(make_meter("egress_gb"), "0.02", name="Egress in Growth", for_plan=plan)
        subscribe(api.acme, plan, Month(2026, 10).start)
    assert api.priced(egress(day="2026-11-01"))["price"]["name"] == "Egress in Growth"
    assert api.priced(egress(day="2026-09-30"))["price"]["name"] == "Egress"
    assert api.priced(egress(), key="umbrella")["price"]["name"] == "Egress of Umbrella"


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (egress(meter="water"), "meter"),
        (egress(meter=7), "meter"),
        (egress(meter=None), "meter"),
        (egress(meter="unpriced", dimensions={}), "meter"),
        (egress(day="2025-12-31"), "meter"),  # before its first version
        (egress(day="2026-13-01"), "day"),
        (egress(day="20261101"), "day"),
        (egress(day=20261101), "day"),
        (egress(dimensions=["na_eu"]), "dimensions"),
        (egress(dimensions={"region": "ams"}), "dimensions.region"),
        (egress(dimensions={"region_group": 1}), "dimensions.region_group"),
        (egress(price=PER_UNIT), "price"),
        (egress(unit="GB"), "unit"),
        (egress("-1"), "quantity"),
        (egress(colour="red"), "colour"),
        ({"price": {**GRADUATED, "tiers": GRADUATED["tiers"][:1]}, "quantity": "1"}, "price.tiers[0].up_to"),
    ],
)
def test_what_does_not_fit_is_named_by_its_path(api, item, field):
    assert api.refused({"currency": "USD", **item}) == field
    items = [egress()] * 3 + [item]
    assert api.refused({"currency": "USD", "items": items}) == f"items[3].{field}"


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, None),
        (b'{"currency": "USD", "currency": "EUR"}', 400, None),
        (b'{"currency": "USD", "price": {"model": "per_unit", "unit_amount": 1}, "quantity": NaN}', 422, "quantity"),
        (b'{"currency": "USD", "price": {"model": "per_unit", "unit_amount": 1}, "quantity": 1e400}', 422, "quantity"),
        (b"[]", 422, None),
        (b'"x"', 422, None),
        ({"price": PER_UNIT, "quantity": "1"}, 422, "currency"),
        ({"items": [egress()] * 101}, 422, "items"),
        ({"items": []}, 422, "currency"),
        ({"items": "x", "currency": "USD"}, 422, "items"),
        (b" " * (LARGEST_BODY_BYTES + 1), 413, None),
    ],
)
def test_a_body_that_does_not_fit_is_a_problem_document(api, body, status, field):
    assert api.refused(body, status=status) == field


def test_another_kind_of_content_is_not_taken(api):
    assert api.post(egress(), content_type="text/plain").status_code == 415
    assert api.post(egress(), content_type="application/json; charset=utf-8").status_code == 200


def test_a_key_needs_the_scope_read(api):
    assert api.post(egress(), key=None).status_code == 401
    assert api.post(egress(), key="reporter").status_code == 403


def rows_of_all_tables() -> dict[str, int]:
    found = sql("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
    return {name: sql(f'SELECT count(*) FROM "{name}"')[0][0] for (name,) in found if name != "alembic_version"}


def test_nothing_is_stored(api):
    with acting(api.app):
        before = rows_of_all_tables()
        assert before["price_versions"] == 5
    with statements() as seen:
        api.priced({"items": [egress(), egress("7"), {"price": PER_UNIT, "quantity": "1"}]})
    # The guard notes, once a minute, when a key was last used; nothing else is written.
    assert {text.split()[0] for text in seen if not text.startswith("UPDATE api_keys SET last_used_at")} == {"SELECT"}
    with acting(api.app):
        assert rows_of_all_tables() == before


def test_a_price_of_ones_own_needs_no_price_list(api):
    with statements() as seen:
        api.priced({"currency": "USD", "price": PER_UNIT, "quantity": "1"})
    assert not [text for text in seen if "prices" in text or "meters" in text]
