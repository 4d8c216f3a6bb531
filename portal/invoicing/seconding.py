"""Large invoices take two people: whoever finalizes asks, and another approves exactly the figures that were seen."""

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import joinedload

from portal.catalog.locking import hold_prices
from portal.core.errors import DraftChanged, InvalidTransition
from portal.core.lifecycle import InvoiceState
from portal.infra.db import db
from portal.invoicing.finalizing import finalize
from portal.invoicing.linked_drafts import whole_draft_of
from portal.invoicing.models import Invoice
from portal.invoicing.queries import lock_invoice
from portal.invoicing.terms import Terms
from portal.organizations import approvals
from portal.organizations.approvals import Person, Wish
from portal.organizations.models import ApprovalRequest

SUBJECT = "invoice"


def ask_for_second(
    invoice_id: int, *, fingerprint: str, by: Person, now: datetime, within: timedelta
) -> ApprovalRequest:
    """Let a draft wait for a second person, as its fingerprint shows it. Idempotent; a changed draft asks anew.

    Raises DraftChanged if the figures are no longer those that were seen, InvalidTransition if it is no draft.
    """
    invoice = lock_invoice(invoice_id)
    if invoice.state != InvoiceState.DRAFT:
        raise InvalidTransition(f"The invoice of {invoice.month} is {invoice.state}; there is nothing to approve.")
    draft = whole_draft_of(invoice.organization, invoice.month)
    if draft.fingerprint != fingerprint:
        raise DraftChanged("The draft has changed since you looked at it. Nothing was done; look again and decide.")
    return ask_as_seen(invoice, fingerprint, draft.whole_total, by=by, now=now, within=within)


def ask_as_seen(
    invoice: Invoice, fingerprint: str, total: int, *, by: Person, now: datetime, within: timedelta
) -> ApprovalRequest:
    """The same for a locked draft whose figures (total in minor units) were computed a while ago, as a run does.

    Should they have changed, the second person sees it and nothing is finalized.
    """
    facts = {"month": str(invoice.month), "total": total, "currency": invoice.currency}
    wish = Wish(SUBJECT, invoice.id, invoice.organization_id, fingerprint, facts)
    return approvals.ask(wish, by=by, now=now, within=within)


def approve_and_finalize(
    invoice_id: int, *, fingerprint: str, by: Person, comment: str, now: datetime, terms: Terms
) -> Invoice:
    """Be the second person: the draft is finalized in the name of both. Raises what finalizing and approving raise."""
    # The order in which finalizing itself takes them: prices, the invoice, then the request.
    hold_prices()
    lock_invoice(invoice_id)
    request = approvals.approve(SUBJECT, invoice_id, fingerprint=fingerprint, by=by, comment=comment, now=now)
    return finalize(invoice_id, fingerprint=fingerprint, by=request.asked_by, seconded_by=by.name, now=now, terms=terms)


def refuse(invoice_id: int, *, by: Person, comment: str, now: datetime) -> ApprovalRequest:
    """Be the second person and say no: the draft stays one. Raises what refusing raises."""
    lock_invoice(invoice_id)
    return approvals.refuse(SUBJECT, invoice_id, by=by, comment=comment, now=now)


def request_about(invoice: Invoice, *, now: datetime) -> ApprovalRequest | None:
    """What to say on a draft: the request that waits, or the refusal of the last one. None if neither is so."""
    request = approvals.latest_request(SUBJECT, invoice.id)
    return request if request is not None and (request.is_open(now) or request.state == "refused") else None


def drafts_waiting(*, now: datetime, limit: int | None) -> tuple[list[tuple[ApprovalRequest, Invoice]], int]:
    """Drafts that wait for a second person, with who asked, whoever waits longest first; and how many there are."""
    rows = db.session.execute(
        select(ApprovalRequest, Invoice, func.count().over())
        .join(Invoice, Invoice.id == ApprovalRequest.subject_id)
        .options(joinedload(Invoice.organization))
        .where(
            ApprovalRequest.subject_kind == SUBJECT,
            ApprovalRequest.state == "waiting",
            ApprovalRequest.expires_at > now,
            Invoice.state == InvoiceState.DRAFT,
        )
        .order_by(ApprovalRequest.id)
        .limit(limit)
    ).all()
    return [(row[0], row[1]) for row in rows], rows[0][2] if rows else 0
