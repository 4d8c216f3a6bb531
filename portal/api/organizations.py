"""/api/v1/organizations: a platform registers whom it bills, as often as it likes, and lists them."""

from typing import Any
from uuid import UUID

from flask import Blueprint, Response, g, jsonify, request, url_for

from portal.api.guard import require_key
from portal.api.limiting import add_limit_headers, count_request
from portal.api.objects import read_object
from portal.api.paging import page_size
from portal.core.errors import InvalidInput, NotAllowed, NotFound, PortalError
from portal.infra.db import transaction
from portal.infra.mail import is_address
from portal.infra.pages import csrf, policy
from portal.organizations.api_keys import KeyHolder
from portal.organizations.collecting import COLLECTION_METHODS
from portal.organizations.models import Organization
from portal.organizations.queries import organization_of, registered_organizations
from portal.organizations.registering import organization_by_slug, register_organization

LARGEST_BODY_BYTES = 16 * 1024
DEFAULT_PAGE, LARGEST_PAGE = 20, 100
FIELDS = ("name", "currency", "billing_email", "collection_method")
bp = Blueprint("organizations_api", __name__, url_prefix="/api/v1")
bp.before_request(require_key)
bp.after_request(add_limit_headers)
csrf.exempt(bp)


class OtherCurrency(PortalError):
    """An organization of that short name is there, and it is billed in another currency."""

    code, status = "other_currency", 409


@bp.get("/organizations")
@policy("api key: organizations")
def list_all() -> Response:
    """One page of all organizations, in the order in which they were registered."""
    _begin()
    limit = page_size(default=DEFAULT_PAGE, largest=LARGEST_PAGE)
    found = registered_organizations(after=_cursor(), limit=limit + 1)
    page = found[:limit]
    more = url_for(".list_all", after=page[-1].public_id, limit=limit) if len(found) > limit else None
    return jsonify({"data": [_facts(organization) for organization in page], "next": more})


@bp.get("/organizations/<slug>")
@policy("api key: organizations")
def show_organization(slug: str) -> Response:
    """One organization by its short name, whatever its status."""
    _begin()
    found = organization_by_slug(slug)
    if found is None:
        raise NotFound("There is no such organization.")
    return jsonify(_facts(found))


@bp.put("/organizations/<slug>")
@policy("api key: organizations")
def put_organization(slug: str) -> tuple[Response, int]:
    """Register an organization (201), or say what it is (200): one that is there stays as it is. Idempotent."""
    _begin()
    wanted = _wanted()
    with transaction():
        found = organization_by_slug(slug)
        is_new = found is None
        organization = found or register_organization(slug, **wanted)
        if organization.currency != wanted["currency"]:
            raise OtherCurrency(f"This organization is billed in {organization.currency}, which stays.")
        facts = _facts(organization)
    return jsonify(facts), 201 if is_new else 200


def _begin() -> None:
    count_request()
    holder: KeyHolder = g.key_holder
    if holder.organization_id is not None:
        raise NotAllowed("Only keys of the platform list and register organizations.")


def _cursor() -> Organization | None:
    """The last organization of the page before. Raises InvalidInput, NotFound."""
    asked = request.args.get("after")
    if asked is None:
        return None
    try:
        public_id = UUID(asked)
    except ValueError:
        raise InvalidInput("after is the id of the last organization of the page before.", field="after") from None
    return organization_of(public_id)


def _wanted() -> dict[str, Any]:
    """What the body says, checked. Raises InvalidInput at the field that is wrong."""
    document = read_object("one object with name and currency", most_bytes=LARGEST_BODY_BYTES)
    for name, value in document.items():
        if name not in FIELDS:
            raise InvalidInput(f"There is no field “{name[:60]}”; there are {', '.join(FIELDS)}.", field=name[:60])
        if not isinstance(value, str):
            raise InvalidInput(f"{name} is a text.", field=name)
    for name in ("name", "currency"):
        if name not in document:
            raise InvalidInput(f"{name} is missing.", field=name)
    if document.get("collection_method", "send_invoice") not in COLLECTION_METHODS:
        raise InvalidInput(f"collection_method is {' or '.join(COLLECTION_METHODS)}.", field="collection_method")
    if "billing_email" in document and not is_address(document["billing_email"]):
        raise InvalidInput("billing_email is one plain e-mail address.", field="billing_email")
    return document


def _facts(organization: Organization) -> dict[str, Any]:
    return {
        "id": str(organization.public_id),
        "slug": organization.slug,
        "name": organization.name,
        "currency": organization.currency,
        "status": organization.status,
        "billing_email": organization.billing_email,
        "collection_method": organization.collection_method,
        "stripe_customer_id": organization.stripe_customer_id,
    }
