"""The way from an invoice's lines to its amount due, as every page and file shows it: one view, whoever asks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from portal.core.statement import TAKEN_OFF_OR_ADDED, Statement, tax_facts
from portal.invoicing.drafting import Draft
from portal.invoicing.models import Invoice
from portal.invoicing.sections import sections_in


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
    its percentage; `sentence` what the invoice has to say about its tax. `sections` are what it asks for in the name
    of others, by their names; of what others pay, `moved_to` is who and how much.
    """

    subtotal: int
    rows: tuple[tuple[str, int], ...]
    included: tuple[tuple[str, int], ...]
    sentence: str
    total: int
    credits_applied: int
    balance_applied: int
    amount_due: int
    sections: tuple[tuple[str, int], ...] = ()
    moved_to: tuple[str, int] | None = None


def sums_of_draft(statement: Statement) -> Sums:
    """The sums of a live draft by itself, without its links."""
    amounts = (statement.total, statement.credits_applied, statement.balance_applied, statement.amount_due)
    return _sums(statement.lines, tax_facts(statement), *amounts)


def sums_of_whole(draft: Draft) -> Sums:
    """The sums of a live draft with what its links add, as staff see it."""
    sections = [section.facts for section in draft.sections]
    return _linked(sums_of_draft(draft.statement), sections, draft.payer.name if draft.payer else None)


def sums_of_open(invoice: Invoice | None, statement: Statement) -> Sums:
    """The sums of a month that is not final, with what is kept of its links, as its own people see it."""
    sums = sums_of_draft(statement)
    return sums if invoice is None else _linked(sums, sections_in(None, invoice.sections), invoice.payer_name)


def sums_of_invoice(invoice: Invoice, lines: Iterable[Summed]) -> Sums:
    """The sums of an invoice whose figures are frozen; its lines as items or as its document has them."""
    amounts = (invoice.total, invoice.credits_applied, invoice.balance_applied, invoice.amount_due - invoice.moved)
    sections = sections_in(invoice.document, invoice.sections)
    return _linked(_sums(lines, invoice.tax_details, *amounts), sections, invoice.payer_name)


def _linked(sums: Sums, sections: Sequence[Mapping[str, Any]], payer: str | None) -> Sums:
    """The same sums with what others pay, or what is paid for others."""
    if payer is not None:
        return replace(sums, moved_to=(payer, sums.amount_due), amount_due=0)
    parts = tuple((section["name"], section["amount"]) for section in sections)
    return replace(sums, sections=parts, amount_due=sums.amount_due + sum(amount for _, amount in parts))


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
