"""Why somebody should look at a draft before it is finalized: rules with their figures in words. No database."""

from dataclasses import asdict, dataclass
from typing import Any

from portal.core.currencies import exponent_of
from portal.core.money import major_text
from portal.core.statement import LineKind
from portal.invoicing.drafting import Draft

# A total so many times last month's, or less than one over that, is looked at; small amounts may jump.
TIMES = 2
LEAST_DIFFERENCE_MAJOR = 50


@dataclass(frozen=True, slots=True)
class Flag:
    """One reason to look: a stable code, a sentence, and whether the draft cannot be finalized as it stands."""

    code: str
    sentence: str
    blocks: bool = False

    def facts(self) -> dict[str, Any]:
        """As a run's item keeps it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Before:
    """What there was before: last month's total in minor units (None if it has none), and whether there is any."""

    total: int | None = None
    is_first: bool = True


def flags_of(draft: Draft, before: Before) -> list[Flag]:
    """All reasons to look at a draft, those that block first."""
    statement = draft.statement
    currency = statement.currency
    flags = [Flag("blocked", sentence, blocks=True) for sentence in draft.blockers]
    if statement.total < 0:
        flags.append(Flag("negative", f"The total is negative: {_money(statement.total, currency)}."))
    if before.is_first:
        flags.append(Flag("first", "It is the first invoice."))
    elif before.total is None:
        flags.append(Flag("gap", "Last month has no final invoice."))
    else:
        flags += _compared(statement.total, before.total, currency)
    late = sum(line.amount for line in statement.lines if line.kind is LineKind.ADJUSTMENT)
    if any(line.kind is LineKind.ADJUSTMENT for line in statement.lines):
        flags.append(Flag("late_usage", f"It bills late usage of closed months: {_money(late, currency)}."))
    return flags


def _compared(total: int, before: int, currency: str) -> list[Flag]:
    now_and_then = f"{_money(total, currency)} after {_money(before, currency)} last month"
    if total == 0 and before != 0:
        return [Flag("zero", f"Nothing is billed: {now_and_then}.")]
    if abs(total - before) < LEAST_DIFFERENCE_MAJOR * 10 ** exponent_of(currency):
        return []
    if total > TIMES * before:
        return [Flag("above", f"More than {TIMES} times last month's total: {now_and_then}.")]
    if total * TIMES < before:
        return [Flag("below", f"Last month's total was more than {TIMES} times that: {now_and_then}.")]
    return []


def _money(amount: int, currency: str) -> str:
    return f"{currency} {major_text(amount, currency)}"
