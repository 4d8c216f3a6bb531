"""The month's story, readable from top to bottom; called by the clock, the admin pages and the commands.

usage comes in            usage.ingesting          (API, files)
the month has a draft     open_drafts              (clock, daily)
somebody finalizes it     finalize_draft           (admin page, command)
the hold window ends      invoicing.jobs           (worker, outbox)
Stripe gets the invoice   payments.syncing         (worker, outbox)
Stripe says it is paid    payments.receiving       (webhook, or the sweeper if it is lost)
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text

from portal.config import Settings
from portal.core.errors import InvalidTransition
from portal.core.lifecycle import InvoiceState, SyncState, require_move
from portal.core.periods import Month
from portal.infra import outbox
from portal.infra.db import transaction
from portal.invoicing.finalizing import finalize
from portal.invoicing.jobs import terms_of
from portal.invoicing.linked_drafts import whole_draft_of
from portal.invoicing.models import Invoice
from portal.invoicing.queries import invoice_of, lock_invoice
from portal.invoicing.terms import SYNC
from portal.invoicing.trail import record_change

_OPEN_DRAFTS = text("""
    INSERT INTO invoices (public_id, organization_id, period_start, period_end, currency)
    SELECT gen_random_uuid(), wanted.organization_id, wanted.month, wanted.month + interval '1 month', wanted.currency
    FROM (SELECT id AS organization_id, CAST(:start AS date) AS month, currency FROM organizations
          WHERE status = 'active'
          UNION
          SELECT organizations.id, late_months.month, currency
          FROM late_months JOIN organizations ON organizations.id = late_months.organization_id
          WHERE late_months.month < :start) AS wanted
    WHERE NOT EXISTS (SELECT FROM invoices
                      WHERE invoices.organization_id = wanted.organization_id AND invoices.period_start = wanted.month
                        AND invoices.kind = 'monthly' AND invoices.state <> 'void')
    ON CONFLICT DO NOTHING RETURNING id
""")


def open_drafts(month: Month) -> int:
    """Give every active organization its draft of a month, and of earlier ones whose usage came before any invoice.

    Idempotent; returns how many are new.
    """
    with transaction() as session:
        return len(session.execute(_OPEN_DRAFTS, {"start": month.first_day}).all())


def finalize_draft(public_id: UUID, *, fingerprint: str, by: str, now: datetime, settings: Settings) -> Invoice:
    """Freeze a draft as it was seen; after the hold window it becomes final and is sent to Stripe by a worker."""
    with transaction():
        invoice_id = invoice_of(public_id).id
        return finalize(invoice_id, fingerprint=fingerprint, by=by, now=now, terms=terms_of(settings))


def finalize_as_it_stands(invoice_id: int, *, by: str, now: datetime, settings: Settings) -> Invoice:
    """Finalize a draft with the figures that it has now: for commands, where nobody has looked at a page."""
    with transaction():
        invoice = lock_invoice(invoice_id)
        fingerprint = whole_draft_of(invoice.organization, invoice.month).fingerprint
        return finalize(invoice_id, fingerprint=fingerprint, by=by, now=now, terms=terms_of(settings))


def sync_again(invoice_id: int) -> None:
    """Send an invoice to Stripe once more after somebody has repaired what stopped it. Idempotent.

    Steps that Stripe has answered are not repeated. Raises InvalidTransition unless the sync has stopped.
    """
    with transaction():
        invoice = lock_invoice(invoice_id)
        if invoice.state != InvoiceState.FINALIZED:
            raise InvalidTransition(f"The invoice of {invoice.month} is {invoice.state}; only final ones are sent.")
        # Pending with nobody at it: its job died of something that was not Stripe's answer.
        forgotten = invoice.sync_state == SyncState.PENDING and not outbox.is_open(SYNC, str(invoice.id))
        if not forgotten:
            require_move(SyncState(invoice.sync_state), SyncState.PENDING, what=f"The sync of {invoice.number}")
        invoice.sync_state = SyncState.PENDING
        invoice.sync_message = None
        outbox.enqueue(SYNC, dedupe_key=str(invoice.id), organization_id=invoice.organization_id, invoice_id=invoice.id)
        record_change(
            invoice,
            "asked to sync again",
        )


def finalizable_from(month: Month, settings: Settings) -> datetime:
    """When the clock counts a month as complete: its end and the grace time in which late usage still lands."""
    return month.end + timedelta(hours=settings.grace_hours)
