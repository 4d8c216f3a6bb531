"""How an organization's invoices are collected: charged automatically, or sent to be paid."""

from portal.core.errors import InvalidInput
from portal.infra import audit
from portal.infra.db import db
from portal.organizations.locking import lock_organization
from portal.organizations.models import Organization

COLLECTION_METHODS = ("send_invoice", "charge_automatically")


def set_collection_method(organization_id: int, method: str) -> Organization:
    """Set how the invoices that are sent to Stripe from now on are collected. Idempotent.

    Raises InvalidInput for a method that is none, NotFound.
    """
    if method not in COLLECTION_METHODS:
        raise InvalidInput("Invoices are charged automatically or sent.", field="method")
    organization = lock_organization(organization_id)
    before = organization.collection_method
    if method != before:
        organization.collection_method = method
        db.session.flush()
        audit.record(
            "changed how invoices are collected",
            subject="organization",
            subject_id=organization.id,
            organization_id=organization.id,
            before={"collection_method": before},
            after={"collection_method": method},
        )
    return organization
