"""The customer at Stripe that stands for an organization: created once, whatever asks for it first."""

from typing import Any
from uuid import UUID

from portal.infra.db import db
from portal.infra.outbox import Lease
from portal.organizations.models import Organization
from portal.payments import finding, journal


def create_customer(lease: Lease, organization_id: int, public_id: UUID) -> str:
    """Create the organization's customer by its one journalled call, and keep its id. Idempotent; returns the id."""

    def parameters() -> dict[str, Any]:
        organization = db.session.get_one(Organization, organization_id)
        return {
            "name": organization.legal_name or organization.name,
            **({"email": organization.billing_email} if organization.billing_email else {}),
            "metadata": {"organization_id": str(organization.public_id)},
        }

    answer = journal.perform(
        lease,
        "customer",
        subject=public_id,
        organization_id=organization_id,
        invoice_id=None,
        parameters=parameters,
        look_up=finding.customer,
    )
    customer: str = answer["id"]
    with lease.transaction():
        organization = db.session.get_one(Organization, organization_id, with_for_update=True)
        organization.stripe_customer_id = organization.stripe_customer_id or customer
        return organization.stripe_customer_id
