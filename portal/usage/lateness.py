"""Marking months for which usage came after they were over, so that nobody has to search for it."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import text

from portal.core.periods import Month
from portal.infra.db import db

_MARK = text("""
    INSERT INTO late_months (organization_id, month)
    SELECT * FROM unnest(CAST(:organizations AS bigint[]), CAST(:months AS date[]))
    ON CONFLICT DO NOTHING
""")


def mark_late(events: Iterable[tuple[int, datetime]], *, now: datetime) -> None:
    """Mark the months before the current one among these (organization, moment of use). Idempotent.

    In the transaction that stores the events. A month that is not final yet may be marked too: it is looked at again
    and found complete.
    """
    begin = Month.of(now).start
    late = sorted(
        {(organization_id, Month.of(moment).first_day) for organization_id, moment in events if moment < begin}
    )
    if late:
        organizations, months = zip(*late, strict=True)
        db.session.execute(_MARK, {"organizations": list(organizations), "months": list(months)})
