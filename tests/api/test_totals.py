"""GET /api/v1/totals: one's own, or the platform's and anybody's for a key of the platform."""

from typing import Any

import pytest
from flask import Flask

from portal.core.periods import Month
from portal.infra.db import transaction
from portal.organizations.api_keys import create_key
from portal.organizations.models import Organization
from tests.factories import acting, make_final, make_organization


class Api:
    """A machine that asks what was invoiced; Acme has $7.00 and a credit, Umbrella $2.50, Kyoto 500 yen."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        with acting(app):
            acme, umbrella = make_organization(), make_organization("umbrella")
            kyoto = make_organization("kyoto", currency="JPY")
            make_organization("closed", status="closed")
            make_final(acme, "7.00", month=Month(2026, 2))
            make_final(acme, "-1.00", month=Month(2025, 12))
            make_final(umbrella, "2.50", month=Month(2026, 2))
            make_final(kyoto, "500", month=Month(2026, 2))
            self.keys = {
                "acme": self._key(acme),
                "empty": self._key(make_organization("empty")),
                "platform": self._key(None),
                "reporter": self._key(acme, scopes=("ingest",)),
            }

    def _key(self, organization: Organization | None, *, scopes: tuple[str, ...] = ("read",)) -> str:
        with transaction():
            return create_key(
                name="machine", organization_id=organization.id if organization else None, scopes=scopes, live=False
            )

    def get(self, query: str = "", *, key: str = "acme") -> Any:
        headers = {"Authorization": f"Bearer {self.keys[key]}"}
        return self.app.test_client().get(f"/api/v1/totals{query}", headers=headers)

    def data(self, query: str = "", *, key: str = "acme") -> Any:
        answer = self.get(query, key=key)
        assert answer.status_code == 200, answer.get_json()
        return answer.get_json()["data"]


@pytest.fixture
def api(app: Flask, clean_database: None, clean_redis: Any) -> Api:
    return Api(app)


def amount(major: str, minor: int) -> dict[str, Any]:
    return {"major": major, "minor": minor}


def test_an_organization_reads_its_own_years_and_months(api: Api):
    nothing = amount("0.00", 0)
    of_2025 = {
        "invoices": 1,
        "net": amount("-1.00", -100),
        "tax": nothing,
        "total": amount("-1.00", -100),
        "credited": nothing,
        "amount_due": nothing,
    }
    of_2026 = {
        **of_2025,
        "net": amount("7.00", 700),
        "total": amount("7.00", 700),
        "amount_due": amount("7.00", 700),
    }
    [dollars] = api.data()
    assert dollars["years"] == [
        {"year": 2026, **of_2026, "months": [{"month": "2026-02", **of_2026}]},
        {"year": 2025, **of_2025, "months": [{"month": "2025-12", **of_2025}]},
    ]
    assert (dollars["currency"], dollars["invoices"], dollars["total"]) == ("USD", 2, amount("6.00", 600))
    assert api.data("?organization=acme") == [dollars]
    assert api.data(key="empty") == []


def test_a_key_of_the_platform_reads_all_or_the_one_that_it_names(api: Api):
    yen, dollars = api.data(key="platform")
    assert (yen["currency"], yen["total"]) == ("JPY", amount("500", 500))
    assert dollars["total"] == amount("8.50", 850)
    assert api.data("?organization=acme", key="platform") == api.data()
    for name in ("nobody", "closed", "", "%C3%A9"):
        refused = api.get(f"?organization={name}", key="platform")
        assert (refused.status_code, refused.get_json()["field"]) == (422, "organization")


def test_another_organization_is_refused_in_the_same_words_whether_it_exists_or_not(api: Api):
    refusals = [api.get(f"?organization={name}") for name in ("umbrella", "nobody")]
    assert {answer.status_code for answer in refusals} == {422}
    assert len({answer.get_json()["detail"] for answer in refusals}) == 1


def test_the_scope_is_needed_and_requests_are_counted(api: Api):
    assert api.get(key="reporter").status_code == 403
    assert api.app.test_client().get("/api/v1/totals").status_code == 401
    left = [int(api.get().headers["RateLimit-Remaining"]) for _ in range(2)]
    assert left[0] > left[1] or left[1] > 5_000
