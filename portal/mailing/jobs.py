"""What happened to a document becomes a mail, if it is still true and somebody is to hear of it."""

from datetime import UTC, datetime, timedelta

from portal.core.lifecycle import InvoiceState, PaymentState
from portal.infra import clock, outbox
from portal.infra.db import db
from portal.infra.languages import speaking
from portal.infra.outbox import Lease, RetryLater
from portal.invoicing import announcing
from portal.invoicing.credit_note_models import CreditNote
from portal.invoicing.credit_note_queries import lowered_by, notes_on
from portal.invoicing.queries import lock_invoice
from portal.mailing.facts import credit_facts, dispute_facts, refund_facts
from portal.mailing.models import MailKind, MailState
from portal.mailing.queries import mails_with
from portal.mailing.writing import settings_now, write
from portal.payments.announcing import DISPUTED, REFUNDED
from portal.payments.reversal_models import Dispute, Refund

WAIT_SECONDS = 30
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@outbox.handles(announcing.ISSUED)
def write_issued(lease: Lease, *, invoice_id: int) -> None:
    """Write of a final invoice. Idempotent; nothing if it was voided meanwhile."""
    with lease.transaction():
        invoice = lock_invoice(invoice_id)
        if invoice.state == InvoiceState.FINALIZED:
            write(MailKind.ISSUED, invoice, key=f"issued:{invoice.id}", now=clock.now())


@outbox.handles(announcing.RECEIPT)
def write_receipt(lease: Lease, *, invoice_id: int) -> None:
    """Write that a payment came. Idempotent; nothing if credit notes, not the customer, paid all of it."""
    with lease.transaction():
        invoice = lock_invoice(invoice_id)
        if invoice.payment_state == PaymentState.PAID and invoice.amount_paid > lowered_by(notes_on(invoice.id)):
            write(MailKind.RECEIPT, invoice, key=f"receipt:{invoice.id}", now=clock.now())


@outbox.handles(announcing.FAILED_PAYMENT)
def write_failed_payment(lease: Lease, *, invoice_id: int, attempt: int, next_attempt_at: int) -> None:
    """Write that an attempt to pay failed, once for each. Idempotent; nothing if it is paid or void by now."""
    with lease.transaction():
        invoice = lock_invoice(invoice_id)
        state = invoice.payment_state
        if invoice.state == InvoiceState.FINALIZED and state in (PaymentState.FAILED, PaymentState.ACTION_REQUIRED):
            write(
                MailKind.FAILED_PAYMENT,
                invoice,
                key=f"failed_payment:{invoice.id}:{attempt}",
                now=clock.now(),
                wants_confirmation=state == PaymentState.ACTION_REQUIRED,
                next_attempt_at=_EPOCH + timedelta(seconds=next_attempt_at) if next_attempt_at else None,
            )


@outbox.handles(announcing.VOIDED)
def write_voided(lease: Lease, *, invoice_id: int) -> None:
    """Write that an invoice is void, if it was mailed. Idempotent; waits for a mail of it that may be on its way."""
    with lease.transaction():
        invoice = lock_invoice(invoice_id)
        if mails_with(invoice.id, MailKind.ISSUED, MailState.SENT):
            write(MailKind.VOIDED, invoice, key=f"voided:{invoice.id}", now=clock.now())
            return
        waits = mails_with(invoice.id, MailKind.ISSUED, MailState.QUEUED)
    if waits:
        raise RetryLater("The mail of the invoice may be on its way; this waits for it.", seconds=WAIT_SECONDS)


@outbox.handles(announcing.CREDITED)
def write_credited(lease: Lease, *, credit_note_id: int) -> None:
    """Write of a credit note. Idempotent."""
    with lease.transaction():
        note = db.session.get_one(CreditNote, credit_note_id, populate_existing=True)
        invoice = lock_invoice(note.invoice_id)
        with speaking(invoice.organization.language):
            more = credit_facts(note, settings_now())
        write(MailKind.CREDITED, invoice, key=f"credited:{note.id}", now=clock.now(), **more)


@outbox.handles(REFUNDED)
def write_refunded(lease: Lease, *, refund_id: int) -> None:
    """Write to the customer that money has gone back. Idempotent; nothing if the bank has returned it meanwhile."""
    with lease.transaction():
        refund = db.session.get_one(Refund, refund_id, populate_existing=True)
        invoice = lock_invoice(refund.invoice_id)
        if refund.state == "succeeded":
            with speaking(invoice.organization.language):
                more = refund_facts(refund, invoice)
            write(MailKind.REFUNDED, invoice, key=f"refunded:{refund.id}", now=clock.now(), **more)


@outbox.handles(DISPUTED)
def write_disputed(lease: Lease, *, dispute_id: int) -> None:
    """Write to staff that a bank wants an answer. Idempotent; nothing once the bank has decided."""
    with lease.transaction():
        dispute = db.session.get_one(Dispute, dispute_id, populate_existing=True)
        invoice = lock_invoice(dispute.invoice_id)
        if dispute.is_open:
            more = dispute_facts(dispute, invoice, settings_now())
            write(MailKind.DISPUTED, invoice, key=f"disputed:{dispute.id}", now=clock.now(), **more)
