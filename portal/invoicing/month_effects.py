"""A month's bill beside the bill of the month before: what of the difference is volume, price, new, gone and so on."""

from collections.abc import Iterable
from dataclasses import dataclass

from portal.core.effects import Effect, Part, Step, by_step, effects_between
from portal.core.periods import Month
from portal.core.statement import LineKind
from portal.invoicing.drafting import draft_of
from portal.invoicing.models import Invoice
from portal.invoicing.queries import invoice_for_month
from portal.invoicing.shown import ShownLine, lines_of_document, lines_of_draft

_WHOLE = "1"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two months' totals in minor units, and the effects between them, which add up to the difference."""

    month: Month
    currency: str
    before: int
    after: int
    effects: tuple[Effect, ...]

    @property
    def steps(self) -> list[tuple[Step, int]]:
        """The sum of each step."""
        return by_step(self.effects)


def compared_with_last_month(invoice: Invoice) -> Comparison:
    """An invoice beside its organization's of the month before: final ones as frozen, drafts as they stand."""
    organization, month = invoice.organization, invoice.month
    last = invoice_for_month(organization.id, month.previous)
    before, after = _lines_of(last) if last else [], _lines_of(invoice)
    return Comparison(
        month,
        invoice.currency,
        sum(line.amount for line in before),
        sum(line.amount for line in after),
        tuple(effects_between(_parts(before), _parts(after))),
    )


def _lines_of(invoice: Invoice) -> list[ShownLine]:
    if invoice.document is not None:
        return lines_of_document(invoice.document)
    return lines_of_draft(draft_of(invoice.organization, invoice.month).statement.lines)


def _parts(lines: Iterable[ShownLine]) -> list[Part]:
    return [
        Part(
            LineKind(line.kind),
            line.description,
            line.unit,
            line.quantity,
            line.amount,
            is_prorated=line.kind == LineKind.RECURRING and line.derivation.get("share", _WHOLE) != _WHOLE,
        )
        for line in lines
    ]
