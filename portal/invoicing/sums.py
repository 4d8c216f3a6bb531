"""The way from an invoice's lines to its amount due, as every page and file shows it: one view, whoever asks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from portal.core.statement import TAKEN_OFF_OR_ADDED, Statement, tax_facts
from portal.invoicing.models import Invoice


class Summed(Protocol):
    """A line, as far as sums look at it."""

    @property
    def kind(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def amount(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Sums:
    """Amounts in minor units, in the order of an invoice.

    `rows` are what was taken off and what tax was added; `included` the taxes that the prices hold already, each with
    its percentage; `sentence` what the invoice has to say about its tax.
    """

    subtotal: int
    rows: tuple[tuple[str, int], ...]
    included: tuple[tuple[str, int], ...]
    sentence: str
    total: int
    credits_applied: int
    balance_applied: int
    amount_due: int


def sums_of_draft(statement: Statement) -> Sums:
    """The sums of a live draft."""
    amounts = (statement.total, statement.credits_applied, statement.balance_applied, statement.amount_due)
    return _sums(statement.lines, tax_facts(statement), *amounts)


def sums_of_invoice(invoice: Invoice, lines: Iterable[Summed]) -> Sums:
    """The sums of an invoice whose figures are frozen; its lines as items or as its document has them."""
    amounts = (invoice.total, invoice.credits_applied, invoice.balance_applied, invoice.amount_due)
    return _sums(lines, invoice.tax_details, *amounts)


def _sums(
    lines: Iterable[Summed],
    tax: Mapping[str, Any] | None,
    total: int,
    credits_applied: int,
    balance_applied: int,
    amount_due: int,
) -> Sums:
    lines = list(lines)
    rows = tuple((line.description, line.amount) for line in lines if line.kind in TAKEN_OFF_OR_ADDED)
    rates = tax["rates"] if tax and tax["included"] else []
    return Sums(
        subtotal=sum(line.amount for line in lines if line.kind not in TAKEN_OFF_OR_ADDED),
        rows=rows,
        included=tuple((rate["percent"], rate["tax"]) for rate in rates),
        sentence=tax["sentence"] if tax else "",
        total=total,
        credits_applied=credits_applied,
        balance_applied=balance_applied,
        amount_due=amount_due,
    )
