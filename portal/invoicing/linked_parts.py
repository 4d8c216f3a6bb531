"""On which invoice of its payer the amount of a linked organization's invoice is: on one at most, as its key says."""

from collections.abc import Sequence

from sqlalchemy import delete, select, update

from portal.core.errors import InvalidTransition
from portal.infra.db import db
from portal.invoicing.linked_models import BilledPart
from portal.invoicing.models import Invoice


def release_parts(invoice: Invoice) -> None:
    """What this invoice pays for can be on another one, because it is a draft again or void."""
    db.session.execute(delete(BilledPart).where(BilledPart.payer_invoice_id == invoice.id))


def name_parts(invoices: Sequence[Invoice]) -> None:
    """Say on which of these final invoices, by its number, the amounts of those are that it pays for."""
    for invoice in invoices:
        db.session.execute(
            update(BilledPart).where(BilledPart.payer_invoice_id == invoice.id).values(number=invoice.number)
        )


def require_unbilled(invoice: Invoice) -> None:
    """Raise InvalidTransition if the amount of a locked invoice is on its payer's."""
    part = billed_on(invoice)
    if part is not None:
        where = f"invoice {part.number}" if part.number else "the invoice"
        raise InvalidTransition(
            f"Its amount is on {where} of {invoice.payer_name}: void that one first, or credit this one."
        )


def billed_on(invoice: Invoice) -> BilledPart | None:
    """On which invoice of its payer an invoice's amount is; None for one that nobody else pays, or not yet."""
    if invoice.payer_organization_id is None:
        return None
    return db.session.scalar(
        select(BilledPart).where(BilledPart.invoice_id == invoice.id).execution_options(populate_existing=True)
    )
