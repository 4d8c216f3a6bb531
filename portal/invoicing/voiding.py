"""Voiding: an invoice that should not have been is declared void; the number stays, the reason is kept.

Its month lives on as a draft that replaces it; issuing it anew puts the one-off items of the void one on it as well.
"""

from datetime import datetime
from uuid import uuid5

from portal.core.errors import InvalidInput, InvalidTransition
from portal.core.lifecycle import InvoiceState, PaymentState
from portal.infra import outbox
from portal.infra.db import db
from portal.invoicing.announcing import announce_voided
from portal.invoicing.billed import unfreeze
from portal.invoicing.credit_note_models import InvoiceReplacement
from portal.invoicing.credit_note_queries import notes_on, replacement_of
from portal.invoicing.crediting import give_credit_back
from portal.invoicing.draft_facts import balance_of
from portal.invoicing.linked_parts import release_parts, require_unbilled
from portal.invoicing.models import BalanceEntry, Invoice
from portal.invoicing.month_totals import Totals, count_document
from portal.invoicing.one_off_items import add_item
from portal.invoicing.queries import lock_invoice, one_off_items_on, open_draft
from portal.invoicing.trail import record_change
from portal.organizations.locking import lock_organization

VOID_AT_STRIPE = "void_at_stripe"


def void_invoice(invoice_id: int, *, reason: str, now: datetime) -> Invoice:
    """Void a finalized invoice that has not been paid, here and at Stripe, and open its month anew. Idempotent.

    Raises InvalidInput without a reason, InvalidTransition for a draft, for an invoice that is paid or credited in
    part (credit the rest instead), and for one whose amount is on its payer's invoice.
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
    if notes_on(invoice.id):
        raise InvalidTransition(f"Invoice {invoice.number} has credit notes; credit what is left instead of voiding.")
    require_unbilled(invoice)
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
    release_parts(invoice)
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
    draft = open_draft(invoice.organization, invoice.month)
    db.session.add(
        InvoiceReplacement(invoice_id=draft.id, replaces_id=invoice.id, organization_id=invoice.organization_id)
    )
    count_document(invoice, -Totals.of(invoice))
    announce_voided(invoice)
    return invoice


def reissue_invoice(invoice_id: int, *, reason: str, now: datetime) -> Invoice:
    """Void an invoice and put its one-off items on the draft that replaces it; returns that draft. Idempotent.

    Raises what voiding raises, and InvalidTransition if the replacement is not a draft any more.
    """
    invoice = void_invoice(invoice_id, reason=reason, now=now)
    draft = replacement_of(invoice.id)
    if draft is None:
        raise InvalidTransition(f"Invoice {invoice.number} was voided before invoices were replaced.")
    for item in one_off_items_on(invoice.id):
        add_item(
            draft.id,
            kind=item.kind,
            description=item.description,
            quantity=item.quantity,
            unit_amount=item.unit_amount,
            service_period=item.service_period,
            product=item.product,
            tax_code=item.tax_code,
            internal_reason=item.internal_reason,
            # The same for every try, so that an item moves once.
            form_token=uuid5(item.public_id, str(draft.public_id)),
            created_by_id=item.created_by_id,
        )
    return draft
