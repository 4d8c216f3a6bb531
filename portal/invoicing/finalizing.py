"""Turning a draft into an invoice that never changes.

The click freezes the figures (draft → scheduled); after the hold window, in which Cancel takes everything back,
the invoice gets its number and its hash (scheduled → finalized) and is handed to the sync. What the rollups hold
beyond the frozen quantities is late usage.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete

from portal.catalog.locking import hold_prices
from portal.core.errors import DraftChanged, InvalidTransition, NotReady
from portal.core.keys import content_hash
from portal.core.lifecycle import InvoiceState, PaymentState, SyncState, require_move
from portal.core.statement import tax_facts
from portal.infra import outbox
from portal.infra.db import db
from portal.invoicing.announcing import announce_issued
from portal.invoicing.billed import freeze, unfreeze
from portal.invoicing.crediting import give_credit_back, use_credit
from portal.invoicing.documents import Seller, document_of
from portal.invoicing.drafting import Draft, draft_of
from portal.invoicing.models import BalanceEntry, Invoice, InvoiceItem
from portal.invoicing.month_totals import Totals, count_document
from portal.invoicing.numbering import INVOICES, next_number
from portal.invoicing.queries import items_of, lock_invoice
from portal.invoicing.trail import record_change
from portal.organizations.locking import lock_organization

FINISH = "finish_finalizing"
SYNC = "sync_invoice"


@dataclass(frozen=True, slots=True)
class Terms:
    """What finalizing takes from the settings."""

    seller: Seller
    hold_seconds: int
    days_until_due: int


def finalize(invoice_id: int, *, fingerprint: str, by: str, now: datetime, terms: Terms) -> Invoice:
    """Freeze a draft as its fingerprint shows it, and finalize it now or when the hold window has passed.

    Raises what `schedule` raises; nothing is changed then.
    """
    invoice = schedule(invoice_id, fingerprint=fingerprint, by=by, now=now, terms=terms)
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


def schedule(invoice_id: int, *, fingerprint: str, by: str, now: datetime, terms: Terms) -> Invoice:
    """Freeze a draft as its fingerprint shows it. Whoever calls this sees to it that it is finished after its hold.

    Raises NotReady while its month runs or usage has no price, DraftChanged if the figures are no longer those that
    were seen, InvalidTransition (saying by whom and when) if somebody was faster. Nothing is changed in these cases.
    """
    # Before any row, as whoever publishes takes it.
    hold_prices()
    invoice = lock_invoice(invoice_id)
    _require_draft(invoice)
    if now < invoice.month.end:
        raise NotReady(
            f"{invoice.month} is not over: it can be finalized from {invoice.month.next.first_day}, 00:00 UTC."
        )
    # Two invoices of one organization must not spend the same balance or credit; nor may what it agreed to, or what
    # everything costs, change meanwhile.
    lock_organization(invoice.organization_id)
    freeze(invoice, now=now)
    draft = draft_of(invoice.organization, invoice.month, frozen_invoice_id=invoice.id)
    if draft.blockers:
        raise NotReady(f"The invoice cannot be finalized. {' '.join(draft.blockers)}")
    if draft.fingerprint != fingerprint:
        raise DraftChanged("The draft has changed since you looked at it. Nothing was done; look again and decide.")
    _write_lines(invoice, draft)
    invoice.state = InvoiceState.SCHEDULED
    invoice.fingerprint = fingerprint
    invoice.scheduled_by = by
    invoice.finalize_at = now + timedelta(seconds=terms.hold_seconds)
    record_change(
        invoice,
        "scheduled finalizing",
        before={"state": "draft"},
        after={"state": "scheduled", "total": invoice.total, "fingerprint": fingerprint},
    )
    db.session.flush()
    return invoice


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
    invoice.state = InvoiceState.DRAFT
    invoice.total = invoice.tax = invoice.credits_applied = invoice.balance_applied = invoice.amount_due = 0
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
    invoice = lock_invoice(invoice_id)
    if invoice.state != InvoiceState.SCHEDULED:
        return invoice
    require_move(InvoiceState.SCHEDULED, InvoiceState.FINALIZED, what=f"The invoice of {invoice.month}")
    items = items_of(invoice.id)
    # All columns change in one UPDATE, because the row is frozen by a trigger from that UPDATE on.
    with db.session.no_autoflush:
        make_owed(invoice, now, terms)
        count_document(invoice, Totals.of(invoice))
        seal(invoice, items, next_number(INVOICES, now.year), terms)
    db.session.flush()
    return invoice


def make_owed(invoice: Invoice, now: datetime, terms: Terms) -> None:
    """From now on it is owed: dates, and on to the sync; an invoice of nothing is settled at once."""
    if invoice.total < 0:
        _move_balance(invoice, -invoice.total, "carried forward: credits above charges")
    invoice.state = InvoiceState.FINALIZED
    invoice.finalized_at = invoice.invoiced_at = now
    invoice.due_date = (now + timedelta(days=terms.days_until_due)).date()
    if invoice.amount_due == 0:
        invoice.payment_state = PaymentState.PAID
        invoice.paid_at = now
        announce_issued(invoice)
    else:
        invoice.payment_state = PaymentState.OPEN
        invoice.sync_state = SyncState.PENDING
        outbox.enqueue(SYNC, dedupe_key=str(invoice.id), organization_id=invoice.organization_id, invoice_id=invoice.id)


def seal(invoice: Invoice, items: Sequence[InvoiceItem], number: str, terms: Terms) -> None:
    """Give an invoice that is owed its number, its document and its hash, with the audit entry that says so."""
    invoice.number = number
    invoice.document = document_of(invoice, items, terms.seller)
    invoice.content_sha256 = content_hash(invoice.document)
    record_change(
        invoice,
        "finalized",
        before={"state": "scheduled"},
        after={"state": "finalized", "number": invoice.number, "amount_due": invoice.amount_due},
    )


def _require_draft(invoice: Invoice) -> None:
    if invoice.state == InvoiceState.DRAFT:
        return
    by = f" by {invoice.scheduled_by}" if invoice.scheduled_by else ""
    if invoice.state == InvoiceState.SCHEDULED:
        ends = f"; it becomes final at {invoice.finalize_at:%H:%M:%S} UTC"
    else:
        when = invoice.finalized_at
        ends = f" at {when:%d %b %Y, %H:%M:%S} UTC" if when else ""
    raise InvalidTransition(f"The invoice of {invoice.month} is already {invoice.state}{by}{ends}.")


def _write_lines(invoice: Invoice, draft: Draft) -> None:
    statement = draft.statement
    invoice.total = statement.total
    invoice.tax = statement.tax
    invoice.tax_details = tax_facts(statement)
    invoice.credits_applied = statement.credits_applied
    invoice.balance_applied = statement.balance_applied
    invoice.amount_due = statement.amount_due
    if statement.balance_applied:
        _move_balance(invoice, -statement.balance_applied, "applied to this invoice")
    use_credit(invoice, statement.promotional_used | statement.credits_used)
    db.session.add_all(
        InvoiceItem(
            organization_id=invoice.organization_id,
            invoice_id=invoice.id,
            position=position,
            kind=line.kind.value,
            description=line.description,
            quantity=line.quantity,
            unit=line.unit,
            unit_amount=line.unit_amount,
            amount=line.amount,
            discount=line.discount,
            credited=line.credited,
            tax=line.tax,
            period_start=line.period_start,
            period_end=line.period_end,
            derivation=line.kept(),
            series=list(line.series),
            **line.references,
        )
        for position, line in enumerate(statement.lines)
    )


def _move_balance(invoice: Invoice, amount: int, reason: str) -> None:
    db.session.add(
        BalanceEntry(organization_id=invoice.organization_id, invoice_id=invoice.id, amount=amount, reason=reason)
    )
