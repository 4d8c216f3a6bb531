"""Why somebody should look at a draft before it is finalized: rules with their figures in words. No database.

A flag has a weight: one of at least `REVIEW_FROM` keeps the draft from being approved by itself; lighter ones only say
what is worth knowing. The queue begins with the heaviest and largest.
"""

from dataclasses import asdict, dataclass, field
from statistics import median_low
from typing import Any

from portal.core.currencies import exponent_of
from portal.core.money import major_text
from portal.core.statement import LineKind, Statement
from portal.invoicing.drafting import Draft

# A total of more than twice the median of so many months, or less than half of it; small amounts may jump.
MONTHS_LOOKED_AT = 3
LEAST_DIFFERENCE_MAJOR = 50
# From here on a one-off item, or usage of a meter that the last months did not have, is worth a look.
LARGE_ITEM_MAJOR = 1_000
LARGE_NEW_METER_MAJOR = 10
# Late usage of more than one in so many of the total.
LATE_SHARE = 100
# Stripe shows so many lines; more are grouped there.
MOST_LINES = 250
REVIEW_FROM = 10
BLOCKING, HEAVY, LIGHT = 100, 30, 10
WORTH_KNOWING = 1
_ONE_OFF = (LineKind.ONE_OFF, LineKind.CREDIT)


