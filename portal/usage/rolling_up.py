"""Adding a batch to its daily rollups, and leaving behind what its hours are made of: one statement for both."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from portal.infra.db import db
from portal.usage.series import SeriesKey
from portal.usage.unfolded import NOTE, Entry, note_values
from portal.usage.writing import array

# A series is written with its first rollup of a day: a rollup that was there before had its series written with it.
_ADD = f"""
    WITH noted AS ({NOTE}),
    folded AS (
        INSERT INTO usage_daily AS daily (organization_id, day, series_id, meter_id, quantity, events, recorded_day,
                                          updated_at)
        SELECT *, CAST(%(recorded_day)s AS date), CAST(%(now)s AS timestamptz)
        FROM unnest(CAST(%(organizations)s AS bigint[]), CAST(%(days)s AS date[]), CAST(%(series)s AS bigint[]),
                    CAST(%(meters)s AS bigint[]), CAST(%(quantities)s AS numeric[]), CAST(%(events)s AS integer[]))
        ON CONFLICT (organization_id, day, series_id, recorded_day) DO UPDATE
        SET quantity = daily.quantity + excluded.quantity, events = daily.events + excluded.events,
            updated_at = excluded.updated_at
        RETURNING organization_id, series_id, xmax = 0 AS is_new
    )
    SELECT DISTINCT organization_id, series_id FROM folded WHERE is_new ORDER BY organization_id, series_id
"""


# Organization, day (written like 2026-11-22), series, meter; the quantity and the number of events to add.
Rollup = tuple[int, str, int, int, Decimal, int]


def add_to_days(rollups: Sequence[Rollup], entries: Sequence[Entry], *, now: datetime) -> list[SeriesKey]:
    """Add rollups, sorted by organization, day and series, and note what their hours come to (usage.unfolded).

    Returns the series that may not be written yet.
    """
    organizations, days, series, meters, quantities, events = zip(*rollups, strict=True)
    values = {
        "now": now,
        "recorded_day": now.date(),
        "organizations": array(map(str, organizations)),
        "days": array(days),
        "series": array(map(str, series)),
        "meters": array(map(str, meters)),
        "quantities": array(map(str, quantities)),
        "events": array(map(str, events)),
        **note_values(entries),
    }
    return [(row[0], row[1]) for row in db.session.connection().exec_driver_sql(_ADD, values)]
