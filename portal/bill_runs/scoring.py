"""Why somebody should look at a draft before it is finalized: rules with their figures in words, and points.

No database. The points of all reasons add up to the draft's score: from ASKS on it waits for somebody, and the queue
shows the highest first. A hint alone (a missing address) stops nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from statistics import median_high, median_low
from typing import Any

from portal.core.currencies import exponent_of
from portal.core.money import round_half_away
from portal.core.statement import Line, LineKind
from portal.infra.formats import money
from portal.invoicing.drafting import Draft

ASKS = 10
# What each reason weighs, and its name.
REASONS = {
    "blocked": (100, "Cannot be finalized"),
    "negative": (60, "Negative total"),
    "zero": (40, "Nothing billed"),
    "no_usage": (40, "No usage"),
    "above": (40, "Far above the usual"),
    "below": (30, "Far below the usual"),
    "usage_gap": (30, "Gap in usage"),
    "one_off": (30, "Large one-off item"),
    "first": (20, "First invoice"),
    "gap": (20, "No invoice last month"),
    "late_usage": (20, "Late usage billed"),
    "tax_id": (20, "Missing tax id"),
    "payment_method": (20, "No payment method"),
    "late_share": (15, "Late events"),
    "price_changed": (15, "New price"),
    "new_meter": (10, "New meter"),
    "many_lines": (10, "Many lines"),
    "unpaid": (5, "Unpaid older invoice"),
    "address": (4, "Missing address"),
}
# What somebody has approved and is another draft by now.
CHANGED_POINTS = 50


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on something is odd; amounts in the currency's major unit.

    A total so many times the usual, or less than one over that, is odd; small amounts may jump.
    """

    times: int = 2
    least_difference: int = 50
    one_off: int = 1_000
    gap_hours: int = 6
    late_percent: int = 1
    lines: int = 250


@dataclass(frozen=True, slots=True)
class Flag:
    """One reason to look: a stable code, a sentence, whether the draft cannot be finalized as it stands, its points."""

    code: str
    sentence: str
    blocks: bool = False
    points: int = 0

    def facts(self) -> dict[str, Any]:
        """As a run's item keeps it."""
        return {"code": self.code, "sentence": self.sentence, "blocks": self.blocks, "points": self.points}


@dataclass(frozen=True, slots=True)
class Before:
    """What is known of an organization beside its draft; amounts in minor units.

    `totals` are the final ones of up to three months before, `total` is last month's (None if it has none). `meters`
    are those billed in these months, `meters_last` those of last month. `events` of this month, and how many of them
    came after it had ended (`late_events`). `gap_hours` is the longest time without usage of somebody who had usage in
    nearly every hour of the month before; None for everybody else. `unpaid` invoices were due before the month's end.
    """

    total: int | None = None
    is_first: bool = True
    totals: tuple[int, ...] = ()
    meters: frozenset[str] = frozenset()
    meters_last: frozenset[str] = frozenset()
    events: int = 0
    late_events: int = 0
    gap_hours: int | None = None
    unpaid: int = 0
    unpaid_due: int = 0
    is_active: bool = True
    has_address: bool = True
    lacks_tax_id: bool = False
    lacks_payment_method: bool = False


def score_of(flags: Sequence[Flag]) -> int:
    """What the reasons come to together."""
    return sum(flag.points for flag in flags)


def flags_of(draft: Draft, before: Before, limits: Limits | None = None) -> list[Flag]:
    """All reasons to look at a draft, the weightiest first."""
    return sorted(_flags(draft, before, limits or Limits()), key=lambda flag: -flag.points)


def _flags(draft: Draft, before: Before, limits: Limits) -> Iterator[Flag]:
    statement = draft.statement
    for sentence in draft.blockers:
        yield _flag("blocked", sentence, blocks=True)
    yield from _of_total(statement.total, statement.currency, before, limits)
    yield from _of_usage(statement.lines, before, limits)
    yield from _of_lines(draft, limits)
    yield from _of_customer(before, statement.currency)


def _of_total(total: int, currency: str, before: Before, limits: Limits) -> Iterator[Flag]:
    if total < 0:
        yield _flag("negative", f"The total is negative: {money(total, currency)}.")
    if before.is_first:
        yield _flag("first", "It is the first invoice.")
        return
    if before.total is None:
        yield _flag("gap", "Last month has no final invoice.")
    if before.totals:
        yield from _compared(total, before.totals, currency, limits)


