"""What a month's usage had come to by the end of each day on which something was heard of: one read for all days."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import text

from portal.core.periods import Month
from portal.core.quantities import Aggregation
from portal.infra.db import db
from portal.usage.queries import IN_UNITS, SeriesQuantity

_DAYS = "(CAST(:last AS date) - CAST(:first AS date) + 1)"
# Added up by day of hearing before it is turned into units, because that rounds.
_BY_DAY = text(f"""
    SELECT used.recorded_day, row_number() OVER (ORDER BY products.name, meters.name, used.series_id,
               used.segment_start, used.recorded_day) AS place,
           used.series_id, used.meter_id, meters.code AS meter_code, meters.name AS meter_name, meters.aggregation,
           products.name AS product, meters.unit, usage_series.dimensions, used.segment_start,
           {IN_UNITS.format(quantity="used.quantity", days=_DAYS)} AS quantity, used.events
    FROM (
        SELECT series_id, meter_id, segment_start, recorded_day,
               sum(sum(quantity)) OVER so_far AS quantity, sum(sum(events)) OVER so_far AS events
        FROM (
            SELECT *, (SELECT max(cut) FROM unnest(CAST(:cuts AS date[])) AS cut WHERE cut <= day) AS segment_start
            FROM usage_daily
            WHERE organization_id = :organization_id AND day >= :first AND day <= :last
        ) AS daily
        GROUP BY series_id, meter_id, segment_start, recorded_day
        WINDOW so_far AS (PARTITION BY series_id, meter_id, segment_start ORDER BY recorded_day)
    ) AS used
    JOIN usage_series USING (series_id, meter_id)
    JOIN meters ON meters.id = used.meter_id
    JOIN products ON products.id = meters.product_id
    WHERE usage_series.organization_id = :organization_id
    ORDER BY place
""")


@dataclass(frozen=True, slots=True)
class KnownOn:
    """What one series' segment had come to; `place` is the same on all days, and the order in which drafts read."""

    place: int
    series: SeriesQuantity


def usage_by_day_of_hearing(
    organization_id: int, month: Month, *, cuts: Sequence[date] = ()
) -> Mapping[date, Sequence[KnownOn]]:
    """By the day on which something was heard of: the segments that changed, with what they came to at its end."""
    values = {
        "organization_id": organization_id,
        "first": month.first_day,
        "last": month.last_day,
        "cuts": [month.first_day, *cuts],
    }
    found: dict[date, list[KnownOn]] = {}
    places: dict[tuple[int, date], int] = {}
    for row in db.session.execute(_BY_DAY, values):
        facts = dict(row._mapping)
        heard, place = facts.pop("recorded_day"), facts.pop("place")
        facts |= {"events": int(row.events), "aggregation": Aggregation(row.aggregation)}
        first_place = places.setdefault((row.series_id, row.segment_start), place)
        found.setdefault(heard, []).append(KnownOn(first_place, SeriesQuantity(**facts)))
    return found
