"""Reminders of unpaid invoices, before and after their due date, from the state of the database alone.

A schedule is days from the due date, in order: -3 is three days before. Only the last step whose day has come counts,
so after a pause nobody gets all that was missed; and each step of an invoice is written once.
"""

from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Date, String, cast, exists, func, literal, select, text

from portal.core.lifecycle import InvoiceState, SyncState
from portal.infra import clock, outbox
from portal.infra.db import db, transaction
from portal.infra.outbox import Lease
from portal.invoicing.credit_note_models import CreditNote
from portal.invoicing.models import Invoice
from portal.invoicing.queries import lock_invoice
from portal.mailing.models import Mail, MailKind
from portal.mailing.writing import SEND, write
from portal.organizations.models import Organization
from portal.standing import PAYABLE, is_payable

REMIND = "mail_reminder"
# A step that is longer ago than this is not caught up on: it would come out of the blue.
CAUGHT_UP_DAYS = 30
MOST_AT_ONCE = 500


def remind_by_clock(*, now: datetime, schedule: tuple[int, ...]) -> int:
    """Queue a reminder of every invoice whose step has come; returns how many. Idempotent.

    A step is left out if its day was over before the invoice could be paid, and before the due date where Stripe
    collects by itself.
    """
    today = now.astimezone(UTC).date()
    with transaction():
        _close_forgotten()
        count = 0
        for step, following in zip(schedule, (*schedule[1:], None), strict=False):
            for invoice_id, organization_id in _due_for(step, following, today):
                count += 1
                outbox.enqueue(
                    REMIND,
                    dedupe_key=f"{invoice_id}:{step}",
                    organization_id=organization_id,
                    invoice_id=invoice_id,
                    step=step,
                )
    return count


@outbox.handles(REMIND)
def write_reminder(lease: Lease, *, invoice_id: int, step: int) -> None:
    """Write one reminder. Idempotent; nothing if it was paid meanwhile."""
    with lease.transaction():
        invoice = lock_invoice(invoice_id)
        if is_payable(invoice):
            write(MailKind.REMINDER, invoice, key=_key(invoice_id, step), now=clock.now())


def _key(invoice_id: int, step: int) -> str:
    return f"reminder:{invoice_id}:{step}"


def _due_for(step: int, following: int | None, today: date) -> list[tuple[int, int]]:
    """Unpaid invoices of which this is the last step that has come, and that were not reminded at it."""
    oldest = today - timedelta(days=min(step + CAUGHT_UP_DAYS, following if following is not None else 10**4))
    credited = select(func.coalesce(func.sum(CreditNote.off_due - CreditNote.overpaid), 0))
    key = literal("reminder:") + cast(Invoice.id, String) + literal(f":{step}")
    query = (
        select(Invoice.id, Invoice.organization_id)
        .join(Organization, Organization.id == Invoice.organization_id)
        .where(
            Invoice.state == InvoiceState.FINALIZED,
            Invoice.payment_state.in_(PAYABLE),
            Invoice.sync_state == SyncState.SYNCED,
            Invoice.due_date <= today - timedelta(days=step),
            Invoice.due_date > oldest,
            cast(func.timezone("UTC", Invoice.synced_at), Date) < Invoice.due_date + step,
            Invoice.amount_due > credited.where(CreditNote.invoice_id == Invoice.id).scalar_subquery(),
            ~exists().where(Mail.organization_id == Invoice.organization_id, Mail.dedupe_key == key),
        )
        .order_by(Invoice.due_date, Invoice.id)
        .limit(MOST_AT_ONCE)
    )
    if step < 0:
        query = query.where(Organization.collection_method == "send_invoice")
    return [(row[0], row[1]) for row in db.session.execute(query)]


def _close_forgotten() -> None:
    """A mail whose job has died (its process was killed at every try) waits for nobody any more."""
    db.session.execute(
        text(
            "UPDATE mails SET state = 'failed', last_error = 'The job that sends it has died.' WHERE state = 'queued'"
            " AND NOT EXISTS (SELECT FROM outbox WHERE kind = :kind AND dedupe_key = mails.id::text"
            " AND finished_at IS NULL AND dead_at IS NULL)"
        ),
        {"kind": SEND},
    )
