"""Reads of organizations and their people."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Text, Uuid, any_, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import joinedload

from portal.core.errors import NotFound
from portal.infra.db import db
from portal.organizations.models import ApiKey, Membership, Organization, User

# A BIGINT has 19 digits; longer ones in an address were not made by us.
LONGEST_ID = 18


def organization_of(public_id: UUID) -> Organization:
    """The organization with this public id. Raises NotFound."""
    organization: Organization | None = db.session.scalar(
        select(Organization).where(Organization.public_id == public_id)
    )
    if organization is None:
        raise NotFound("There is no such organization.")
    return organization


def organization_by_id(organization_id: int) -> Organization:
    """The organization with this inner id. Raises NotFound."""
    organization = db.session.get(Organization, organization_id)
    if organization is None:
        raise NotFound("There is no such organization.")
    return organization


def ids_by_slug(slugs: set[str]) -> dict[str, int]:
    """Inner ids of active organizations by slug or public id, for callers that name them; unknown ones are missing."""
    if not slugs:
        return {}
    uuids = [UUID(slug) for slug in slugs if _is_uuid(slug)]
    rows = db.session.execute(
        select(Organization.id, Organization.slug, Organization.public_id).where(
            Organization.status == "active",
            # As arrays: a list of parameters costs more than the look-up, and a batch may name thousands.
            or_(
                Organization.slug == any_(literal(list(slugs), ARRAY(Text))),
                Organization.public_id == any_(literal(uuids, ARRAY(Uuid))),
            ),
        )
    )
    found = {}
    for organization_id, slug, public_id in rows:
        found[slug] = found[str(public_id)] = organization_id
    return found


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def list_organizations(*, search: str = "", after: str = "", limit: int | None = 50) -> list[Organization]:
    """One page of organizations by name; `after` is the last name and id of the page before ("name|id").

    All of them without a limit, for files.
    """
    query = select(Organization).order_by(Organization.name, Organization.id).limit(limit)
    if search:
        query = query.where(
            or_(
                Organization.name.icontains(search, autoescape=True),
                Organization.slug.icontains(search, autoescape=True),
                Organization.stripe_customer_id == search,
            )
        )
    if "|" in after:
        name, _, last_id = after.rpartition("|")
        if last_id.isdecimal() and last_id.isascii() and len(last_id) <= LONGEST_ID:
            query = query.where(
                or_(Organization.name > name, (Organization.name == name) & (Organization.id > int(last_id)))
            )
    return list(db.session.scalars(query))


def place_of(organization: Organization) -> str:
    """Where an organization stands in the list by name, for `after`."""
    return f"{organization.name}|{organization.id}"


def registered_organizations(*, after: Organization | None, limit: int) -> list[Organization]:
    """One page of organizations in the order in which they were registered, whatever their status.

    New ones come at the end, so that a caller who goes through all pages misses none and sees none twice.
    """
    query = select(Organization).order_by(Organization.id).limit(limit)
    if after is not None:
        query = query.where(Organization.id > after.id)
    return list(db.session.scalars(query))


def names_by_id(organization_ids: Collection[int]) -> dict[int, str]:
    """What these organizations are called."""
    rows = db.session.execute(select(Organization.id, Organization.name).where(Organization.id.in_(organization_ids)))
    return {row.id: row.name for row in rows}


def members_of(organization_id: int) -> list[Membership]:
    """The members of an organization, with their users."""
    return list(
        db.session.scalars(
            select(Membership)
            .where(Membership.organization_id == organization_id)
            .join(User)
            .options(joinedload(Membership.user))
            .order_by(User.name)
        )
    )


def api_keys_of(organization_id: int) -> list[ApiKey]:
    """The API keys of an organization, newest first, revoked ones too."""
    return list(
        db.session.scalars(select(ApiKey).where(ApiKey.organization_id == organization_id).order_by(ApiKey.id.desc()))
    )
