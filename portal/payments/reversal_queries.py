"""Lists of what went back of payments: refunds and disputes of all organizations, newest first."""

from sqlalchemy import select
from sqlalchemy.orm import contains_eager

from portal.infra.db import db
from portal.invoicing.models import Invoice
from portal.payments.reversal_models import Dispute, Refund


def list_refunds(*, before: int | None = None, limit: int | None = 50) -> list[tuple[Refund, Invoice]]:
    """One page of refunds with their invoices; `before` is the last id of the page before. All without a limit."""
    query = select(Refund, Invoice).join(Invoice, Invoice.id == Refund.invoice_id).join(Invoice.organization)
    query = query.options(contains_eager(Invoice.organization)).order_by(Refund.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Refund.id < before)
    return [(refund, invoice) for refund, invoice in db.session.execute(query)]


def list_disputes(*, limit: int | None = 50) -> list[tuple[Dispute, Invoice]]:
    """The disputes that were opened last, with their invoices. All without a limit."""
    query = select(Dispute, Invoice).join(Invoice, Invoice.id == Dispute.invoice_id).join(Invoice.organization)
    query = query.options(contains_eager(Invoice.organization)).order_by(Dispute.id.desc()).limit(limit)
    return [(dispute, invoice) for dispute, invoice in db.session.execute(query)]
