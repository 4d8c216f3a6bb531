"""What an invoice says on paper: texts that are written out, in their order, from the same view as the page."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month
from portal.core.statement import TAKEN_OFF_OR_ADDED, LineKind, Statement, tax_facts
from portal.infra.formats import amount, country_name, day, days, moment, money, month_name, quantity, unit_amount
from portal.invoicing.documents import Seller, buyer_of
from portal.invoicing.models import Invoice
from portal.invoicing.shown import ShownLine, lines_of_document, lines_of_draft
from portal.invoicing.sums import Sums, sums_of_invoice, sums_of_open
from portal.organizations.models import Organization

_WITHOUT_PRODUCT = {
    LineKind.RECURRING: "Plans",
    LineKind.ONE_OFF: "One-off items",
    LineKind.CREDIT: "Credits",
}


def printed_invoice(invoice: Invoice, *, portal_url: str) -> dict[str, Any]:
    """A final or void invoice, from its frozen document alone."""
    document = invoice.document
    assert document is not None, invoice.id
    lines = lines_of_document(document)
    sums = sums_of_invoice(invoice, lines)
    is_void = invoice.state == InvoiceState.VOID
    due_date = date.fromisoformat(document["due_date"])
    printed = _printed(document, lines, sums, invoice.month, document.get("sections", ()))
    printed["title"] = f"Invoice {document['number']}"
    printed["footer"] = f"{document['seller']['name']} · {printed['title']}"
    printed["watermark"] = "VOID" if is_void else ""
    printed["details"][:0] = [
        ["Number", document["number"]],
        ["Issued", day(date.fromisoformat(document["invoiced_on"]))],
        ["Due", day(due_date)],
    ]
    printed["due"]["note"] = "" if is_void or not sums.amount_due else f"by {day(due_date)}"
    if is_void:
        printed["notes"].append("This invoice is void: nothing is owed for it.")
    elif sums.total < 0:
        printed["notes"].append(f"The credit of {money(-sums.total, invoice.currency)} goes to your next invoice.")
    elif sums.moved_to:
        printed["notes"].append(f"Nothing is to be paid on this invoice: {sums.moved_to[0]} is billed for it.")
    elif not sums.amount_due:
        printed["notes"].append("Nothing is left to pay.")
    else:
        printed["pay"] = {
            "sentence": f"Please pay by {day(due_date)}. Sign in and press Pay on the invoice's page:",
            "address": f"{portal_url}/invoices/{invoice.public_id}",
        }
    printed["hash"] = invoice.content_sha256 or ""
    return printed


def printed_draft(
    organization: Organization,
    month: Month,
    statement: Statement,
    seller: Seller,
    *,
    now: datetime,
    invoice: Invoice | None = None,
) -> dict[str, Any]:
    """A month that is not final, as it stands now."""
    document = {
        "currency": organization.currency,
        "seller": seller.facts(),
        "buyer": buyer_of(organization, invoice.purchase_order if invoice else None),
        "memo": invoice.memo if invoice else None,
        "tax": tax_facts(statement),
    }
    sums, sections = sums_of_open(invoice, statement), (invoice.sections if invoice else None) or ()
    printed = _printed(document, lines_of_draft(statement.lines), sums, month, sections)
    printed["title"] = f"Draft invoice, {month_name(month.first_day)}"
    printed["subtitle"] = f"As it stands on {moment(now)}"
    printed["footer"] = f"{seller.name} · {printed['title']}"
    printed["watermark"] = "DRAFT"
    printed["due"]["label"] = "Amount so far"
    printed["notes"].append("This is not a bill yet: figures can change until the invoice is final.")
    return printed


def _printed(
    document: Mapping[str, Any],
    lines: Sequence[ShownLine],
    sums: Sums,
    month: Month,
    sections: Iterable[Mapping[str, Any]],
) -> dict[str, Any]:
    """What drafts and final invoices have in common."""
    currency, buyer = document["currency"], document["buyer"]
    groups = _groups([line for line in lines if line.kind not in TAKEN_OFF_OR_ADDED], currency, month)
    details = [["Period", days(month.first_day, month.last_day)]]
    if buyer["purchase_order"]:
        details.append(["Purchase order", buyer["purchase_order"]])
    return {
        "subtitle": month_name(month.first_day),
        "currency": currency,
        "seller": printed_party(document["seller"]),
        "buyer": printed_party(buyer),
        "details": details,
        "due": {"label": "Amount due", "amount": money(sums.amount_due, currency), "note": ""},
        "groups": [*groups, *(_section(each, currency, month) for each in sections)],
        "sums": [
            {"label": label, "amount": money(value, currency), "strong": strong}
            for label, value, strong in _sum_rows(sums)
        ],
        "taxes": [
            [f"{rate['percent']}%", money(rate["net"], currency), money(rate["tax"], currency)]
            for rate in (document["tax"] or {}).get("rates", ())
        ],
        "notes": [*((document.get("memo") or "").splitlines()), *([sums.sentence] if sums.sentence else [])],
        "price_head": "Unit price",
        "pay": None,
        "hash": "",
    }


def printed_party(who: Mapping[str, Any]) -> dict[str, Any]:
    """A seller or buyer of a document, line by line."""
    tax_id = [f"Tax id {who['tax_id']}"] if who.get("tax_id") else []
    country = [country_name(who["country"])] if who.get("country") else []
    return {"name": who["name"], "lines": [*(who["address"] or "").splitlines(), *country, *tax_id]}


def _groups(lines: Sequence[ShownLine], currency: str, month: Month) -> list[dict[str, Any]]:
    """The charged lines by product, each product where its first line stands."""
    groups: dict[str, list[ShownLine]] = {}
    for line in lines:
        name = line.product or _WITHOUT_PRODUCT.get(LineKind(line.kind), "Usage")
        groups.setdefault(name, []).append(line)
    return [
        {
            "name": name,
            "amount": amount(sum(line.amount for line in members), currency),
            "lines": [_line(line, currency, month) for line in members],
        }
        for name, members in groups.items()
    ]


def _section(section: Mapping[str, Any], currency: str, month: Month) -> dict[str, Any]:
    """All lines of a linked organization, with what was taken off and its tax, below its name."""
    return {
        "name": f"Billed for {section['name']}",
        "amount": amount(section["total"], currency),
        "lines": [_line(line, currency, month) for line in lines_of_document(section)],
    }


def _line(line: ShownLine, currency: str, month: Month) -> dict[str, str]:
    notes = []
    if (line.first_day, line.last_day) != (month.first_day, month.last_day):
        notes.append(days(line.first_day, line.last_day))
    if line.discount:
        notes.append(f"discounted by {money(line.discount, currency)}")
    if line.credited:
        notes.append(f"{money(line.credited, currency)} paid by credit")
    if "tax_percent" in line.derivation:
        notes.append(f"tax {line.derivation['tax_percent']}%: {money(line.tax, currency)}")
    elif line.is_exempt:
        notes.append("exempt from tax")
    return {
        "number": str(line.number),
        "description": line.description,
        "note": " · ".join(notes),
        "quantity": f"{quantity(line.quantity)} {line.unit}".rstrip() if line.is_counted else "",
        "price": _price(line, currency),
        "amount": amount(line.amount, currency),
    }


def _price(line: ShownLine, currency: str) -> str:
    if not line.is_counted:
        return ""
    if line.unit_amount is None:
        return "by tier"
    return unit_amount(line.unit_amount, currency) + (f" / {line.unit}" if line.unit else "")


def _sum_rows(sums: Sums) -> list[tuple[str, int, bool]]:
    """From the lines to the amount due, in the words of the page (templates/components/sums.html)."""
    rows = [("Lines", sums.subtotal, False), *((name, value, False) for name, value in sums.rows)] if sums.rows else []
    rows.append(("Total", sums.total, False))
    rows += [(f"of which tax {rate}%", value, False) for rate, value in sums.included]
    if sums.credits_applied:
        rows.append(("Prepaid credit", -sums.credits_applied, False))
    if sums.balance_applied:
        rows.append(("Credit from earlier months", -sums.balance_applied, False))
    rows += [(f"Billed for {name}", value, False) for name, value in sums.sections]
    if sums.moved_to:
        name, value = sums.moved_to
        rows.append((f"Billed to {name}", -value, False))
    return [*rows, ("Amount due", sums.amount_due, True)]
