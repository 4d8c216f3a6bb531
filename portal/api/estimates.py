"""POST /api/v1/estimates: what a quantity costs, at any price or at one of the organization's; nothing is stored."""

import re
from datetime import date
from typing import Any

from flask import Blueprint, Response, g, jsonify

from portal.api.guard import require_key
from portal.api.limiting import add_limit_headers, count_request
from portal.api.objects import read_object
from portal.catalog.models import Meter
from portal.catalog.pricebook import pricebook_for
from portal.catalog.queries import contract_of, meters_by_code, subscriptions_of
from portal.core.errors import InvalidInput
from portal.core.estimating import estimate
from portal.core.pricing import terms_to_json
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as
from portal.infra.pages import csrf, policy
from portal.organizations.api_keys import KeyHolder
from portal.organizations.models import Organization
from portal.organizations.queries import ids_by_slug, organization_by_id
from portal.usage.fields import storable

LARGEST_BODY_BYTES = 256 * 1024
_DATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
bp = Blueprint("estimates", __name__, url_prefix="/api/v1")
bp.before_request(require_key)
bp.after_request(add_limit_headers)
csrf.exempt(bp)


@bp.post("/estimates")
@policy("api key: read")
def post_estimate() -> Response:
    """Price one quantity or a list of items. Reads the price list where an item names a meter, and writes nothing."""
    count_request()
    document = read_object("one object: a price and a quantity, or a list of items", most_bytes=LARGEST_BODY_BYTES)
    found = _put_terms_for_meters(document)
    answer = estimate(document)
    estimates = answer.get("items", [answer])
    for index, price in found.items():
        estimates[index]["price"] = price
    return jsonify(answer)


def _put_terms_for_meters(document: dict[str, Any]) -> dict[int, dict[str, str]]:
    """Where an item names a meter, put that price's terms and unit; say, by place, which prices these are."""
    items = document["items"] if isinstance(document.get("items"), list) else [document]
    naming = {index: item for index, item in enumerate(items) if isinstance(item, dict) and "meter" in item}
    if not naming and "organization" not in document:
        return {}
    organization = _organization(document)
    if not naming:
        return {}
    if document.setdefault("currency", organization.currency) != organization.currency:
        raise InvalidInput(f"The prices of this organization are in {organization.currency}.", field="currency")
    prices = _Prices(organization)
    return {
        index: prices.put_into(item, "" if item is document else f"items[{index}].") for index, item in naming.items()
    }


def _organization(document: dict[str, Any]) -> Organization:
    """Whose prices are meant: the key's own organization, or the one that a key of the platform names."""
    holder: KeyHolder = g.key_holder
    named = document.pop("organization", None)
    slug = named if isinstance(named, str) and storable(named) else ""
    # Names are looked up as the system; whether the key may use one is said here.
    with acting_as(SYSTEM):
        organization_id = ids_by_slug({slug}).get(slug)
    if holder.organization_id is not None:
        if named is not None and organization_id != holder.organization_id:
            raise InvalidInput("This key is for its own organization only; leave the field out.", field="organization")
        return organization_by_id(holder.organization_id)
    if named is None:
        raise InvalidInput("Say whose prices you mean: organization is missing.", field="organization")
    if organization_id is None:
        raise InvalidInput(f"There is no active organization “{slug[:60]}”.", field="organization")
    return organization_by_id(organization_id)


class _Prices:
    """The prices of one organization, its own and those of its plans included."""

    def __init__(self, organization: Organization) -> None:
        contracts = [contract_of(subscription) for subscription in subscriptions_of(organization.id)]
        self._pricebook = pricebook_for(organization.id, organization.currency, contracts)
        self._meters = meters_by_code()
        self._today = clock.now().date()

    def put_into(self, item: dict[str, Any], path: str) -> dict[str, str]:
        """Put a price's terms and unit in place of the item's meter, dimensions and day; return what price it is."""
        for name in ("price", "unit"):
            if name in item:
                raise InvalidInput(f"An item names a meter or brings a {name} of its own.", field=f"{path}{name}")
        meter = self._meter(item.pop("meter"), f"{path}meter")
        dimensions = _dimensions(item.pop("dimensions", None), meter, f"{path}dimensions")
        day = self._day(item.pop("day", None), f"{path}day")
        price = self._pricebook.price_of_series(meter.id, dimensions, day)
        version = price.version_on(day) if price else None
        if price is None or version is None:
            raise InvalidInput(f"“{meter.code}” has no price for these dimensions on {day}.", field=f"{path}meter")
        item.update(price=terms_to_json(version.terms), unit=price.unit)
        return {"name": price.name, "valid_from": version.valid_from.isoformat()}

    def _meter(self, code: Any, field: str) -> Meter:
        meter = self._meters.get(code) if isinstance(code, str) else None
        if meter is None:
            raise InvalidInput("There is no such meter. GET /api/v1/meters lists those that there are.", field=field)
        return meter

    def _day(self, value: Any, field: str) -> date:
        if value is None:
            return self._today
        try:
            return date.fromisoformat(value if isinstance(value, str) and _DATED.fullmatch(value) else "")
        except ValueError:
            raise InvalidInput("day is a date like 2026-11-01.", field=field) from None


def _dimensions(value: Any, meter: Meter, field: str) -> dict[str, str]:
    dimensions = {} if value is None else value
    if not isinstance(dimensions, dict):
        raise InvalidInput("dimensions is an object of texts.", field=field)
    for name, text in dimensions.items():
        if name not in meter.dimensions:
            known = ", ".join(meter.dimensions) or "none"
            raise InvalidInput(
                f"This is not a dimension of “{meter.code}”; it has {known}.", field=f"{field}.{name[:60]}"
            )
        if not isinstance(text, str):
            raise InvalidInput("The value of a dimension is text.", field=f"{field}.{name}")
    return dimensions
