"""Voiding: an invoice that should not have been is declared void; the number stays, the reason is kept."""

from datetime import datetime

from portal.core.errors import InvalidInput, InvalidTransition
from portal.core.lifecycle import InvoiceState, PaymentState
from portal.infra import outbox
from portal.infra.db import db
from portal.invoicing.billed import unfreeze
from portal.invoicing.crediting import give_credit_back
from portal.invoicing.drafting import balance_of
from portal.invoicing.models import BalanceEntry, Invoice
from portal.invoicing.queries import lock_invoice, open_draft
from portal.invoicing.trail import record_change
from portal.organizations.locking import lock_organization

VOID_AT_STRIPE = "void_at_stripe"


def void_invoice(invoice_id: int, *, reason: str, now: datetime) -> Invoice:
    """Void a finalized invoice that has not been paid, here and at Stripe, and open its month anew. Idempotent.

    Raises InvalidInput without a reason, InvalidTransition for a draft or for a paid invoice (credit it instead).
    """
    invoice = lock_invoice(invoice_id)
    if invoice.state == InvoiceState.VOID:
        return invoice
    if not reason.strip():
        raise InvalidInput("Say why the invoice is void; the reason is kept in the audit log.", field="reason")
    if invoice.state != InvoiceState.FINALIZED:
        raise InvalidTransition(f"The invoice of {invoice.month} is {invoice.state}; only a final one is voided.")
    if invoice.amount_paid or (invoice.payment_state == PaymentState.PAID and invoice.amount_due):
        raise InvalidTransition(f"Invoice {invoice.number} is paid; a paid invoice is credited, not voided.")
    given_back = invoice.balance_applied + min(invoice.total, 0)
    if given_back < 0:
        lock_organization(invoice.organization_id)
        if balance_of(invoice.organization_id) + given_back < 0:
            raise InvalidTransition(
                f"The credit of invoice {invoice.number} has been used on a later invoice; void that one first."
            )
    invoice.state = InvoiceState.VOID
    invoice.voided_at = now
    invoice.void_reason = reason.strip()
    if given_back:
        db.session.add(
            BalanceEntry(
                organization_id=invoice.organization_id,
                invoice_id=invoice.id,
                amount=given_back,
                reason="given back: the invoice was voided",
            )
        )
    give_credit_back(invoice, "the invoice was voided")
    unfreeze(invoice)
    if invoice.amount_due:
        outbox.enqueue(
            VOID_AT_STRIPE,
            dedupe_key=str(invoice.id),
            organization_id=invoice.organization_id,
            invoice_id=invoice.id,
        )
    record_change(
        invoice,
        "voided",
        before={"state": "finalized"},
        after={"state": "void"},
        reason=reason.strip(),
    )
    db.session.flush()
    # The month's usage is unbilled again: its draft lives on at once. One-off items stay with the void invoice.
    open_draft(invoice.organization, invoice.month)
    return invoice
