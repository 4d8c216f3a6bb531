"""A month's costs beside those of the month before, as pages and files show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from portal.core.errors import InvalidInput
from portal.core.money import major_text, round_together
from portal.core.periods import Month
from portal.core.saying import Said
from portal.invoicing.cost_by import Costs, Group, GroupKind, Value, costs_of, in_order
from portal.invoicing.cost_lines import Amounts
from portal.organizations.models import Organization

EARLIEST = Month(2000, 1)
MOST_VALUES = 100
CSV_HEAD = ("Month", "By", "Value", "Kind", "Currency", "Net", "Tax", "Amount", "Share %", "Month before", "Change")
_EVERYTHING_ELSE, _TOTAL = Said("Everything else"), Said("Total")


@dataclass(frozen=True, slots=True)
class CostRow:
    """One group of this month, of the month before, or of both. `before` is in minor units, the share in percent.

    Of a total of nothing, or of a credit, there are no shares.
    """

    label: str
    kind: str
    value: Value
    amounts: Amounts
    before: int
    share: Decimal | None

    @property
    def change(self) -> int:
        """By how much it rose."""
        return self.amounts.whole - self.before


@dataclass(frozen=True, slots=True)
class CostTable:
    """All rows; they add up to `total`, and their months before to its."""

    costs: Costs
    rows: tuple[CostRow, ...]
    total: CostRow

    @property
    def shown(self) -> tuple[CostRow, ...]:
        """What a page has room for: the smallest of many values together."""
        values = [row for row in self.rows if row.kind == GroupKind.VALUE]
        others = values[MOST_VALUES:]
        if not others:
            return self.rows
        together = _together(f"{len(others)} others", "others", others)
        return (*values[:MOST_VALUES], together, *self.rows[len(values) :])


def month_asked(text: str | None, now: datetime) -> Month:
    """The month that an address names, by default the current one. Raises InvalidInput for one without any usage."""
    current = Month.of(now)
    month = Month.parse(text[:20]) if text else current
    if not EARLIEST <= month <= current.next:
        raise InvalidInput(f"There are no costs of {month}; choose a month up to {current}.", field="month")
    return month


def cost_table(organization: Organization, month: Month, *, by: str | None, meter: str | None) -> CostTable:
    """The costs of a month beside those of the whole month before, each as it was billed or stands now.

    Raises InvalidInput as `costs_of` does.
    """
    costs = costs_of(organization, month, by=by, meter=meter)
    earlier = costs_of(organization, month.previous, by=costs.question.by, meter=meter)
    before = {group.value: group for group in earlier.groups}
    groups = sorted([*costs.groups, *_gone(costs, earlier)], key=in_order)
    amounts = [group.amounts for group in groups]
    befores = [before[group.value].amounts.whole if group.value in before else 0 for group in groups]
    names = [(group.label, str(group.kind), group.value) for group in groups]
    if meter is not None:
        amounts.append(costs.rest)
        befores.append(earlier.rest.whole)
        names.append((_EVERYTHING_ELSE, "everything_else", None))
    shares = _shares([each.whole for each in amounts])
    rows = tuple(
        CostRow(*name, of_row, then, share)
        for name, of_row, then, share in zip(names, amounts, befores, shares, strict=True)
    )
    return CostTable(costs, rows, _together(_TOTAL, "total", rows))


def _gone(costs: Costs, earlier: Costs) -> list[Group]:
    """What the month before had and this month has not."""
    here = {group.value for group in costs.groups}
    return [Group(group.value, group.label, Amounts()) for group in earlier.groups if group.value not in here]


def _shares(amounts: Sequence[int]) -> list[Decimal | None]:
    """The percentage of each amount in tenths, which add up to a hundred."""
    total = sum(amounts)
    if total <= 0:
        return [None] * len(amounts)
    return [Decimal(tenths) / 10 for tenths in round_together([Fraction(each * 1000, total) for each in amounts])]


def _together(label: str, kind: str, rows: Sequence[CostRow]) -> CostRow:
    shares = [row.share for row in rows if row.share is not None]
    return CostRow(
        label,
        kind,
        None,
        sum((row.amounts for row in rows), Amounts()),
        sum(row.before for row in rows),
        sum(shares, Decimal(0)) if shares else None,
    )


def csv_rows(table: CostTable) -> list[tuple[str | Decimal | None, ...]]:
    """Every row and the total, with amounts in the major unit."""
    bill, by = table.costs.bill, table.costs.question.by
    return [
        (
            str(bill.month),
            by,
            row.value or row.label,
            row.kind,
            bill.currency,
            *(major_text(each, bill.currency) for each in (row.amounts.net, row.amounts.tax, row.amounts.whole)),
            row.share,
            *(major_text(each, bill.currency) for each in (row.before, row.change)),
        )
        for row in (*table.rows, table.total)
    ]
