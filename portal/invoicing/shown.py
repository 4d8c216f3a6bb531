"""Lines of drafts and of final invoices as pages and files show them: from the live figures or the frozen document."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from portal.core.money import major_text
from portal.core.statement import Line
from portal.core.taxes import NO_TAX_ON_ITEM

CSV_HEAD = (
    "Line",
    "Kind",
    "Item",
    "Quantity",
    "Unit",
    "Unit price",
    "Currency",
    "Amount",
    "First day",
    "Last day",
    "Discount",
    "Credit",
    "Tax",
    "Customer",
    "Customer tax id",
    "Purchase order",
    "Memo",
    "Section",
)


@dataclass(frozen=True, slots=True)
class ShownLine:
    """One line; `number` counts from 1 within its invoice. `amount` is in minor units."""

    number: int
    kind: str
    description: str
    quantity: Decimal
    unit: str
    unit_amount: Decimal | None
    amount: int
    first_day: date
    last_day: date
    derivation: Mapping[str, Any]
    discount: int
    credited: int
    tax: int

    @property
    def is_counted(self) -> bool:
        """Whether it is so many units at a price; a coupon, a credit before tax or a tax is not."""
        return bool(self.unit) or self.unit_amount is not None

    @property
    def product(self) -> str:
        """What it is of; "" for what belongs to no product, and for lines from before they said so."""
        return str(self.derivation.get("product", ""))

    @property
    def is_exempt(self) -> bool:
        """Whether this line is not taxed by a tax code of its own."""
        return self.derivation.get("tax_code") == NO_TAX_ON_ITEM

    @classmethod
    def of(cls, number: int, facts: Mapping[str, Any]) -> "ShownLine":
        """A line from its plain data, as a document holds it."""
        unit_amount = facts["unit_amount"]
        first_day, last_day = (date.fromisoformat(day) for day in facts["period"])
        return cls(
            number,
            facts["kind"],
            facts["description"],
            Decimal(facts["quantity"]),
            facts["unit"],
            None if unit_amount is None else Decimal(unit_amount),
            facts["amount"],
            first_day,
            last_day,
            facts["derivation"],
            *(facts.get(name, 0) for name in ("discount", "credited", "tax")),
        )


@dataclass(frozen=True, slots=True)
class ShownSection:
    """What an invoice says of an organization that it pays for; amounts in minor units.

    `number` is that of its own invoice, None while it is live; `credit` is what its own credit pays.
    """

    name: str
    number: str | None
    lines: list[ShownLine]
    total: int
    credit: int
    amount: int


def lines_of_draft(lines: Iterable[Line]) -> list[ShownLine]:
    """The live lines of a draft."""
    return [ShownLine.of(number, line.facts()) for number, line in enumerate(lines, 1)]


def lines_of_document(document: Mapping[str, Any]) -> list[ShownLine]:
    """The frozen lines of a final invoice, or those of a section."""
    return [ShownLine.of(number, line) for number, line in enumerate(document["lines"], 1)]


def shown_sections(sections: Iterable[Mapping[str, Any]]) -> list[ShownSection]:
    """Sections from their plain data, as a document or a draft holds them."""
    return [
        ShownSection(
            name=each["name"],
            number=each["number"],
            lines=lines_of_document(each),
            total=each["total"],
            credit=each["credits_applied"] + each["balance_applied"],
            amount=each["amount"],
        )
        for each in sections
    ]


def csv_rows(
    lines: Sequence[ShownLine],
    currency: str,
    buyer: Mapping[str, Any],
    memo: str | None,
    sections: Iterable[Mapping[str, Any]] = (),
) -> list[tuple[Any, ...]]:
    """The lines for a file, with amounts in the major unit; beside each, whom the invoice bills and what it says.

    The lines of sections come after the invoice's own, each with the name of its section.
    """
    said = (buyer["name"], buyer["tax_id"], buyer["purchase_order"], memo)
    whose = [(lines, ""), *((lines_of_document(section), section["name"]) for section in sections)]
    return [
        (
            line.number,
            line.kind,
            line.description,
            line.quantity,
            line.unit,
            line.unit_amount,
            currency,
            major_text(line.amount, currency),
            line.first_day,
            line.last_day,
            *(major_text(amount, currency) for amount in (line.discount, line.credited, line.tax)),
            *said,
            name,
        )
        for those, name in whose
        for line in those
    ]
