"""Doing something about a difference, where that is legal: sending again, voiding again, or looking at Stripe again.

What a final invoice says cannot be pushed: it does not change, there or here.
"""

from enum import StrEnum
from functools import partial
from uuid import UUID

from sqlalchemy import or_

from portal.core.errors import InvalidTransition
from portal.core.lifecycle import InvoiceState, SyncState
from portal.infra import clock, outbox
from portal.infra.db import db
from portal.infra.outbox import Lease
from portal.invoicing.models import Invoice
from portal.invoicing.queries import lock_invoice
from portal.invoicing.voiding import VOID_AT_STRIPE
from portal.payments import drift, gateway
from portal.payments.comparing import read_theirs
from portal.payments.drift_models import Drift, DriftState, Field
from portal.payments.journal import read_now
from portal.payments.matching import adopt_forgotten, compare, compare_missing, load
from portal.payments.settling import take_over

LOOK_AT_DIFFERENCE = "look_at_difference"
_STOPPED = (SyncState.DEAD, SyncState.MISMATCH, SyncState.PENDING)
_FINAL = (
    "Stripe's invoice is final, and what a final invoice says cannot be changed, there or here."
    " Void or credit it and issue it anew, or accept the difference."
)
_REFUSALS = {
    Field.CURRENCY: _FINAL,
    Field.TOTAL: _FINAL,
    Field.LINES: _FINAL,
    Field.CUSTOMER: "Whom an invoice at Stripe asks cannot be changed. Void it and issue it anew, or accept this.",
    Field.DUPLICATE_CUSTOMER: "Delete one of the two customers at Stripe; the next comparison sees it.",
    Field.UNMANAGED: "This invoice is not ours, so the portal never touches it. Ignore it, with the reason.",
}


class Way(StrEnum):
    """What pushing a difference does."""

    SYNC_AGAIN = "The invoice is sent to Stripe again. Steps that Stripe has answered are not repeated."
    VOID_AGAIN = "The invoice is voided at Stripe again, as it is here."
    LOOK_AGAIN = "The invoice is read at Stripe again, and what may be taken over is."


def way_of(row: Drift) -> Way:
    """What pushing this difference would do. Raises InvalidTransition, in a sentence, where nothing is legal."""
    if row.state == DriftState.GONE:
        raise InvalidTransition("The difference is gone by itself; there is nothing to push.")
    invoice = row.invoice
    stopped = invoice is not None and invoice.state == InvoiceState.FINALIZED and invoice.sync_state in _STOPPED
    if row.field in (Field.UNADOPTED, Field.DUPLICATE):
        return Way.LOOK_AGAIN
    if row.field == Field.EXISTENCE:
        if not stopped or row.stripe_id is not None:
            raise InvalidTransition(
                "Stripe has this invoice no more, and it is never made anew in silence."
                " Void it here and issue it anew, or accept the difference."
            )
        return Way.SYNC_AGAIN
    if invoice is not None and row.field in (Field.STATUS, Field.PAYMENT):
        if invoice.state != InvoiceState.VOID:
            return Way.LOOK_AGAIN
        if row.theirs == "paid":
            raise InvalidTransition("It was paid at Stripe before it could be voided there: give the money back.")
        return Way.VOID_AGAIN
    is_draft_there = invoice is not None and invoice.stripe_status in (None, "draft")
    if row.field in (Field.CURRENCY, Field.TOTAL, Field.LINES) and stopped and is_draft_there:
        return Way.SYNC_AGAIN
    raise InvalidTransition(_REFUSALS[row.field])


def push(public_id: UUID, *, by: str) -> Way:
    """Mark a difference as pushed and queue what is to be done, in the current transaction. Idempotent.

    Sending again (`SYNC_AGAIN`) is left to the caller, before this. Raises NotFound and what `way_of` raises.
    """
    row = drift.lock_difference(public_id)
    way = way_of(row)
    if way is Way.LOOK_AGAIN:
        outbox.enqueue(LOOK_AT_DIFFERENCE, dedupe_key=str(row.id), organization_id=row.organization_id, drift_id=row.id)
    elif way is Way.VOID_AGAIN:
        assert row.invoice_id is not None
        outbox.enqueue(
            VOID_AT_STRIPE,
            dedupe_key=str(row.invoice_id),
            organization_id=row.organization_id,
            invoice_id=row.invoice_id,
        )
    drift.mark_pushed(public_id, by=by, now=clock.now())
    return way


@outbox.handles(LOOK_AT_DIFFERENCE)
def look_at_difference(lease: Lease, *, drift_id: int) -> None:
    """Read one invoice at Stripe again: adopt or take over what is legal, then compare anew. Idempotent."""
    with lease.transaction():
        row = db.session.get_one(Drift, drift_id, populate_existing=True)
        stripe_id, invoice_id = row.stripe_id, row.invoice_id
    document = None if stripe_id is None else read_now(partial(gateway.find_invoice, stripe_id))
    theirs = [] if document is None else [read_theirs(document)]
    adopt_forgotten(theirs, within=lease.transaction)
    with lease.transaction():
        now = clock.now()
        if document is not None and invoice_id is not None:
            invoice = lock_invoice(invoice_id)
            if invoice.state == InvoiceState.FINALIZED and invoice.stripe_id == stripe_id:
                take_over(invoice_id, document, now=now)
                db.session.flush()
        compare(theirs, now=now)
        if document is None and invoice_id is not None:
            compare_missing(load(Invoice.id == invoice_id), now=now)
        # What is missing at Stripe has no id there.
        nameless = (Drift.invoice_id == invoice_id) & Drift.stripe_id.is_(None)
        drift.close(or_(Drift.stripe_id == stripe_id, nameless), now=now)
