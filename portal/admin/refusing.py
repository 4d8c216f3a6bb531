"""The page that says no: what happened, that nothing was changed, and the way on."""

from uuid import UUID

from flask import render_template

from portal.core.errors import PortalError
from portal.core.lifecycle import InvoiceState
from portal.invoicing.linked_drafts import whole_draft_of
from portal.invoicing.models import Invoice
from portal.invoicing.queries import invoice_of


def refused(
    public_id: UUID,
    refusal: PortalError,
    *,
    title: str,
    seen_total: int | None = None,
    instead: Invoice | None = None,
) -> tuple[str, int]:
    """A step on an invoice that was not taken.

    With the total that was seen, the page shows how far it has moved; `instead` is a draft that would take the step.
    """
    invoice = invoice_of(public_id)
    new_total = None
    if seen_total is not None and invoice.state == InvoiceState.DRAFT:
        new_total = whole_draft_of(invoice.organization, invoice.month).whole_total
    page = render_template(
        "admin/invoices/refused.html",
        invoice=invoice,
        title=title,
        sentence=refusal.sentence,
        seen_total=seen_total,
        new_total=new_total,
        instead=instead,
    )
    return page, refusal.status
