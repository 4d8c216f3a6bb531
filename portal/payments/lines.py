"""An invoice's lines as Stripe takes them: whole amounts in its own units, at most 250."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from portal.core.periods import midnight
from portal.invoicing.models import Invoice, InvoiceItem
from portal.payments.stripe_units import to_stripe

LINES_PER_INVOICE = 250
_LONGEST_DESCRIPTION = 500


@dataclass(frozen=True, slots=True)
class _Line:
    """One line, in our minor units; `mark` is by what it is known at Stripe."""

    amount: int
    description: str
    mark: str
    first: date
    last: date


def stripe_lines(invoice: Invoice, items: Sequence[InvoiceItem]) -> tuple[dict[str, Any], ...]:
    """Our lines as Stripe takes them. Raises InvalidInput for an amount that Stripe cannot take.

    Tax and coupons are lines already; what credit and balance pay is one line each, so that totals agree. The lines
    of sections come after the invoice's own, under the names of those whose they are.
    Above the limit the largest lines stay and the rest is one line; the portal shows all of them.
    """
    lines = [*map(_of_item, items), *_of_sections(invoice)]
    paid_with = list(_paid_with(invoice))
    shown, rest = lines, list[_Line]()
    if len(lines) + len(paid_with) > LINES_PER_INVOICE:
        by_size = sorted(range(len(lines)), key=lambda place: (-abs(lines[place].amount), place))
        kept = set(by_size[: LINES_PER_INVOICE - 1 - len(paid_with)])
        shown = [line for place, line in enumerate(lines) if place in kept]
        rest = [line for place, line in enumerate(lines) if place not in kept]
    if rest:
        text = f"{len(rest)} further lines, each of them shown in the portal"
        shown = [*shown, _about(invoice, sum(line.amount for line in rest), text, "rest")]
    return tuple(_as_stripe_takes(line, invoice.currency) for line in (*shown, *paid_with))


def count_lines(invoice: Invoice, items: int) -> int:
    """How many lines Stripe has of an invoice with so many items."""
    sections = list(_of_sections(invoice)) if invoice.moved > 0 else ()
    return min(items + len(sections) + len(list(_paid_with(invoice))), LINES_PER_INVOICE)


def _of_item(item: InvoiceItem) -> _Line:
    description = _description(item.description, item.quantity, item.unit)
    return _Line(item.amount, description, str(item.public_id), item.period_start, item.period_end)


def _paid_with(invoice: Invoice) -> Iterator[_Line]:
    """What pays for its own lines, and what they leave to the next invoice while it asks for the sections."""
    if invoice.credits_applied:
        yield _about(invoice, -invoice.credits_applied, "Prepaid credit applied", "credits")
    if invoice.balance_applied:
        yield _about(invoice, -invoice.balance_applied, "Credit balance applied", "balance")
    if invoice.total < 0 < invoice.moved:
        yield _about(invoice, -invoice.total, "Carried forward to the next invoice", "carried")


def _of_sections(invoice: Invoice) -> Iterator[_Line]:
    """The lines of the sections that ask for something, and what pays for a part of them."""
    for section in (invoice.document or {}).get("sections", ()):
        if section["amount"]:
            for line in section["lines"]:
                first, last = (date.fromisoformat(day) for day in line["period"])
                description = _description(line["description"], Decimal(line["quantity"]), line["unit"])
                yield _Line(line["amount"], f"{section['name']}: {description}", line["id"], first, last)
            paid = section["credits_applied"] + section["balance_applied"]
            if paid:
                text = f"{section['name']}: credit applied"
                yield _about(invoice, -paid, text, f"paid-{section['organization']}")


def _about(invoice: Invoice, amount: int, description: str, key: str) -> _Line:
    """A line of the whole month."""
    last = invoice.period_end - timedelta(days=1)
    return _Line(amount, description, f"{key}-{invoice.public_id}", invoice.period_start, last)


def _as_stripe_takes(line: _Line, currency: str) -> dict[str, Any]:
    end = datetime.combine(line.last, time(23, 59, 59), tzinfo=UTC)
    return {
        "amount": to_stripe(line.amount, currency),
        "description": line.description[:_LONGEST_DESCRIPTION],
        "period": {"start": int(midnight(line.first).timestamp()), "end": int(end.timestamp())},
        "metadata": {"item_id": line.mark},
    }


def _description(text: str, quantity: Decimal, unit: str) -> str:
    counted = f"{quantity.normalize():f}"
    return f"{text} ({counted} {unit})" if unit and counted != "1" else text
