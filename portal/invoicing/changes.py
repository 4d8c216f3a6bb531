"""What has changed in a draft since a day or an instant: its lines and the usage behind them, then and now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from portal.core.exact import ZERO, exactly
from portal.core.periods import Month
from portal.core.statement import Statement
from portal.invoicing.as_of import DraftAsOf
from portal.invoicing.drafting import Draft, draft_again, draft_of
from portal.organizations.models import Organization
from portal.usage.queries import SeriesQuantity


@dataclass(frozen=True, slots=True)
class LineChange:
    """A line's amount then and now, in minor units; lines of the same name are taken together."""

    description: str
    before: int
    after: int

    @property
    def change(self) -> int:
        """By how much it rose."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class SeriesChange:
    """A series' quantity then and now, and how many events more it has."""

    meter_name: str
    dimensions: Mapping[str, str]
    unit: str
    before: Decimal
    after: Decimal
    change: Decimal
    events: int


@dataclass(frozen=True, slots=True)
class Changes:
    """A draft as it was known, as it is now, and what is different: the largest first."""

    before: Draft
    after: Draft
    lines: tuple[LineChange, ...]
    series: tuple[SeriesChange, ...]


def changes_since(organization: Organization, month: Month, known_on: date | DraftAsOf) -> Changes:
    """Compare the draft of an open month with what was known of it at a day's end or a computed instant.

    Both are under today's prices and agreements: of these not all that they once were is kept.
    """
    after = draft_of(organization, month)
    before = draft_again(organization, after, known_on=known_on)
    lines = line_changes(before.statement, after.statement)
    series = _series_changes(_whole(before.facts.used), _whole(after.facts.used))
    return Changes(before, after, tuple(lines), tuple(series))


def line_changes(before: Statement, after: Statement) -> list[LineChange]:
    """The lines that differ, and those that only one of two statements has."""
    sums: dict[str, list[int]] = {}
    for place, statement in enumerate((before, after)):
        for line in statement.lines:
            sums.setdefault(line.description, [0, 0])[place] += line.amount
    changes = [LineChange(name, *pair) for name, pair in sums.items() if pair[0] != pair[1]]
    return sorted(changes, key=lambda each: (-abs(each.change), each.description))


@exactly
def _whole(used: Sequence[SeriesQuantity]) -> dict[int, SeriesQuantity]:
    """The month of each series, whose parts have prices of their own."""
    whole: dict[int, SeriesQuantity] = {}
    for each in used:
        so_far = whole.get(each.series_id)
        if so_far is not None:
            each = replace(each, quantity=so_far.quantity + each.quantity, events=so_far.events + each.events)
        whole[each.series_id] = each
    return whole


@exactly
def _series_changes(before: Mapping[int, SeriesQuantity], after: Mapping[int, SeriesQuantity]) -> list[SeriesChange]:
    changes = []
    for series_id in before.keys() | after.keys():
        then, now = before.get(series_id), after.get(series_id)
        series = now or then
        assert series is not None
        known = (then.quantity, then.events) if then else (ZERO, 0)
        found = (now.quantity, now.events) if now else (ZERO, 0)
        if known != found:
            changes.append(
                SeriesChange(
                    series.meter_name,
                    series.dimensions,
                    series.unit,
                    known[0],
                    found[0],
                    found[0] - known[0],
                    found[1] - known[1],
                )
            )
    return sorted(changes, key=lambda each: (each.meter_name, sorted(each.dimensions.items())))
