"""Days of what does not simply add up: a month's largest or latest value, its different subjects, a level by its time.

A rollup of every day is made all the same, and those of a month add up to its quantity: so drafts, invoices, late usage
and charts need not know how a meter counts. What an event does to its series' days depends on the series' other events.
So the series is held, the little that is remembered of it (a value a day, a row a subject, the changes of a level) is
brought up to date, and what its days should come to is compared with what they come to. No result depends on the
order in which events arrive.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from portal.core.quantities import Aggregation
from portal.usage.events import UsageRecord
from portal.usage.levels import count_changes
from portal.usage.readings import count_readings
from portal.usage.series import SeriesKey, lock_series, store_series
from portal.usage.subjects import count_subjects
from portal.usage.touched import RollupKey, Touched

_COUNT = {
    Aggregation.MAX: count_readings,
    Aggregation.LATEST: count_readings,
    Aggregation.UNIQUE: count_subjects,
    Aggregation.LEVEL: count_changes,
}


def derive(came: Iterable[UsageRecord], gone: Iterable[UsageRecord], *, now: datetime) -> dict[RollupKey, Decimal]:
    """By how much days change through events that were stored and others that were taken out, all of such meters.

    In the transaction that has stored the events, before the rollups. Changes what is remembered of the series.
    """
    batch: dict[SeriesKey, Touched] = {}
    for each in came:
        batch.setdefault((each.organization_id, each.series_id), Touched(each.aggregation)).came.append(each)
    for each in gone:
        batch.setdefault((each.organization_id, each.series_id), Touched(each.aggregation)).gone.append(each)
    if not batch:
        return {}
    ordered = {key: batch[key] for key in sorted(batch)}
    store_series([touched.came[0] for touched in ordered.values() if touched.came])
    lock_series(ordered)
    changes: dict[RollupKey, Decimal] = {}
    for aggregation, count in _COUNT.items():
        part = {key: touched for key, touched in ordered.items() if touched.aggregation is aggregation}
        if part:
            changes |= count(part, aggregation, now)
    return changes
