"""What a draft says besides its figures: its purchase order, and a memo to the customer."""

from portal.core.errors import InvalidInput, InvalidTransition
from portal.core.lifecycle import InvoiceState
from portal.infra.db import db
from portal.invoicing.models import Invoice
from portal.invoicing.queries import lock_invoice
from portal.invoicing.trail import record_change
from portal.organizations.billing_details import checked_purchase_order

LONGEST_MEMO = 1_000


def set_purchase_order(invoice_id: int, typed: str | None) -> Invoice:
    """Set the purchase order of one invoice; without one the organization's stands on it. Idempotent.

    Raises InvalidInput, InvalidTransition once it is no longer a draft, NotFound.
    """
    return _set(invoice_id, "purchase_order", checked_purchase_order(typed))


def set_memo(invoice_id: int, typed: str | None) -> Invoice:
    """Set what the invoice says to the customer. Idempotent.

    Raises InvalidInput, InvalidTransition once it is no longer a draft, NotFound.
    """
    text = "\n".join((typed or "").strip().splitlines())
    if len(text) > LONGEST_MEMO:
        raise InvalidInput(f"A memo has at most {LONGEST_MEMO} characters.", field="memo")
    return _set(invoice_id, "memo", text or None)


def _set(invoice_id: int, name: str, value: str | None) -> Invoice:
    invoice = lock_invoice(invoice_id)
    before = getattr(invoice, name)
    if before == value:
        return invoice
    if invoice.state != InvoiceState.DRAFT:
        raise InvalidTransition(f"The invoice of {invoice.month} is {invoice.state}; what it says no longer changes.")
    setattr(invoice, name, value)
    db.session.flush()
    record_change(invoice, f"changed {name.replace('_', ' ')}", before={name: before}, after={name: value})
    return invoice
