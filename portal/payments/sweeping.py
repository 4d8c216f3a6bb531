"""Looking again at invoices that can still be paid, for the webhooks that never came."""

from datetime import datetime, timedelta

from sqlalchemy import func, select

from portal.core.lifecycle import InvoiceState, PaymentState, SyncState
from portal.infra import clock, outbox
from portal.infra.db import db, transaction
from portal.infra.outbox import Lease
from portal.invoicing.models import Invoice
from portal.payments import gateway, journal
from portal.payments.settling import take_over

LOOK_AGAIN = "look_again_at_stripe"
# A payment of what was written off can still arrive.
_WAITING = (
    *(PaymentState.OPEN, PaymentState.PROCESSING, PaymentState.ACTION_REQUIRED, PaymentState.FAILED),
    PaymentState.UNCOLLECTIBLE,
)


def sweep_open_invoices(*, now: datetime, every: timedelta, limit: int = 500) -> int:
    """Have open and written-off invoices re-read at Stripe, spread evenly over the interval; returns how many."""
    with transaction() as session:
        ids = session.execute(
            select(Invoice.id, Invoice.organization_id)
            .where(
                Invoice.state == InvoiceState.FINALIZED,
                Invoice.sync_state == SyncState.SYNCED,
                Invoice.payment_state.in_(_WAITING),
                Invoice.synced_at < now - every,
            )
            .order_by(func.random())
            .limit(limit)
        ).all()
        for position, (invoice_id, organization_id) in enumerate(ids):
            outbox.enqueue(
                LOOK_AGAIN,
                dedupe_key=str(invoice_id),
                organization_id=organization_id,
                run_after=now + every * position / len(ids),
                invoice_id=invoice_id,
            )
    return len(ids)


@outbox.handles(LOOK_AGAIN)
def look_again(lease: Lease, *, invoice_id: int) -> None:
    """Re-read one invoice at Stripe and take over what it says. Idempotent."""
    with lease.transaction():
        stripe_id = db.session.get_one(Invoice, invoice_id).stripe_id
    if stripe_id is None:
        return
    theirs = journal.read_now(lambda: gateway.read_invoice(stripe_id))
    with lease.transaction():
        take_over(invoice_id, theirs, now=clock.now())
