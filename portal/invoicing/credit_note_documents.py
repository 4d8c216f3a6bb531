"""The frozen document of a credit note: everything that it says, as plain data, and whether it still is what it was.

Seller and buyer are those of the invoice, because that is what it corrects.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from portal.core.exact import plain
from portal.core.keys import content_hash
from portal.core.taxes import Taxed
from portal.invoicing.credit_note_figures import by_rate
from portal.invoicing.credit_note_models import CreditNote, CreditNoteItem
from portal.invoicing.models import Invoice

_AMOUNTS = ("net", "tax", "total", "off_due", "to_refund", "to_balance")


def document_of(note: CreditNote, items: Sequence[CreditNoteItem], invoice: Invoice) -> dict[str, Any]:
    """All that a credit note says; numbers with decimals are strings, amounts are minor units and given back."""
    assert invoice.document is not None
    return {
        "number": note.number,
        "currency": note.currency,
        "issued_on": note.issued_at.date().isoformat(),
        "invoice": {"number": invoice.number, "invoiced_on": invoice.document["invoiced_on"]},
        "seller": invoice.document["seller"],
        "buyer": invoice.document["buyer"],
        "reason": note.reason,
        "lines": _lines(items),
        "rates": rates_of(items),
        **{name: getattr(note, name) for name in _AMOUNTS},
    }


def rates_of(items: Sequence[CreditNoteItem]) -> list[dict[str, Any]]:
    """What is given back at each tax rate, the lowest first."""
    return [
        {"percent": plain(Decimal(percent)), "net": part.net, "tax": part.tax}
        for percent, part in by_rate((item.percent, Taxed(item.net, item.tax)) for item in items)
    ]


def is_intact(note: CreditNote, items: Sequence[CreditNoteItem]) -> bool:
    """Whether a credit note still is what it was: its document, its lines and its totals."""
    document = note.document
    if document is None or content_hash(document) != note.content_sha256:
        return False
    said = [document[name] for name in ("number", "currency", "reason", "rates", *_AMOUNTS)]
    held = [note.number, note.currency, note.reason, rates_of(items), *(getattr(note, name) for name in _AMOUNTS)]
    return said == held and document["lines"] == _lines(items)


def _lines(items: Sequence[CreditNoteItem]) -> list[dict[str, Any]]:
    return [
        {
            "line": item.line_number,
            "description": item.description,
            "quantity": None if item.quantity is None else plain(item.quantity),
            "unit": item.unit,
            "percent": plain(item.percent),
            "net": item.net,
            "tax": item.tax,
        }
        for item in items
    ]
