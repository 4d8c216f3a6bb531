"""Marking months for which usage came after they were over, so that nobody has to search for it.

A mark stands as long as there may be usage that no invoice has billed. Whoever bills a month takes its mark away first
and reads the usage after that: usage that is being stored at that moment is waited for, and what comes later marks
the month again.
"""

from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import text

from portal.core.periods import Month
from portal.infra.db import db

_MARK = text("""
    INSERT INTO late_months (organization_id, month)
    SELECT * FROM unnest(CAST(:organizations AS bigint[]), CAST(:months AS date[]))
    ON CONFLICT (organization_id, month) DO UPDATE SET month = excluded.month
""")
_UNMARK = text("DELETE FROM late_months WHERE organization_id = :organization_id AND month = ANY(:months)")


def mark_late(events: Iterable[tuple[int, datetime]], *, now: datetime) -> None:
    """Mark the months before the current one among these (organization, moment of use). Idempotent.

    In the transaction that stores the events, before they are stored. A month that is not final yet may be marked
    too: it is looked at again and found complete.
    """
    begin = Month.of(now).start
    mark({(organization_id, Month.of(moment)) for organization_id, moment in events if moment < begin})


def mark(months: Collection[tuple[int, Month]]) -> None:
    """Mark these (organization, month). The row is held until the transaction ends, also where it was there before."""
    if months:
        organizations, marked = zip(*sorted(months), strict=True)
        days = [month.first_day for month in marked]
        db.session.execute(_MARK, {"organizations": list(organizations), "months": days})


def unmark(organization_id: int, months: Collection[Month]) -> None:
    """Take the marks of months away, because their usage is billed now: before it is read."""
    days = [month.first_day for month in months]
    db.session.execute(_UNMARK, {"organization_id": organization_id, "months": days})
