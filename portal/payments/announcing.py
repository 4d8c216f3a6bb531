"""Having people told how a payment went, as Stripe says it."""

from typing import Any

from portal.core.lifecycle import PaymentState
from portal.infra import outbox
from portal.invoicing.announcing import announce_failed_payment, announce_paid
from portal.invoicing.models import Invoice

REFUNDED = "mail_refund"
DISPUTED = "mail_dispute"
_PAYMENT_WANTED = (PaymentState.FAILED, PaymentState.ACTION_REQUIRED)
_ATTEMPT_EVENTS = ("invoice.payment_failed", "invoice.payment_action_required")


def announce_payment(invoice: Invoice, theirs: dict[str, Any], before: str, event_type: str | None) -> None:
    """Have a receipt mailed when the state moved to paid, and every attempt that failed; each is mailed once.

    A reading that nothing has come of, as the sweeper makes many, says nothing.
    """
    state = PaymentState(invoice.payment_state)
    moved = state != before
    if state is PaymentState.PAID and moved:
        announce_paid(invoice)
    elif state in _PAYMENT_WANTED and (moved or event_type in _ATTEMPT_EVENTS):
        announce_failed_payment(
            invoice,
            attempt=theirs.get("attempt_count") or 1,
            next_attempt_at=theirs.get("next_payment_attempt") or 0,
        )


def announce_refund(invoice: Invoice, refund_id: int) -> None:
    """Have it mailed to the customer that money has gone back."""
    outbox.enqueue(REFUNDED, dedupe_key=str(refund_id), organization_id=invoice.organization_id, refund_id=refund_id)


def announce_dispute(invoice: Invoice, dispute_id: int) -> None:
    """Have it mailed to staff that a bank wants an answer."""
    outbox.enqueue(DISPUTED, dedupe_key=str(dispute_id), organization_id=invoice.organization_id, dispute_id=dispute_id)
