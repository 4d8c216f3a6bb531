"""One-off items as people and programs ask for them: each is added once, and only to a draft that can bill it."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID, uuid5

from sqlalchemy import select, text

from portal.core.errors import InvalidInput, NotFound, PortalError
from portal.core.money import LARGEST_AMOUNT, major_text
from portal.core.periods import Month
from portal.infra.db import db
from portal.invoicing.drafting import draft_of
from portal.invoicing.models import Invoice, OneOffItem
from portal.invoicing.one_off_items import add_item
from portal.invoicing.queries import invoice_for_month, item_added_with, lock_invoice

_NAMESPACE = UUID("c1a8f7de-6f43-4c59-9a55-0b9d2f4c7e21")
# The lock of the draft is not enough, because a key may come again with another month. It is no lock of the
# organization's row either, which is taken behind that of an invoice everywhere else.
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtextextended('items by idempotency key', :organization))")


class KeyUsedBefore(PortalError):
    """An Idempotency-Key came again with another body; what it has added stays as it is."""

    code, status = "idempotency_key_reused", 422


@dataclass(frozen=True, slots=True)
class AskedItem:
    """What is asked for; `unit_amount` is in the major unit of the invoice's currency."""

    kind: str
    description: str
    quantity: Decimal
    unit_amount: Decimal
    internal_reason: str | None = None
    service_period: tuple[date, date] | None = None
    product: str | None = None
    tax_code: str | None = None

    def is_of(self, item: OneOffItem) -> bool:
        """Whether this item is what is asked for."""
        return all(getattr(item, name) == getattr(self, name) for name in AskedItem.__slots__)


@dataclass(frozen=True, slots=True)
class Added:
    """An item, and what its draft has come to with it, in minor units; None if it was there before."""

    item: OneOffItem
    draft_total: int | None


def add_billable_item(invoice: Invoice, asked: AskedItem, *, form_token: UUID, created_by_id: int | None) -> Added:
    """Add an item to a draft that can still be billed with it. Idempotent by `form_token`.

    Raises what `add_item` raises, and InvalidInput if the draft would be above the largest amount of one invoice: then
    the caller's transaction is rolled back, and the item is not kept.
    """
    lock_invoice(invoice.id)
    known = item_added_with(form_token)
    if known is not None:
        return Added(known, None)
    values = {name: getattr(asked, name) for name in AskedItem.__slots__}
    item = add_item(invoice.id, **values, form_token=form_token, created_by_id=created_by_id)
    statement = draft_of(invoice.organization, invoice.month).statement
    if statement.is_too_large:
        raise too_large(invoice)
    return Added(item, statement.total)


def too_large(invoice: Invoice) -> InvalidInput:
    """The refusal of an item with which its draft could not be billed."""
    largest = major_text(LARGEST_AMOUNT, invoice.currency)
    return InvalidInput(f"The draft would be above {invoice.currency} {largest}, the largest amount of one invoice.")


def add_once(organization_id: int, month: Month, asked: AskedItem, *, idempotency_key: str) -> Added:
    """Add an item to a month's draft, once for each key of the caller's, also when two ask at once.

    Raises what `add_billable_item` raises, InvalidInput if there is no invoice of the month, and KeyUsedBefore.
    """
    db.session.execute(_ONE_AT_A_TIME, {"organization": organization_id})
    token = uuid5(_NAMESPACE, f"{organization_id} {idempotency_key}")
    invoice = invoice_for_month(organization_id, month)
    known = item_added_with(token)
    if known is not None:
        if not asked.is_of(known) or month != db.session.get_one(Invoice, known.invoice_id).month:
            raise KeyUsedBefore("This Idempotency-Key was sent before with another body. Nothing was added.")
        return Added(known, None)
    if invoice is None:
        raise InvalidInput(f"The organization has no draft of {month}.", field="month")
    return add_billable_item(invoice, asked, form_token=token, created_by_id=None)


def item_of(organization_id: int, public_id: UUID) -> OneOffItem:
    """An item of this organization, removed or not. Raises NotFound."""
    item: OneOffItem | None = db.session.scalar(
        select(OneOffItem).where(OneOffItem.public_id == public_id, OneOffItem.organization_id == organization_id)
    )
    if item is None:
        raise NotFound("There is no such item.")
    return item
