"""GET /api/v1/totals: what was invoiced over all years, by currency, year and month."""

from typing import Any

from flask import Blueprint, Response, g, jsonify, request

from portal.api.guard import require_key
from portal.api.limiting import add_limit_headers, count_request
from portal.core.errors import InvalidInput
from portal.core.money import major_text
from portal.infra.db import SYSTEM, acting_as
from portal.infra.pages import policy
from portal.invoicing.month_totals import CurrencyTotals, Totals, by_currency, months_of, months_of_platform
from portal.organizations.api_keys import KeyHolder
from portal.organizations.queries import ids_by_slug

bp = Blueprint("api_totals", __name__, url_prefix="/api/v1")
bp.before_request(require_key)
bp.after_request(add_limit_headers)


@bp.get("/totals")
@policy("api key: read")
def get_totals() -> Response:
    """Of the key's organization; for a key of the platform of all, or of the one that ?organization= names."""
    count_request()
    organization_id = _organization_id()
    months = months_of_platform() if organization_id is None else months_of(organization_id)
    return jsonify({"data": [_document(each) for each in by_currency(months)]})


def _organization_id() -> int | None:
    """Whose totals are meant; None for the whole platform."""
    holder: KeyHolder = g.key_holder
    named = request.args.get("organization")
    if named is None:
        return holder.organization_id
    # Names are looked up as the system; whether the key may use one is said here.
    with acting_as(SYSTEM):
        organization_id = ids_by_slug({named}).get(named)
    if holder.organization_id not in (None, organization_id):
        raise InvalidInput("This key is for its own organization only; leave the field out.", field="organization")
    if organization_id is None:
        raise InvalidInput(f"There is no active organization “{named[:60]}”.", field="organization")
    return organization_id


def _document(of_currency: CurrencyTotals) -> dict[str, Any]:
    currency = of_currency.currency
    return {
        "currency": currency,
        **_sums(of_currency.totals, currency),
        "years": [
            {
                "year": year.year,
                **_sums(year.totals, currency),
                "months": [{"month": str(each.month), **_sums(each.totals, currency)} for each in year.months],
            }
            for year in of_currency.years
        ],
    }


def _sums(totals: Totals, currency: str) -> dict[str, Any]:
    amounts = {name: getattr(totals, name) for name in ("net", "tax", "total", "credited", "amount_due")}
    return {
        "invoices": totals.invoices,
        **{name: {"major": major_text(value, currency), "minor": value} for name, value in amounts.items()},
    }
