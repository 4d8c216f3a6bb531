"""Registering an organization: the moment from which somebody can be billed."""

from typing import Any

from sqlalchemy import select

from portal.core.currencies import require_currency
from portal.infra import audit
from portal.infra.db import db
from portal.organizations.models import Organization


def ensure_organization(slug: str, *, name: str, currency: str, **details: Any) -> Organization:
    """The organization with this slug, registered if there is none. Idempotent: an existing one stays as it is.

    Raises InvalidInput for a currency that is none.
    """
    organization = db.session.scalar(select(Organization).where(Organization.slug == slug))
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
