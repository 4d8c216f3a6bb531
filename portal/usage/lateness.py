"""Marking months for which usage came after they were over, so that nobody has to search for it.

A mark stands as long as there may be usage that no invoice has billed. Whoever bills a month takes its mark away first
and reads the usage after that: usage that is being stored at that moment is waited for, and what comes later marks
the month again.
"""

from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import text

from portal.core.periods import Month
from portal.core.quantities import Aggregation
from portal.infra.db import db

_MARK = text("""
    INSERT INTO late_months (organization_id, month)
    SELECT * FROM unnest(CAST(:organizations AS bigint[]), CAST(:months AS date[]))
    ON CONFLICT (organization_id, month) DO UPDATE SET month = excluded.month
""")
_UNMARK = text("""
    DELETE FROM late_months
    WHERE (organization_id, month) IN (
        SELECT marked.organization_id, marked.month
        FROM unnest(CAST(:organizations AS bigint[]), CAST(:months AS date[])) AS gone(organization_id, month)
        JOIN late_months AS marked USING (organization_id, month)
        ORDER BY 1, 2 FOR UPDATE OF marked)
""")


def mark_late(events: Iterable[tuple[int, datetime, Aggregation]], *, now: datetime) -> None:
    """Mark the months before the current one among these (organization, moment of use, aggregation). Idempotent.

    In the transaction that stores the events, before they are stored. A month that is not final yet may be marked
    too: it is looked at again and found complete. A level that changed in a month is another one in the months since.
    """
    current = Month.of(now)
    begin = current.start
    late = [(each[0], Month.of(each[1]), each[2]) for each in events if each[1] < begin]
    months = {(organization_id, month) for organization_id, month, _ in late}
    for organization_id, month, aggregation in set(late):
        while aggregation is Aggregation.LEVEL and month < current.previous:
            month = month.next
            months.add((organization_id, month))
    mark(months)


def mark(months: Collection[tuple[int, Month]]) -> None:
    """Mark these (organization, month). The row is held until the transaction ends, also where it was there before."""
    if months:
        organizations, marked = zip(*sorted(months), strict=True)
        days = [month.first_day for month in marked]
        db.session.execute(_MARK, {"organizations": list(organizations), "months": days})


def unmark(months: Collection[tuple[int, Month]]) -> None:
    """Take the marks of these (organization, month) away, because their usage is billed now: before it is read."""
    organizations, marked = zip(*sorted(months), strict=True)
    days = [month.first_day for month in marked]
    db.session.execute(_UNMARK, {"organizations": list(organizations), "months": days})