@dataclass(frozen=True, slots=True)
class Flag:
    """One reason to look: a stable code, a sentence, its weight, and whether it keeps the draft from being final."""

    code: str
    sentence: str
    weight: int = LIGHT
    blocks: bool = False

    def facts(self) -> dict[str, Any]:
        """As a run's item keeps it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Before:
    """What is known of an organization besides its draft.

    `total` is last month's in minor units (None if it has none), `totals` those of the last months that have one, the
    latest first. `meters` were billed in them. `changed_prices` began within the month, after its first day.
    `approved_total` is what somebody had approved before the draft changed.
    """

    total: int | None = None
    is_first: bool = True
    totals: tuple[int, ...] = ()
    meters: frozenset[str] = frozenset()
    changed_prices: frozenset[int] = frozenset()
    overdue: tuple[str, ...] = ()
    has_tax_id: bool = True
    has_payment_method: bool = True
    approved_by: str | None = None
    approved_total: int | None = None


def flags_of(draft: Draft, before: Before) -> list[Flag]:
    """All reasons to look at a draft, the heaviest first."""
    return sorted(_Draft(draft, before).flags(), key=lambda flag: -flag.weight)


def needs_review(flags: list[Flag]) -> bool:
    """Whether somebody has to look before it is finalized."""
    return any(flag.weight >= REVIEW_FROM for flag in flags)


def score_of(flags: list[Flag], total: int, currency: str) -> int:
    """Where in the queue a draft stands: its weights times its size in the major unit."""
    size = abs(total) // int(10 ** exponent_of(currency))
    return sum(flag.weight for flag in flags) * (size + 1)


@dataclass(frozen=True, slots=True)
class _Draft:
    draft: Draft
    before: Before
    statement: Statement = field(init=False)
    currency: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "statement", self.draft.statement)
        object.__setattr__(self, "currency", self.draft.statement.currency)

    def flags(self) -> list[Flag]:
        return [
            *(Flag("blocked", sentence, BLOCKING, blocks=True) for sentence in self.draft.blockers),
            *self._of_total(),
            *self._of_history(),
            *self._of_lines(),
            *self._of_buyer(),
        ]

    def _of_total(self) -> list[Flag]:
        total, before = self.statement.total, self.before
        flags = []
        if total < 0:
            flags.append(Flag("negative", f"The total is negative: {self._money(total)}.", HEAVY))
        if before.approved_by is not None and before.approved_total is not None and before.approved_total != total:
            then = self._money(before.approved_total)
            sentence = f"It has changed since {before.approved_by} approved it: {then} then, {self._money(total)} now."
            flags.append(Flag("changed", sentence, HEAVY))
        return flags

    def _of_history(self) -> list[Flag]:
        before = self.before
        if before.is_first:
            return [Flag("first", "It is the first invoice.")]
        flags = [] if before.total is not None else [Flag("gap", "Last month has no final invoice.")]
        return flags + (self._compared(before.totals) if before.totals else [])

    def _compared(self, totals: tuple[int, ...]) -> list[Flag]:
        total, usual = self.statement.total, median_low(totals)
        months = "last month" if len(totals) == 1 else f"the median of the last {len(totals)} months"
        now_and_then = f"{self._money(total)} after {self._money(usual)}, {months}"
        if total == 0 and usual != 0:
            return [Flag("zero", f"Nothing is billed: {now_and_then}.", HEAVY)]
        if abs(total - usual) < LEAST_DIFFERENCE_MAJOR * self._major:
            return []
        if total > 2 * usual:
            return [Flag("above", f"More than twice what is usual: {now_and_then}.", HEAVY)]
        if total * 2 < usual:
            return [Flag("below", f"Less than half of what is usual: {now_and_then}.", HEAVY)]
        return []

    def _of_lines(self) -> list[Flag]:
        statement, flags = self.statement, []
        late = sum(line.amount for line in statement.lines if line.kind is LineKind.ADJUSTMENT)
        if any(line.kind is LineKind.ADJUSTMENT for line in statement.lines):
            weight = LIGHT if abs(late) * LATE_SHARE > abs(statement.total) else WORTH_KNOWING
            flags.append(Flag("late_usage", f"It bills late usage of closed months: {self._money(late)}.", weight))
        flags += [
            Flag("one_off", f"A large one-off item: {line.description}, {self._money(line.amount)}.")
            for line in statement.lines
            if line.kind in _ONE_OFF and abs(line.amount) > LARGE_ITEM_MAJOR * self._major
        ]
        # Who had no usage at all begins with all of its meters at once; its total tells that already.
        if self.before.meters:
            flags += self._new_meters()
        changed = {
            line.description
            for line in statement.lines
            if line.references.get("price_version_id") in self.before.changed_prices
        }
        if changed:
            names = ", ".join(sorted(changed))
            flags.append(Flag("price", f"A price changed within the month: {names}.", WORTH_KNOWING))
        if len(statement.lines) > MOST_LINES:
            sentence = f"It has {len(statement.lines)} lines; Stripe shows {MOST_LINES}, so they are grouped there."
            flags.append(Flag("many_lines", sentence, WORTH_KNOWING))
        return flags

    def _new_meters(self) -> list[Flag]:
        amounts: dict[str, int] = {}
        for line in self.statement.lines:
            if line.kind is LineKind.USAGE and line.meter not in self.before.meters:
                amounts[line.meter] = amounts.get(line.meter, 0) + line.amount
        return [
            Flag(
                "new_meter", f"{meter} was not billed in the last {MONTHS_LOOKED_AT} months: {self._money(amount)} now."
            )
            for meter, amount in sorted(amounts.items())
            if amount >= LARGE_NEW_METER_MAJOR * self._major
        ]

    def _of_buyer(self) -> list[Flag]:
        flags = []
        if not self.before.has_tax_id:
            flags.append(Flag("tax_id", "It is billed under reverse charge and has no tax id."))
        if not self.before.has_payment_method:
            flags.append(Flag("payment_method", "It is charged automatically and has no payment method."))
        if self.before.overdue:
            invoices = ", ".join(self.before.overdue)
            flags.append(Flag("overdue", f"Earlier invoices are overdue: {invoices}.", WORTH_KNOWING))
        return flags

    @property
    def _major(self) -> int:
        return int(10 ** exponent_of(self.currency))

    def _money(self, amount: int) -> str:
        return f"{self.currency} {major_text(amount, self.currency)}"
