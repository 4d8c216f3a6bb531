"""The lock under which an organization's agreement changes and its invoices are finalized, one after the other."""

from collections.abc import Sequence

from sqlalchemy import select

from portal.core.errors import NotFound
from portal.infra.db import among, db
from portal.organizations.models import Organization


def lock_organizations(organization_ids: Sequence[int]) -> None:
    """The same for many, one after the other in the order of their ids; each is fresh from then on."""
    db.session.scalars(
        select(Organization)
        .where(among(Organization.id, organization_ids))
        .order_by(Organization.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()


def lock_organization(organization_id: int) -> Organization:
    """The organization, fresh from the database and locked until the transaction ends. Raises NotFound.

    Whoever asks what is billed already (invoicing.queries.open_from) and then changes the agreement takes this lock
    before asking, or an invoice could become final in between.
    """
    organization: Organization | None = db.session.scalar(
        select(Organization)
        .where(Organization.id == organization_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if organization is None:
        raise NotFound("There is no such organization.")
    return organization
