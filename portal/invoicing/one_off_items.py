"""Items that somebody adds to a draft by hand: a charge for work done, a credit for goodwill."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import select

from portal.catalog.tax_rates import require_tax_code
from portal.core.errors import InvalidInput, InvalidTransition, NotFound
from portal.core.exact import exactly, plain
from portal.core.lifecycle import InvoiceState
from portal.core.money import LARGEST_AMOUNT, round_to_minor
from portal.infra.db import db
from portal.invoicing.models import Invoice, OneOffItem
from portal.invoicing.queries import lock_invoice
from portal.invoicing.trail import record_change


def add_item(
    invoice_id: int,
    *,
    kind: str,
    description: str,
    quantity: Decimal,
    unit_amount: Decimal,
    internal_reason: str | None,
    form_token: UUID,
    created_by_id: int | None,
    service_period: tuple[date, date] | None = None,
    product: str | None = None,
    tax_code: str | None = None,
) -> OneOffItem:
    """Add an item to a draft. `unit_amount` is in the major unit; the amount is rounded once.

    The item is taxed as the product of this name is, unless it has a tax code of its own (tax_rates.tax_codes), and
    what is only for that product is taken off it too.

    Idempotent by `form_token`: the same form sent twice adds one item. Raises InvalidTransition if the invoice is
    no longer a draft, InvalidInput if the item cannot be billed.
    """
    invoice = lock_invoice(invoice_id)
    existing: OneOffItem | None = db.session.scalar(select(OneOffItem).where(OneOffItem.form_token == form_token))
    if existing is not None:
        return existing
    _require_draft(invoice)
    amount = amount_of(kind, quantity, unit_amount, invoice.currency)
    if kind == "credit" and not internal_reason:
        raise InvalidInput("A credit needs a reason, for the audit log.", field="internal_reason")
    if service_period is not None and service_period[0] > service_period[1]:
        raise InvalidInput("The service period ends on its first day or later.", field="service_end")
    require_tax_code(tax_code)
    item = OneOffItem(
        organization_id=invoice.organization_id,
        invoice_id=invoice.id,
        kind=kind,
        description=description,
        quantity=quantity,
        unit_amount=unit_amount,
        amount=amount,
        service_start=service_period[0] if service_period else None,
        service_end=service_period[1] if service_period else None,
        product=product,
        tax_code=tax_code,
        internal_reason=internal_reason,
        form_token=form_token,
        created_by_id=created_by_id,
    )
    db.session.add(item)
    db.session.flush()
    record_change(invoice, "added one-off item", after=_facts(item), reason=internal_reason)
    return item


@exactly
def amount_of(kind: str, quantity: Decimal, unit_amount: Decimal, currency: str) -> int:
    """What an item comes to in minor units, rounded once; a credit is negative. Raises InvalidInput."""
    if quantity <= 0:
        raise InvalidInput("The quantity is more than zero.", field="quantity")
    if unit_amount < 0:
        raise InvalidInput("The unit price is zero or more; choose “credit” to give money back.", field="unit_amount")
    amount = round_to_minor(quantity * unit_amount, currency)
    if amount > LARGEST_AMOUNT:
        raise InvalidInput("The amount is above the largest that one invoice may bill.", field="unit_amount")
    return -amount if kind == "credit" else amount


def item_on(invoice_id: int, public_id: UUID) -> OneOffItem:
    """An item of this invoice. Raises NotFound."""
    item: OneOffItem | None = db.session.scalar(
        select(OneOffItem).where(OneOffItem.public_id == public_id, OneOffItem.invoice_id == invoice_id)
    )
    if item is None:
        raise NotFound("There is no such item on this invoice.")
    return item


def remove_item(invoice_id: int, public_id: UUID, *, now: datetime) -> OneOffItem:
    """Take an item off a draft; the row stays, so that it can be put back. Idempotent."""
    invoice = lock_invoice(invoice_id)
    item = item_on(invoice_id, public_id)
    if item.removed_at is None:
        _require_draft(invoice)
        item.removed_at = now
        record_change(invoice, "removed one-off item", before=_facts(item), reason=item.internal_reason)
    return item


def restore_item(invoice_id: int, public_id: UUID) -> OneOffItem:
    """Put a removed item back on its draft: the Undo of removing. Idempotent."""
    invoice = lock_invoice(invoice_id)
    item = item_on(invoice_id, public_id)
    if item.removed_at is not None:
        _require_draft(invoice)
        item.removed_at = None
        record_change(invoice, "restored one-off item", after=_facts(item), reason=item.internal_reason)
    return item


def _facts(item: OneOffItem) -> dict[str, Any]:
    facts = {"description": item.description, "quantity": plain(item.quantity), "amount": item.amount}
    return facts | ({"tax_code": item.tax_code} if item.tax_code else {})


def _require_draft(invoice: Invoice) -> None:
    if invoice.state != InvoiceState.DRAFT:
        raise InvalidTransition(
            f"The invoice of {invoice.month} is {invoice.state} and takes no more items."
            " Put it on the next month's draft."
        )