def _compared(total: int, totals: Sequence[int], currency: str, limits: Limits) -> Iterator[Flag]:
    usual = median(totals)
    months = {1: "last invoice's total", 2: "mean of the last two invoices"}
    what = f"the {months.get(len(totals), 'median of the last three invoices')} ({money(usual, currency)})"
    if total == 0 and usual:
        yield _flag("zero", f"Nothing is billed: {money(0, currency)} after {what}.")
    elif abs(total - usual) < limits.least_difference * 10 ** exponent_of(currency):
        return
    elif total > limits.times * usual:
        said = f"{times(total, usual)} times {what}" if usual > 0 else f"far above {what}"
        yield _flag("above", f"{money(total, currency)} is {said}.")
    elif total * limits.times < usual:
        yield _flag("below", f"{money(total, currency)} is less than a {_part(limits.times)} of {what}.")


def _part(times: int) -> str:
    return "half" if times == 2 else f"{times}th"


def median(totals: Sequence[int]) -> int:
    """The middle one of some amounts in minor units; of an even number the mean of the middle two, rounded."""
    return round_half_away(Fraction(median_low(totals) + median_high(totals), 2))


def times(amount: int, usual: int) -> Decimal:
    """How many times the usual an amount is, with one decimal."""
    return Decimal(round_half_away(Fraction(amount * 10, usual))).scaleb(-1)


def _of_usage(lines: Sequence[Line], before: Before, limits: Limits) -> Iterator[Flag]:
    used = {line.meter for line in lines if line.kind is LineKind.USAGE and line.quantity}
    if before.is_active and before.meters_last and not used and not before.events:
        yield _flag("no_usage", f"Nothing was used; last month it was {_listed(before.meters_last)}.")
    elif before.gap_hours is not None and before.gap_hours > limits.gap_hours:
        yield _flag(
            "usage_gap", f"No usage for {before.gap_hours} hours on end, of somebody who otherwise uses every hour."
        )
    if before.meters and (new := used - before.meters):
        yield _flag("new_meter", f"Billed for the first time in three months: {_listed(new)}.")
    # A month that came as a whole after its end (a file, an import) is not late: that is how it is sent.
    if before.late_events < before.events and before.late_events * 100 > limits.late_percent * before.events:
        share = Decimal(round_half_away(Fraction(before.late_events * 1000, before.events))).scaleb(-1)
        said = f"{before.late_events:,} of {before.events:,} events ({share}%)"
        yield _flag("late_share", f"{said} came after the month had ended.")


def _of_lines(draft: Draft, limits: Limits) -> Iterator[Flag]:
    lines, currency = draft.statement.lines, draft.statement.currency
    late = [line.amount for line in lines if line.kind is LineKind.ADJUSTMENT]
    if late:
        yield _flag("late_usage", f"It bills late usage of closed months: {money(sum(late), currency)}.")
    changed = {line.description: day for line in lines if (day := _new_price_from(line, draft)) is not None}
    if changed:
        said = ", ".join(f"{name} from {day:%-d %B}" for name, day in sorted(changed.items()))
        yield _flag("price_changed", f"A price began within the month: {said}.")
    limit = limits.one_off * 10 ** exponent_of(currency)
    for line in lines:
        if "one_off_item_id" in line.references and abs(line.amount) > limit:
            said = f"“{line.description}” of {money(line.amount, currency)}"
            yield _flag("one_off", f"A one-off item is above {money(limit, currency)}: {said}.")
    if len(lines) > limits.lines:
        yield _flag("many_lines", f"It has {len(lines):,} lines, more than {limits.lines:,}.")


def _new_price_from(line: Line, draft: Draft) -> date | None:
    if line.kind is not LineKind.USAGE or not line.quantity:
        return None
    day = date.fromisoformat(line.derivation["valid_from"])
    return day if draft.month.first_day <= day <= draft.month.last_day else None


def _of_customer(before: Before, currency: str) -> Iterator[Flag]:
    if before.lacks_tax_id:
        yield _flag("tax_id", "Reverse charge needs the customer's tax id, and there is none.")
    if before.lacks_payment_method:
        yield _flag("payment_method", "It is charged automatically, and there is no payment method.")
    if not before.has_address:
        yield _flag("address", "The customer's address is missing.")
    if before.unpaid:
        invoices = "invoice is" if before.unpaid == 1 else "invoices are"
        yield _flag("unpaid", f"{before.unpaid} older {invoices} unpaid: {money(before.unpaid_due, currency)}.")


def _flag(code: str, sentence: str, *, blocks: bool = False) -> Flag:
    return Flag(code, sentence, blocks, REASONS[code][0])


def _listed(meters: frozenset[str] | set[str]) -> str:
    return ", ".join(sorted(meters))
