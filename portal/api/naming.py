"""Whose figures a request asks for: those of its key's organization, or of the one that a platform's key names."""

from flask import g

from portal.core.errors import InvalidInput
from portal.infra.db import SYSTEM, act_as, acting_as, tenant
from portal.organizations.api_keys import KeyHolder
from portal.organizations.models import Organization
from portal.organizations.queries import ids_by_slug, organization_by_id


def act_for(named: str | None) -> Organization:
    """The organization that is meant, by slug or id; from here on the request sees nothing of any other one.

    Raises InvalidInput if a key of the platform names none, or one that there is not, or another key a foreign one.
    """
    holder: KeyHolder = g.key_holder
    # Names are looked up as the system; whether the key may use one is said here.
    with acting_as(SYSTEM):
        organization_id = ids_by_slug({named}).get(named) if named else None
    if holder.organization_id is not None and named is not None and organization_id != holder.organization_id:
        raise InvalidInput("This key is for its own organization only; leave the field out.", field="organization")
    if holder.organization_id is None and not named:
        raise InvalidInput("Say whose figures you mean: organization is missing.", field="organization")
    organization_id = holder.organization_id or organization_id
    if organization_id is None:
        raise InvalidInput(f"There is no active organization “{(named or '')[:60]}”.", field="organization")
    act_as(tenant(organization_id))
    return organization_by_id(organization_id)
