"""Writing an invoice off: nobody expects its payment any more. Only a payment that comes after all takes it back."""

from portal.core.errors import InvalidInput, InvalidTransition
from portal.core.lifecycle import InvoiceState, PaymentState, require_move
from portal.infra import outbox
from portal.infra.db import db
from portal.invoicing.credit_note_queries import lowered_by, notes_on
from portal.invoicing.models import Invoice
from portal.invoicing.queries import lock_invoice
from portal.invoicing.trail import record_change

WRITE_OFF_AT_STRIPE = "write_off_at_stripe"


def write_off(invoice_id: int, *, reason: str) -> Invoice:
    """Mark an open invoice as uncollectible, here and at Stripe. Asked again, it only makes sure that Stripe knows.

    Raises InvalidInput without a reason, InvalidTransition unless a payment of it is expected.
    """
    invoice = lock_invoice(invoice_id)
    before = PaymentState(invoice.payment_state)
    if not reason.strip():
        raise InvalidInput("Say why the invoice is written off; the reason is kept in the audit log.", field="reason")
    if invoice.state != InvoiceState.FINALIZED:
        raise InvalidTransition(f"The invoice of {invoice.month} is {invoice.state}; only a final one is written off.")
    if before is not PaymentState.UNCOLLECTIBLE:
        if invoice.amount_due == lowered_by(notes_on(invoice.id)):
            raise InvalidTransition(f"Credit notes took all of {invoice.number} off; there is nothing to write off.")
        require_move(before, PaymentState.UNCOLLECTIBLE, what=f"The payment of {invoice.number}")
        invoice.payment_state = PaymentState.UNCOLLECTIBLE
        invoice.payment_message = None
        record_change(
            invoice,
            "written off",
            before={"payment_state": before.value},
            after={"payment_state": "uncollectible"},
            reason=reason.strip(),
        )
    if invoice.stripe_status != PaymentState.UNCOLLECTIBLE:
        outbox.enqueue(
            WRITE_OFF_AT_STRIPE,
            dedupe_key=str(invoice.id),
            organization_id=invoice.organization_id,
            invoice_id=invoice.id,
        )
    db.session.flush()
    return invoice
