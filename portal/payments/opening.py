"""Opening a page of Stripe's for a customer: to set up a payment method, or to look at those that are kept.

The person waits for the address, so the work is done at once in their request; it is a job all the same, so that
whatever dies at whatever point, the next attempt goes on from there with the same keys.
"""

import logging
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

from flask import current_app

from portal.core.errors import PortalError
from portal.infra import audit, clock, outbox
from portal.infra.db import SYSTEM, acting_as, db, transaction
from portal.infra.outbox import Lease, OutboxJob
from portal.organizations.models import Organization
from portal.payments import gateway, journal
from portal.payments.customers import create_customer

OPEN_PAGE = "open_page_at_stripe"
# Workers leave it to the request that waits for it; should that die, they go on after this time.
LEFT_ALONE_FOR = timedelta(minutes=1)
log = logging.getLogger(__name__)


class Page(StrEnum):
    """A page of Stripe's: to set up a payment method, and the customer's own portal. The values name their calls."""

    SETUP = "open_setup_page"
    PORTAL = "open_customer_portal"


class PageNotOpened(PortalError):
    """Stripe gave no address; nothing was changed, and the sentence says whether to try again."""

    code, status = "stripe_unavailable", 503


def open_page(organization_id: int, page: Page) -> str:
    """The address of a page at Stripe, made for this one visit. Calls Stripe, so not inside a transaction.

    Creates the customer there first, if there is none. Raises PageNotOpened while Stripe does not answer.
    """
    key = f"{organization_id} {page}"
    with acting_as(SYSTEM):
        with transaction():
            outbox.enqueue(
                OPEN_PAGE,
                dedupe_key=key,
                organization_id=organization_id,
                run_after=clock.now() + LEFT_ALONE_FOR,
                customer_of=organization_id,
                in_portal=int(page is Page.PORTAL),
            )
            audit.record(
                page.replace("_", " "),
                subject="organization",
                subject_id=organization_id,
                organization_id=organization_id,
            )
        # A context of its own: the job acts as the system, and under its own name.
        with current_app.app_context():
            outbox_id = outbox.run_now(OPEN_PAGE, key)
        with transaction() as session:
            job = session.get(OutboxJob, outbox_id, populate_existing=True)
            organization = session.get_one(Organization, organization_id)
            answer = journal.answer_to(_subject(organization.public_id, outbox_id or 0), page)
    if answer is None:
        if job is not None and job.dead_at is not None:
            raise PageNotOpened("Stripe did not take this. Nothing was changed; please tell us, so that we mend it.")
        raise PageNotOpened("Stripe does not answer just now. Nothing was changed; try again in a few minutes.")
    address = answer.get("url")
    if not gateway.is_its_page(address):
        log.error("Stripe's answer leads elsewhere", extra={"outbox_id": outbox_id})
        raise PageNotOpened("Stripe's answer does not lead to Stripe, so it is not followed. Nothing was changed.")
    return str(address)


@outbox.handles(OPEN_PAGE)
def ask_for_page(lease: Lease, *, customer_of: int, in_portal: int) -> None:
    """Ask Stripe for the page of one organization. Idempotent: its calls are journalled under this one job."""
    page = Page.PORTAL if in_portal else Page.SETUP
    with lease.transaction() as session:
        organization = session.get_one(Organization, customer_of)
        public_id, customer = organization.public_id, organization.stripe_customer_id
    customer = customer or create_customer(lease, customer_of, public_id)
    parameters = {Page.SETUP: _setup, Page.PORTAL: _portal}[page]
    journal.perform(
        lease,
        page,
        subject=_subject(public_id, lease.outbox_id),
        organization_id=customer_of,
        invoice_id=None,
        parameters=lambda: parameters(customer, db.session.get_one(Organization, customer_of)),
        # A page that nobody sees does no harm; it ends by itself.
        repeatable=True,
    )


def _subject(organization: UUID, outbox_id: int) -> UUID:
    return uuid5(organization, f"page {outbox_id}")


def _setup(customer: str, organization: Organization) -> dict[str, Any]:
    here = f"{current_app.config['SETTINGS'].portal_url}/payment"
    return {
        "mode": "setup",
        "customer": customer,
        "currency": organization.currency.lower(),
        "success_url": f"{here}?back=kept",
        "cancel_url": f"{here}?back=cancelled",
        "metadata": {"organization_id": str(organization.public_id)},
    }


def _portal(customer: str, _: Organization) -> dict[str, Any]:
    return {"customer": customer, "return_url": f"{current_app.config['SETTINGS'].portal_url}/payment?back=portal"}
