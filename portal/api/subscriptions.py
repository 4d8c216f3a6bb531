"""GET /api/v1/subscriptions: what an organization has agreed to, with every change of it, past and to come."""

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, jsonify, request

from portal.api.guard import require_key
from portal.api.limiting import add_limit_headers, count_request
from portal.api.naming import act_for
from portal.catalog.models import Subscription
from portal.catalog.queries import contract_of, plans_of, subscriptions_of
from portal.infra.pages import policy

bp = Blueprint("api_subscriptions", __name__, url_prefix="/api/v1")
bp.before_request(require_key)
bp.after_request(add_limit_headers)


@bp.get("/subscriptions")
@policy("api key: read")
def get_subscriptions() -> Response:
    """All subscriptions of one organization, the latest start first; ended ones too."""
    count_request()
    organization = act_for(request.args.get("organization"))
    return jsonify({"data": [_document(each) for each in subscriptions_of(organization.id)]})


def _document(subscription: Subscription) -> dict[str, Any]:
    plans = plans_of(subscription)
    return {
        "id": str(subscription.public_id),
        "label": subscription.label,
        "started_at": _iso(subscription.started_at),
        "trial_ends_at": _iso(subscription.trial_ends_at),
        "ended_at": _iso(subscription.ended_at),
        "phases": [
            {
                "starts_at": _iso(phase.start),
                "plan": plans[phase.plan].code,
                "name": plans[phase.plan].name,
                "quantity": phase.quantity,
            }
            for phase in contract_of(subscription).phases
        ],
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
