"""Counting hours again from the events themselves, for the doctor; those of archived months cannot be."""

from datetime import datetime

from sqlalchemy import text

from portal.infra.db import db
from portal.usage.archived import ARCHIVED_MONTHS
from portal.usage.touched import COUNTING
from portal.usage.unfolded import ENTRIES

_DIFFERENCES = text(f"""
    WITH counted AS (
        SELECT e.organization_id, date_trunc('hour', e.occurred_at, 'UTC') AS hour, e.series_id,
               sum(CASE m.aggregation WHEN 'sum' THEN e.quantity ELSE 1 END) AS quantity, count(*) AS events
        FROM usage_events AS e JOIN meters AS m ON m.id = e.meter_id
        WHERE m.aggregation IN ('sum', 'count') AND {COUNTING}
        GROUP BY 1, 2, 3
    ), known AS (
        SELECT organization_id, hour, series_id, sum(quantity) AS quantity, sum(events) AS events
        FROM (
            SELECT organization_id, hour, series_id, quantity, events FROM usage_hourly
            UNION ALL
            SELECT organization_id, hour, series_id, quantity, events
            FROM ({ENTRIES}) AS entries WHERE quantity IS NOT NULL
        ) AS parts
        GROUP BY 1, 2, 3
    )
    SELECT organization_id, hour, series_id
    FROM counted FULL JOIN known USING (organization_id, hour, series_id)
    WHERE (coalesce(counted.quantity, 0) <> coalesce(known.quantity, 0)
           OR coalesce(counted.events, 0) <> coalesce(known.events, 0))
      AND CAST(date_trunc('month', hour, 'UTC') AS date) <> ALL ({ARCHIVED_MONTHS})
    ORDER BY 1, 2, 3
    LIMIT :most
""")


def hourly_differences(limit: int = 20) -> list[tuple[int, datetime, int]]:
    """Hours that are not, with what is still to be folded, what their events come to: (organization, hour, series)."""
    return [(row[0], row[1], row[2]) for row in db.session.execute(_DIFFERENCES, {"most": limit})]
