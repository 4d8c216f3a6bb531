"""A month with as many organizations as are wanted: one month closed in bulk, the last one in review, some of it odd.

Everything is made by the portal's own verbs, many organizations at a time. Idempotent, a step at a time.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from portal.core.lifecycle import InvoiceState, PaymentState
from portal.core.periods import Month
from portal.infra.db import transaction
from portal.invoicing.bulk_finalizing import finish_many
from portal.invoicing.bulk_freezing import Approval, schedule_many
from portal.invoicing.drafting import drafts_of
from portal.organizations.models import Organization
from portal.organizations.registering import ensure_organization
from portal.seeding import history, oddities
from portal.seeding.cast import Customer, Oddity, big_month_customers
from portal.seeding.reporting import Heard, events_of_slot, heard_at, ingest_heard, reader_for
from portal.seeding.usage_stream import slots

AT_ONCE = 250
# Of usage that nobody looks at hour by hour, a few events are enough.
HOURS_OF_SLOTS = 120


def make(count: int, anomalies: int, *, seed: int, closing: history.Closing) -> int:
    """Make `count` organizations, the first `anomalies` of them odd; returns how many invoices were closed now."""
    last = Month.of(closing.today).previous
    closed = 0
    everybody = big_month_customers(count, anomalies)
    for start in range(0, count, AT_ONCE):
        customers = everybody[start : start + AT_ONCE]
        organizations = _register(customers, last)
        pairs = list(zip(customers, organizations, strict=True))
        known = {organization.slug: organization.id for organization in organizations}
        reader = reader_for(closing.today, organizations=known)
        for month in (last.previous, last):
            ingest_heard(reader, _events(customers, month, closing.today, seed))
            if month != last:
                closed += _close([each for customer, each in pairs if customer.months != 1], month, closing)
        for customer, organization in pairs:
            oddities.report_late(customer, organization, last, seed=seed)
            with transaction():
                history.open_as_of(organization, last)
            oddities.add_items(customer, organization, last)
    return closed


def _register(customers: Sequence[Customer], last: Month) -> list[Organization]:
    organizations = []
    with transaction():
        for customer in customers:
            organization = ensure_organization(
                customer.slug,
                name=customer.name,
                currency=customer.currency,
                legal_name=f"{customer.name}, Inc.",
                address=customer.address,
                billing_email=f"billing@{customer.slug}.example",
                stripe_customer_id=customer.id_at_stripe,
                created_at=last.previous.start,
                **oddities.details_of(customer),
            )
            oddities.change_price(customer, organization, last)
            organizations.append(organization)
    return organizations


def _events(customers: Sequence[Customer], month: Month, now: datetime, seed: int) -> Iterator[Heard]:
    """A month's usage of many organizations, each event naming its own."""
    last = Month.of(now).previous
    for customer in customers:
        if customer.months == 1 and month != last:
            continue
        hours = 1 if customer.oddity is Oddity.GAP else HOURS_OF_SLOTS
        for slot in slots(month, until=now, hours=hours):
            for event in events_of_slot(customer, slot, month_index=0, seed=seed, last=last):
                yield heard_at(customer, slot, now), event | {"organization": customer.slug}


def _close(organizations: Sequence[Organization], month: Month, closing: history.Closing) -> int:
    """Finalize a month's drafts together and settle the invoices as paid; those that are final stay as they are.

    Who has something without a price waits for somebody, as with any month.
    """
    when = month.end + timedelta(hours=closing.settings.grace_hours + 9)
    with transaction():
        invoices = [history.open_as_of(organization, month) for organization in organizations]
        drafts = drafts_of(organizations, month, frozen={})
        approved = {
            invoice.id: Approval(drafts[invoice.organization_id].fingerprint, history.BY)
            for invoice in invoices
            if invoice.state == InvoiceState.DRAFT and not drafts[invoice.organization_id].blockers
        }
        if approved:
            schedule_many(approved, now=when, terms=closing.terms)
            finish_many(list(approved), now=when, terms=closing.terms)
            for invoice_id in approved:
                history.forget_jobs(invoice_id)
                history.settle(invoice_id, PaymentState.PAID, when + timedelta(days=6), closing.settings)
    return len(approved)
