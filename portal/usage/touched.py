"""The series of a batch whose days do not simply add up, and what their days lack of what they should come to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from portal.core.exact import ZERO, exactly
from portal.core.quantities import Aggregation
from portal.infra.db import db
from portal.usage.events import UsageRecord
from portal.usage.series import SeriesKey

# Organization, day and series.
RollupKey = tuple[int, date, int]
# What counts of usage_events AS e: no cancellation, and nothing that was corrected.
COUNTING = """
    e.counts AND NOT EXISTS (
        SELECT FROM usage_events AS c WHERE c.organization_id = e.organization_id AND c.corrects = e.event_key)
"""


@dataclass(slots=True)
class Touched:
    """A series of a batch: what came, and what was taken out."""

    aggregation: Aggregation
    came: list[UsageRecord] = field(default_factory=list)
    gone: list[UsageRecord] = field(default_factory=list)

    @property
    def days(self) -> set[date]:
        """The days of all of them."""
        return {each.occurred_at.date() for each in (*self.came, *self.gone)}


Batch = Mapping[SeriesKey, Touched]
Days = dict[SeriesKey, dict[date, Decimal]]


@exactly
def differences(targets: Days, spans: Sequence[tuple[int, int, date, date]]) -> dict[RollupKey, Decimal]:
    """What the days of these spans lack of what they should come to."""
    counted: Days = {}
    for row in db.session.execute(_ROLLED_UP, columns(spans, *SPAN)):
        counted.setdefault((row.organization_id, row.series_id), {})[row.day] = row.quantity
    changes = {}
    for key in targets.keys() | counted.keys():
        wanted, known = targets.get(key, {}), counted.get(key, {})
        for day in wanted.keys() | known.keys():
            change = wanted.get(day, ZERO) - known.get(day, ZERO)
            if change:
                changes[key[0], day, key[1]] = change
    return changes


def columns(rows: Sequence[tuple[Any, ...]], *names: str) -> dict[str, list[Any]]:
    """Rows as one list for each column, as unnest() reads them."""
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


SPAN = ("organizations", "series", "firsts", "lasts")
SPANS = """
    unnest(CAST(:organizations AS bigint[]), CAST(:series AS bigint[]), CAST(:firsts AS date[]), CAST(:lasts AS date[]))
        AS span(organization_id, series_id, first_day, last_day)
"""
_ROLLED_UP = text(f"""
    SELECT daily.organization_id, daily.series_id, daily.day, sum(daily.quantity) AS quantity
    FROM {SPANS} JOIN usage_daily AS daily USING (organization_id, series_id)
    WHERE daily.day BETWEEN span.first_day AND span.last_day
    GROUP BY 1, 2, 3
""")
