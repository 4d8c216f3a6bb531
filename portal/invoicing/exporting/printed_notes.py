"""What a credit note says on paper, in the form that invoices have; from its frozen document alone."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from portal.infra.formats import amount, day, money, quantity
from portal.invoicing.credit_note_models import CreditNote
from portal.invoicing.exporting.printed import printed_party

_USES = (
    ("off_due", "Taken off what was due"),
    ("to_refund", "To be refunded"),
    ("to_balance", "Put on the account balance"),
)


def printed_credit_note(note: CreditNote) -> dict[str, Any]:
    """A credit note; it never changes, and so neither does its paper."""
    document = note.document
    assert document is not None, note.id
    currency, invoice = document["currency"], document["invoice"]
    title = f"Credit note {document['number']}"
    return {
        "title": title,
        "subtitle": f"On invoice {invoice['number']}",
        "footer": f"{document['seller']['name']} · {title}",
        "watermark": "",
        "currency": currency,
        "seller": printed_party(document["seller"]),
        "buyer": printed_party(document["buyer"]),
        "details": _details(document),
        "due": {"label": "Credited", "amount": money(document["total"], currency), "note": ""},
        "price_head": "Tax rate",
        "groups": [
            {
                "name": "What is given back",
                "amount": amount(document["total"], currency),
                "lines": [_line(line, currency) for line in document["lines"]],
            }
        ],
        "sums": [
            {"label": label, "amount": money(value, currency), "strong": strong}
            for label, value, strong in _sums(document)
        ],
        "taxes": [
            [f"{rate['percent']}%", money(rate["net"], currency), money(rate["tax"], currency)]
            for rate in document["rates"]
            if rate["tax"]
        ],
        "notes": [f"Reason: {document['reason']}", f"Invoice {invoice['number']} itself stays as it is."],
        "pay": None,
        "hash": note.content_sha256 or "",
    }


def _details(document: Mapping[str, Any]) -> list[list[str]]:
    invoice = document["invoice"]
    rows = [
        ["Number", document["number"]],
        ["Issued", day(date.fromisoformat(document["issued_on"]))],
        ["Invoice", invoice["number"]],
        ["Invoiced", day(date.fromisoformat(invoice["invoiced_on"]))],
    ]
    if document["buyer"].get("purchase_order"):
        rows.append(["Purchase order", document["buyer"]["purchase_order"]])
    return rows


def _line(line: Mapping[str, Any], currency: str) -> dict[str, str]:
    taxed = f"{money(line['net'], currency)} before tax, tax {money(line['tax'], currency)}" if line["tax"] else ""
    return {
        "number": str(line["line"]),
        "description": line["description"],
        "note": taxed,
        "quantity": "" if line["quantity"] is None else f"{quantity(line['quantity'])} {line['unit']}".rstrip(),
        "price": f"{line['percent']}%" if line["percent"] != "0" else "",
        "amount": amount(line["net"] + line["tax"], currency),
    }


def _sums(document: Mapping[str, Any]) -> list[tuple[str, int, bool]]:
    taxed = [("Before tax", document["net"], False), ("Tax", document["tax"], False)] if document["tax"] else []
    uses = [(label, document[name], False) for name, label in _USES if document[name]]
    return [*taxed, ("Credited", document["total"], True), *uses]
