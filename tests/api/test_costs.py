"""GET /api/v1/costs: the groups of a month, whose they are, and that they add up."""

from datetime import UTC, datetime

import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import GenerationMode

from portal.infra.db import transaction
from portal.organizations.api_keys import create_key
from tests.api.test_fuzz import CHECKS, FUZZING
from tests.factories import acting, add, finalize_now, make_draft, make_meter, make_organization, make_price, use

COSTS = "GET /api/v1/costs"


class Api:
    """A machine that asks what October cost."""

    def __init__(self, app) -> None:
        self.app = app
        with acting(app):
            self.acme, rival = make_organization(), make_organization("rival")
            meter = make_meter(dimensions=("app",))
            make_price(meter)
            for whose, app_name in ((self.acme, "web"), (self.acme, "worker"), (rival, "secret")):
                use(whose, meter, 250, app=app_name)
            use(self.acme, meter, 100)
            self.draft = make_draft(self.acme)
            add(self.draft, "10")
            self.keys = {
                "acme": self.key(self.acme.id, "read"),
                "reporter": self.key(self.acme.id, "ingest"),
                "platform": self.key(None, "read"),
            }

    def key(self, organization_id: int | None, scope: str) -> str:
        with transaction():
            return create_key(name="machine", organization_id=organization_id, scopes=(scope,), live=False)

    def get(self, query: str = "month=2026-10", *, key: str = "acme"):
        headers = {"Authorization": f"Bearer {self.keys[key]}"}
        return self.app.test_client().get(f"/api/v1/costs?{query}", headers=headers)


@pytest.fixture
def api(app, clean_database, clean_redis) -> Api:
    return Api(app)


def test_the_groups_add_up_to_the_total(api):
    answer = api.get("month=2026-10&by=app").get_json()
    assert [(each["kind"], each["value"], each["amount"]["minor"]) for each in answer["data"]] == [
        ("value", "web", 250),
        ("value", "worker", 250),
        ("without", None, 100),
        ("not_attributed", None, 1_000),
    ]
    assert answer["total"]["amount"] == {"major": "16.00", "minor": 1_600}
    assert (answer["state"], answer["invoice"], answer["complete"]) == ("draft", None, True)
    assert answer["everything_else"]["amount"]["minor"] == 0


def test_one_meter_by_product_and_what_is_left(api):
    answer = api.get("month=2026-10&by=product&meter=machine_seconds").get_json()
    assert [(each["label"], each["amount"]["minor"]) for each in answer["data"]] == [("Compute", 600)]
    assert answer["everything_else"]["amount"]["minor"] == 1_000


def test_a_final_month_names_its_invoice(api):
    before = api.get().get_json()
    with acting(api.app):
        number = finalize_now(api.draft).number
    after = api.get().get_json()
    assert after == {**before, "state": "finalized", "invoice": number}


def test_without_a_month_it_is_the_current_one(api):
    answer = api.get("").get_json()
    assert answer["month"] == f"{datetime.now(UTC):%Y-%m}"
    assert (answer["by"], answer["data"]) == ("product", [])


def test_a_key_of_the_platform_names_whose_costs_it_asks_for(api):
    by_slug = api.get("month=2026-10&organization=acme", key="platform").get_json()
    assert by_slug == api.get().get_json()
    assert api.get("month=2026-10", key="platform").get_json()["field"] == "organization"
    assert api.get("organization=nobody", key="platform").status_code == 422
    assert "secret" not in str(by_slug)


@pytest.mark.parametrize(
    ("query", "key", "status", "field"),
    [
        ("month=2026-10", "reporter", 403, None),
        ("organization=rival", "acme", 422, "organization"),
        ("organization=acme&month=2026-10", "acme", 200, None),
        ("month=October", "acme", 422, "month"),
        ("month=9999-12", "acme", 422, "month"),
        ("by=size", "acme", 422, "by"),
        ("meter=nothing", "acme", 422, "meter"),
    ],
)
def test_what_is_refused(api, query, key, status, field):
    answer = api.get(query, key=key)
    assert answer.status_code == status
    assert answer.get_json().get("field") == field


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_is_one_that_the_description_knows(api, mode):
    operation = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", api.app).find_operation_by_label(COSTS)

    @FUZZING
    @given(case=operation.as_strategy(generation_mode=mode), key=st.sampled_from(list(api.keys)))
    def fuzz(case, key):
        case.call_and_validate(headers={"Authorization": f"Bearer {api.keys[key]}"}, checks=CHECKS)

    fuzz()


def test_a_month_with_groups_is_as_it_is_described(api):
    operation = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", api.app).find_operation_by_label(COSTS)
    case = operation.Case(query={"month": "2026-10", "by": "app", "meter": "machine_seconds"})
    answer = case.call_and_validate(headers={"Authorization": f"Bearer {api.keys['acme']}"}, checks=CHECKS)
    assert [each["value"] for each in answer.json()["data"]] == ["web", "worker", None]
