"""GET /api/v1/costs: what a month costs by product, meter or dimension, adding up to its invoice."""

from typing import Any

from flask import Blueprint, Response, jsonify, request

from portal.api.guard import require_key
from portal.api.limiting import add_limit_headers, count_request
from portal.api.naming import act_for
from portal.core.money import major_text
from portal.infra import clock
from portal.infra.pages import policy
from portal.invoicing.cost_by import costs_of
from portal.invoicing.cost_lines import Amounts
from portal.invoicing.cost_table import month_asked

bp = Blueprint("costs_api", __name__, url_prefix="/api/v1")
bp.before_request(require_key)
bp.after_request(add_limit_headers)


@bp.get("/costs")
@policy("api key: read")
def get_costs() -> Response:
    """The groups of one month, live or as its invoice was made final."""
    count_request()
    organization = act_for(request.args.get("organization"))
    month = month_asked(request.args.get("month"), clock.now())
    costs = costs_of(organization, month, by=request.args.get("by") or None, meter=request.args.get("meter") or None)
    bill = costs.bill
    return jsonify(
        {
            "month": str(month),
            "by": costs.question.by,
            "meter": costs.question.meter,
            "currency": bill.currency,
            "state": bill.invoice.state if bill.invoice else "draft",
            "invoice": bill.invoice.number if bill.invoice else None,
            "complete": not bill.has_unpriced,
            "data": [
                {"kind": group.kind, "value": group.value or None, "label": group.label}
                | _written(group.amounts, bill.currency)
                for group in costs.groups
            ],
            "everything_else": _written(costs.rest, bill.currency),
            "total": _written(bill.total, bill.currency),
        }
    )


def _written(amounts: Amounts, currency: str) -> dict[str, Any]:
    parts = {"amount": amounts.whole, "net": amounts.net, "tax": amounts.tax}
    return {name: {"major": major_text(each, currency), "minor": each} for name, each in parts.items()}
