"""Registering an organization: the moment from which somebody can be billed."""

import re
from typing import Any

from sqlalchemy import select

from portal.core.currencies import require_currency
from portal.core.errors import InvalidInput
from portal.infra import audit
from portal.infra.db import db
from portal.organizations.models import Organization

LONGEST_SLUG, LONGEST_NAME = 63, 200
_SLUG = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def register_organization(slug: str, *, name: str, currency: str, **details: Any) -> Organization:
    """Register an organization that nobody has registered before.

    Raises InvalidInput for a short name that is taken or cannot be one, a name that is missing, and no currency.
    """
    name = name.strip()
    if not _SLUG.fullmatch(slug) or len(slug) > LONGEST_SLUG:
        raise InvalidInput(
            f"A short name is made of small letters, digits and hyphens between them, at most {LONGEST_SLUG}.",
            field="slug",
        )
    if not name or len(name) > LONGEST_NAME:
        raise InvalidInput(f"Name the organization, in at most {LONGEST_NAME} characters.", field="name")
    if organization_by_slug(slug) is not None:
        raise InvalidInput(f"There is an organization with the short name “{slug}” already.", field="slug")
    return ensure_organization(slug, name=name, currency=currency, **details)


def ensure_organization(slug: str, *, name: str, currency: str, **details: Any) -> Organization:
    """The organization with this slug, registered if there is none. Idempotent: an existing one stays as it is.

    Raises InvalidInput for a currency that is none.
    """
    organization = organization_by_slug(slug)
    if organization is None:
        organization = Organization(slug=slug, name=name, currency=require_currency(currency), **details)
        db.session.add(organization)
        db.session.flush()
        audit.record(
            "registered",
            subject="organization",
            subject_id=organization.id,
            organization_id=organization.id,
            after={"slug": slug, "currency": currency},
        )
    return organization


def organization_by_slug(slug: str) -> Organization | None:
    """The organization with this short name, whatever its status; None if there is none."""
    return db.session.scalar(select(Organization).where(Organization.slug == slug))
