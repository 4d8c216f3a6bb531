"""Voiding at Stripe what has been voided here, also when it is not known yet whether it ever got there."""

from functools import partial
from typing import Any

from portal.core.lifecycle import SyncState
from portal.infra import outbox
from portal.infra.outbox import Lease, RetryLater
from portal.invoicing.queries import lock_invoice
from portal.invoicing.terms import SYNC
from portal.invoicing.voiding import VOID_AT_STRIPE
from portal.payments import finding, gateway, journal


@outbox.handles(VOID_AT_STRIPE)
def void_at_stripe(lease: Lease, *, invoice_id: int) -> None:
    """Void the invoice at Stripe, or delete its draft. Idempotent; waits for a sync that is still under way.

    An invoice whose creating call has no known outcome is looked up there first, so no draft is left behind.
    """
    with lease.transaction():
        invoice = lock_invoice(invoice_id)
        if outbox.is_open(SYNC, str(invoice_id)):
            raise RetryLater("The invoice is still being sent to Stripe; it is voided there afterwards.", seconds=1)
        stripe_id = invoice.stripe_id
        subject: dict[str, Any] = {
            "subject": invoice.public_id,
            "organization_id": invoice.organization_id,
            "invoice_id": invoice.id,
        }
    if stripe_id is None:
        created = journal.outcome_of(lease, "create", subject=subject["subject"], look_up=finding.invoice)
        if created is None:
            _say_it_never_arrived(lease, invoice_id)
            return
        stripe_id = created["id"]
        with lease.transaction():
            lock_invoice(invoice_id).stripe_id = stripe_id
    status = _status_of(stripe_id)
    if status in ("open", "uncollectible"):
        journal.perform(lease, "void", **subject, target=stripe_id, parameters=dict, repeatable=True)
    elif status == "draft":
        journal.perform(lease, "delete", **subject, target=stripe_id, parameters=dict, repeatable=True)
    with lease.transaction():
        invoice = lock_invoice(invoice_id)
        if status == "paid":
            invoice.stripe_status, invoice.sync_state = status, SyncState.MISMATCH
            invoice.sync_message = "It was paid at Stripe before it could be voided there: give the money back."
        else:
            invoice.stripe_status = "deleted" if status in ("draft", "deleted") else "void"


def _status_of(stripe_id: str) -> str:
    """An invoice's status at Stripe; "deleted" for a draft that is gone: the answer to its deletion was lost."""
    try:
        status: str = journal.read_now(partial(gateway.read_invoice, stripe_id))["status"]
    except journal.Gone:
        return "deleted"
    return status


def _say_it_never_arrived(lease: Lease, invoice_id: int) -> None:
    with lease.transaction():
        invoice = lock_invoice(invoice_id)
        if invoice.sync_message is not None:
            invoice.sync_message = "It never reached Stripe, so there is nothing to void there."
