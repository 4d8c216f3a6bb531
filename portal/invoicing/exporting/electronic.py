"""An invoice as software reads it: EN 16931 in the syntax of Factur-X and ZUGFeRD, from its frozen document alone.

The PDF carries it as `factur-x.xml` (pdf.py). What the standard cannot say is not forced into it: such an invoice has
no electronic twin, and its PDF is as good as before.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from portal.core.exact import plain
from portal.core.money import major_text, round_half_away, to_major
from portal.core.statement import TAKEN_OFF_OR_ADDED
from portal.core.tax_ids import vat_prefix
from portal.core.taxes import TaxTreatment
from portal.invoicing.shown import ShownLine, lines_of_document

CURRENCY = "EUR"
FOLDER = Path(__file__).resolve().parents[3] / "templates" / "documents"
# The element names of an address have room for three lines.
_ADDRESS_LINES = ("LineOne", "LineTwo", "LineThree")
_STANDARD, _ZERO, _EXEMPT = "S", "Z", "E"
_CATEGORIES = {TaxTreatment.EXEMPT.sentence: _EXEMPT, TaxTreatment.REVERSE_CHARGE.sentence: "AE"}
_SENTENCE_OF = {category: sentence for sentence, category in _CATEGORIES.items()}
# Characters that XML 1.0 cannot hold, however they are written.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def electronic_invoice(document: Mapping[str, Any]) -> bytes | None:
    """The XML of a final invoice in euros; the same bytes for the same document.

    None where the standard needs what the document does not say (a country of both, the seller's tax id, what tax
    there is), wants the tax rounded otherwise (once per rate: BR-CO-17), or knows no invoice for several parties.
    """
    if document["currency"] != CURRENCY or document["tax"] is None or "sections" in document or "billed_to" in document:
        return None
    seller, buyer = _party(document["seller"]), _party(document["buyer"])
    taxed = [
        _line(line, document["tax"]) for line in lines_of_document(document) if line.kind not in TAKEN_OFF_OR_ADDED
    ]
    taxes = _taxes(taxed, document["tax"])
    if seller is None or buyer is None or not _says_who_is_taxed(seller, buyer, taxes):
        return None
    net, tax = sum(line.net for line in taxed), sum(rate.tax for rate in taxes)
    if net + tax != document["total"] or not all(rate.is_rounded_once for rate in taxes):
        return None
    first_day, end = (date.fromisoformat(day) for day in document["period"])
    invoice = {
        "number": document["number"],
        "currency": CURRENCY,
        "issued_on": date.fromisoformat(document["invoiced_on"]),
        "due_date": date.fromisoformat(document["due_date"]),
        "first_day": first_day,
        "last_day": end - timedelta(days=1),
        "memo": document.get("memo"),
        "purchase_order": document["buyer"]["purchase_order"],
        "seller": seller,
        "buyer": buyer,
        "lines": [line.shown() for line in taxed],
        "taxes": [rate.shown(document["tax"]["sentence"]) for rate in taxes],
        "net": _money(net),
        "tax": _money(tax),
        "total": _money(document["total"]),
        "prepaid": _money(document["total"] - document["amount_due"]),
        "amount_due": _money(document["amount_due"]),
    }
    return _NOT_XML.sub("", _template().render(invoice=invoice)).encode()


@dataclass(frozen=True, slots=True)
class _TaxedLine:
    """A charged line and what it comes to without tax, in cents."""

    line: ShownLine
    net: int
    category: str
    percent: Decimal

    def shown(self) -> dict[str, Any]:
        """What the template writes of it."""
        line, counted = self.line, self._is_so_many_at_a_price()
        # A price is never negative (BR-27), so a credit is a negative quantity.
        if counted:
            assert line.unit_amount is not None, line
            sign = -1 if line.unit_amount < 0 else 1
            price, count, amounts = abs(line.unit_amount), sign * line.quantity, self._allowances()
        else:
            price, count, amounts = abs(to_major(self.net, CURRENCY)), Decimal(-1 if self.net < 0 else 1), []
        described = f"{plain(line.quantity)} {line.unit}".strip() if line.is_counted else ""
        return {
            "number": line.number,
            "name": line.description,
            "description": described,
            "price": plain(price),
            "quantity": plain(count),
            "allowances": amounts,
            "net": _money(self.net),
            "category": self.category,
            "percent": plain(self.percent),
            "first_day": line.first_day,
            "last_day": line.last_day,
        }

    def _is_so_many_at_a_price(self) -> bool:
        """Whether quantity times price, less what was taken off, is what the line comes to; tiers are not."""
        line = self.line
        if line.unit_amount is None or self.net != line.amount - line.discount - line.credited:
            return False
        return round_half_away(Fraction(line.quantity) * Fraction(line.unit_amount) * 100) == line.amount

    def _allowances(self) -> list[tuple[str, str]]:
        parts = (("Discount", self.line.discount), ("Paid by promotional credit", self.line.credited))
        return [(reason, _money(part)) for reason, part in parts if part]


@dataclass(frozen=True, slots=True)
class _Rate:
    """The tax of all lines of one category and rate, in cents."""

    category: str
    percent: Decimal
    net: int
    tax: int

    @property
    def is_rounded_once(self) -> bool:
        """BR-CO-17: the tax is the rate of the sum."""
        return self.tax == round_half_away(Fraction(self.net) * Fraction(self.percent) / 100)

    def shown(self, sentence: str) -> dict[str, str]:
        """What the template writes of it."""
        return {
            "category": self.category,
            "percent": plain(self.percent),
            "net": _money(self.net),
            "amount": _money(self.tax),
            "reason": (sentence or _SENTENCE_OF[self.category]) if self.category in _SENTENCE_OF else "",
        }


def _line(line: ShownLine, tax: Mapping[str, Any]) -> _TaxedLine:
    percent = Decimal(line.derivation.get("tax_percent", "0"))
    net = line.amount - line.discount - line.credited - (line.tax if tax["included"] else 0)
    untaxed = _EXEMPT if line.is_exempt else _ZERO
    category = _CATEGORIES.get(tax["sentence"], _STANDARD if percent else untaxed)
    return _TaxedLine(line, net, category, percent)


def _taxes(lines: Sequence[_TaxedLine], tax: Mapping[str, Any]) -> list[_Rate]:
    """One row per category and rate that a line has (BR-S-01, BR-Z-01, BR-E-01, BR-AE-01)."""
    charged = {Decimal(rate["percent"]): rate["tax"] for rate in tax["rates"]}
    groups: dict[tuple[str, Decimal], int] = {}
    for line in lines:
        key = (line.category, line.percent)
        groups[key] = groups.get(key, 0) + line.net
    return [
        _Rate(category, percent, net, charged.get(percent, 0)) for (category, percent), net in sorted(groups.items())
    ]


def _party(who: Mapping[str, Any]) -> dict[str, Any] | None:
    """The seller or buyer; None if the document does not say where they are (BR-9, BR-11)."""
    country = who.get("country")
    if not country:
        return None
    lines = (who["address"] or "").splitlines()
    lines = [*lines[:2], ", ".join(lines[2:])] if len(lines) > len(_ADDRESS_LINES) else lines
    tax_id = who.get("tax_id") or ""
    return {
        "name": who["name"],
        "address": list(zip(_ADDRESS_LINES, lines, strict=False)),
        "country": country,
        "tax_id": tax_id,
        # VA is a VAT number, which begins with its country (BR-CO-9); FC is a number of the local tax office.
        "scheme": "VA" if tax_id.startswith(vat_prefix(country)) else "FC",
    }


def _says_who_is_taxed(seller: Mapping[str, Any], buyer: Mapping[str, Any], taxes: Sequence[_Rate]) -> bool:
    """BR-S-02, BR-Z-02, BR-E-02: the seller's tax id; BR-AE-02: with a reverse charge the buyer's VAT number too."""
    reversed_charge = any(rate.category == "AE" for rate in taxes)
    return bool(taxes and seller["tax_id"]) and (not reversed_charge or buyer["scheme"] == "VA" == seller["scheme"])


def _money(cents: int) -> str:
    return major_text(cents, CURRENCY)


@cache
def _template() -> Template:
    environment = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("factur-x.xml")
