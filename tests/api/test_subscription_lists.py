"""GET /api/v1/subscriptions: what an organization has agreed to, for its own keys and for those of the platform."""

from datetime import UTC, datetime
from typing import Any

from flask import Flask

from portal.catalog.subscribing import change_subscription
from portal.infra.db import transaction
from portal.organizations.api_keys import create_key
from tests.factories import acting, make_organization, make_plan, subscribe

START, LATER = datetime(2026, 9, 1, tzinfo=UTC), datetime(2027, 2, 1, tzinfo=UTC)


def test_each_sees_its_own_with_changes_to_come_and_the_platform_names_one(
    app: Flask, clean_database: None, clean_redis: Any
) -> None:
    with acting(app):
        acme, umbrella = make_organization(), make_organization("umbrella")
        support, team = make_plan(), make_plan("team")
        subscribe(umbrella, support, START)
        ours = subscribe(acme, team, START, label="EU", ended_at=datetime(2028, 1, 1, tzinfo=UTC))
        with transaction():
            change_subscription(ours.id, plan=support, quantity=3, at=LATER, now=START, open_from=None)
            keys = {
                name: create_key(name=name, organization_id=organization_id, scopes=(scope,), live=False)
                for name, organization_id, scope in (
                    ("acme", acme.id, "read"),
                    ("platform", None, "read"),
                    ("reporter", acme.id, "ingest"),
                )
            }
        public_id = str(ours.public_id)

    def get(key: str, query: str = "") -> Any:
        headers = {"Authorization": f"Bearer {keys[key]}"}
        return app.test_client().get(f"/api/v1/subscriptions{query}", headers=headers)

    assert get("acme").get_json() == {
        "data": [
            {
                "id": public_id,
                "label": "EU",
                "started_at": "2026-09-01T00:00:00+00:00",
                "trial_ends_at": None,
                "ended_at": "2028-01-01T00:00:00+00:00",
                "phases": [
                    {"starts_at": "2026-09-01T00:00:00+00:00", "plan": "team", "name": "Team", "quantity": 1},
                    {"starts_at": "2027-02-01T00:00:00+00:00", "plan": "support", "name": "Support", "quantity": 3},
                ],
            }
        ]
    }
    assert get("platform", "?organization=acme").get_json() == get("acme").get_json()
    [theirs] = get("platform", "?organization=umbrella").get_json()["data"]
    assert theirs["id"] != public_id
    for refused in (get("acme", "?organization=umbrella"), get("platform"), get("platform", "?organization=nobody")):
        assert (refused.status_code, refused.get_json()["field"]) == (422, "organization")
    assert get("reporter").status_code == 403
