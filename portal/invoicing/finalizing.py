"""Turning a draft into an invoice that never changes.

The click freezes the figures (draft → scheduled); after the hold window, in which Cancel takes everything back,
the invoice gets its number and its hash (scheduled → finalized) and is handed to the sync. What the rollups hold
beyond the frozen quantities is late usage.
"""

from datetime import datetime

from sqlalchemy import delete

from portal.core.errors import InvalidTransition
from portal.core.lifecycle import InvoiceState
from portal.infra import outbox
from portal.infra.db import db
from portal.invoicing.billed import unfreeze
from portal.invoicing.bulk_finalizing import finish_many
from portal.invoicing.bulk_freezing import Approval, SomeRefused, schedule_many
from portal.invoicing.crediting import give_credit_back
from portal.invoicing.linked_parts import release_parts
from portal.invoicing.models import BalanceEntry, Invoice, InvoiceItem
from portal.invoicing.queries import lock_invoice
from portal.invoicing.terms import FINISH, Terms
from portal.invoicing.trail import record_change


def finalize(
    invoice_id: int, *, fingerprint: str, by: str, now: datetime, terms: Terms, seconded_by: str | None = None
) -> Invoice:
    """Freeze a draft as its fingerprint shows it, and finalize it now or when the hold window has passed.

    Raises what `schedule` raises; nothing is changed then.
    """
    invoice = schedule(invoice_id, fingerprint=fingerprint, by=by, now=now, terms=terms, seconded_by=seconded_by)
    if terms.hold_seconds == 0:
        return finish(invoice_id, now=now, terms=terms)
    outbox.enqueue(
        FINISH,
        dedupe_key=str(invoice.id),
        organization_id=invoice.organization_id,
        run_after=invoice.finalize_at,
        invoice_id=invoice.id,
    )
    return invoice


def schedule(
    invoice_id: int, *, fingerprint: str, by: str, now: datetime, terms: Terms, seconded_by: str | None = None
) -> Invoice:
    """Freeze a draft as its fingerprint shows it. Whoever calls this sees to it that it is finished after its hold.

    Raises NotReady while its month runs or usage has no price, DraftChanged if the figures are no longer those that
    were seen, InvalidTransition (saying by whom and when) if somebody was faster, NeedsSecondPerson if the total is
    large and nobody has approved it (`seconded_by`). Nothing is changed in these cases.
    """
    try:
        return schedule_many({invoice_id: Approval(fingerprint, by, seconded_by)}, now=now, terms=terms)[0]
    except SomeRefused as refused:
        raise refused.reasons[invoice_id] from None


def cancel(invoice_id: int, *, now: datetime) -> Invoice:
    """Take a finalize back within its hold window: the freeze is discarded and the draft lives again. Idempotent.

    Raises InvalidTransition once the invoice is final.
    """
    # First the job, then the invoice: the order in which the job itself takes them.
    outbox.cancel(FINISH, str(invoice_id))
    invoice = lock_invoice(invoice_id)
    if invoice.state == InvoiceState.DRAFT:
        return invoice
    if invoice.state != InvoiceState.SCHEDULED:
        raise InvalidTransition(
            f"Invoice {invoice.number or invoice.month} is {invoice.state}; it is too late to cancel."
        )
    db.session.execute(delete(InvoiceItem).where(InvoiceItem.invoice_id == invoice.id))
    unfreeze(invoice)
    if invoice.balance_applied:
        _move_balance(invoice, invoice.balance_applied, "given back: finalizing was cancelled")
    give_credit_back(invoice, "finalizing was cancelled")
    release_parts(invoice)
    invoice.state = InvoiceState.DRAFT
    invoice.moved = invoice.total = invoice.tax = invoice.credits_applied = invoice.balance_applied = (
        invoice.amount_due
    ) = 0
    invoice.tax_details = invoice.finalize_at = invoice.scheduled_by = invoice.fingerprint = None
    record_change(
        invoice,
        "cancelled finalizing",
        before={"state": "scheduled"},
        after={"state": "draft"},
    )
    return invoice


def finish(invoice_id: int, *, now: datetime, terms: Terms) -> Invoice:
    """Give a frozen invoice its number, date and hash, and hand it to the sync. Idempotent.

    A cancelled one (a draft again) is left alone. An invoice of nothing is settled here and never sent.
    """
    return finish_many([invoice_id], now=now, terms=terms)[0]


def _move_balance(invoice: Invoice, amount: int, reason: str) -> None:
    db.session.add(
        BalanceEntry(organization_id=invoice.organization_id, invoice_id=invoice.id, amount=amount, reason=reason)
    )
