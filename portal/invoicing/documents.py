"""The frozen document of an invoice: everything that it says, as plain data, and its hash.

Seller and buyer are copied, so that a later change of address does not change an old invoice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from portal.core.exact import plain
from portal.core.keys import content_hash
from portal.invoicing.models import Invoice, InvoiceItem
from portal.organizations.models import Organization

# What of an item a document says.
COLUMNS_OF_LINES = (
    *("public_id", "kind", "description", "quantity", "unit", "unit_amount", "amount", "discount", "credited", "tax"),
    *("period_start", "period_end", "derivation"),
)


@dataclass(frozen=True, slots=True)
class Seller:
    """Who bills: from the settings, copied onto every invoice."""

    name: str
    address: str
    tax_id: str = ""
    country: str = ""

    def facts(self) -> dict[str, str]:
        """The seller as a document names it; what is not there is left out, so older documents still agree."""
        may_be_missing = {"tax_id": self.tax_id, "country": self.country}
        return {
            "name": self.name,
            "address": self.address,
            **{name: text for name, text in may_be_missing.items() if text},
        }


def document_of(invoice: Invoice, items: Sequence[InvoiceItem | Row[Any]], seller: Seller) -> dict[str, Any]:
    """All that a finalized invoice says; numbers with decimals are strings, amounts are minor units."""
    organization = invoice.organization
    return {
        "number": invoice.number,
        "currency": invoice.currency,
        "period": [invoice.period_start.isoformat(), invoice.period_end.isoformat()],
        "invoiced_on": invoice.invoiced_at.date().isoformat() if invoice.invoiced_at else None,
        "due_date": invoice.due_date.isoformat() if invoice.due_date else None,
        "seller": seller.facts(),
        "buyer": buyer_of(organization, invoice.purchase_order),
        # Only where there is one: so documents from before there were memos still agree.
        **({"memo": invoice.memo} if invoice.memo else {}),
        "lines": lines_of(items),
        "tax": invoice.tax_details,
        "total": invoice.total,
        "credits_applied": invoice.credits_applied,
        "balance_applied": invoice.balance_applied,
        # Only of linked organizations: whose amount is moved to their payer, and what a payer pays for others.
        **(
            {"billed_to": {"name": invoice.payer_name, "amount": -invoice.moved}}
            if invoice.payer_organization_id is not None
            else {}
        ),
        **({"sections": invoice.sections} if invoice.sections else {}),
        "amount_due": invoice.amount_due,
    }


def buyer_of(organization: Organization, purchase_order: str | None = None) -> dict[str, Any]:
    """The buyer as a document names it; the purchase order of the invoice goes before the organization's own."""
    return {
        "name": organization.legal_name or organization.name,
        "address": organization.address,
        "tax_id": organization.tax_id,
        "purchase_order": purchase_order or organization.purchase_order,
        **({"country": organization.country} if organization.country else {}),
    }


def lines_of(items: Sequence[InvoiceItem | Row[Any]]) -> list[dict[str, Any]]:
    """The stored lines as plain data, in their order."""
    return [
        {
            "id": str(item.public_id),
            "kind": item.kind,
            "description": item.description,
            "quantity": plain(item.quantity),
            "unit": item.unit,
            "unit_amount": None if item.unit_amount is None else plain(item.unit_amount),
            "amount": item.amount,
            # Only where there are any: so documents from before there were taxes and coupons still agree.
            **{name: value for name in ("discount", "credited", "tax") if (value := getattr(item, name))},
            "period": [item.period_start.isoformat(), item.period_end.isoformat()],
            "derivation": item.derivation,
        }
        for item in items
    ]


def moved_in(document: Mapping[str, Any]) -> int:
    """What was moved onto the invoice of a document (above zero), or away from it (below zero), in minor units."""
    away = document["billed_to"]["amount"] if "billed_to" in document else 0
    return int(sum(section["amount"] for section in document.get("sections", ())) - away)


def is_intact(invoice: Invoice, items: Sequence[InvoiceItem]) -> bool:
    """Whether a finalized invoice still is what it was: its document, its lines and its totals."""
    document = invoice.document
    if document is None or content_hash(document) != invoice.content_sha256:
        return False
    totals = (
        document["total"],
        document.get("tax"),
        document.get("credits_applied", 0),
        document["balance_applied"],
        document["amount_due"],
        moved_in(document),
        document["number"],
    )
    return document["lines"] == lines_of(items) and totals == (
        invoice.total,
        invoice.tax_details,
        invoice.credits_applied,
        invoice.balance_applied,
        invoice.amount_due,
        invoice.moved,
        invoice.number,
    )
