"""Voiding: an invoice that should not have been is declared void; the number stays, the reason is kept."""

from datetime import datetime

from portal.core.errors import InvalidInput, InvalidTransition
from portal.core.lifecycle import InvoiceState, PaymentState, require_move
from portal.infra import audit, outbox
from portal.infra.db import db
from portal.invoicing.models import BalanceEntry, Invoice
from portal.invoicing.queries import lock_invoice

VOID_AT_STRIPE = "void_at_stripe"


def void_invoice(invoice_id: int, *, reason: str, now: datetime) -> Invoice:
    """Void a finalized invoice that has not been paid, here and at Stripe. Idempotent.

    Raises InvalidInput without a reason, InvalidTransition for a draft or for a paid invoice (credit it instead).
    """
    invoice = lock_invoice(invoice_id)
    if invoice.state == InvoiceState.VOID:
        return invoice
    if not reason.strip():
        raise InvalidInput("Say why the invoice is void; the reason is kept in the audit log.", field="reason")
    require_move(InvoiceState(invoice.state), InvoiceState.VOID, what=f"Invoice {invoice.number or invoice.month}")
    if invoice.amount_paid or (invoice.payment_state == PaymentState.PAID and invoice.amount_due):
        raise InvalidTransition(f"Invoice {invoice.number} is paid; a paid invoice is credited, not voided.")
    invoice.state = InvoiceState.VOID
    invoice.voided_at = now
    invoice.void_reason = reason.strip()
    given_back = invoice.balance_applied + min(invoice.total, 0)
    if given_back:
        db.session.add(
            BalanceEntry(
                organization_id=invoice.organization_id,
                invoice_id=invoice.id,
                amount=given_back,
                reason="given back: the invoice was voided",
            )
        )
    if invoice.amount_due:
        outbox.enqueue(
            VOID_AT_STRIPE,
            dedupe_key=str(invoice.id),
            organization_id=invoice.organization_id,
            invoice_id=invoice.id,
        )
    audit.record(
        "voided",
        subject="invoice",
        subject_id=invoice.id,
        organization_id=invoice.organization_id,
        before={"state": "finalized"},
        after={"state": "void"},
        reason=reason.strip(),
    )
    return invoice
