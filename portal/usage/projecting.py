"""What a running month would come to if usage went on as on the last full days.

The rule: each series that adds up (a sum, a count, a level) goes on, for the rest of today and on every later day of
the month, with its average of the last 7 full days; one that is younger, with the average of its full days; one that
began today, with today's quantity. Largest and latest values and numbers of different ones stay.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from portal.core.periods import Month
from portal.usage.queries import Source

RECENT_DAYS = 7
# A series that was not used for so long is a new one.
_FORGOTTEN_AFTER_DAYS = 31
_PROJECTED = f"""
    (SELECT organization_id, day, series_id, meter_id, quantity, events FROM usage_daily WHERE day <= :today
     UNION ALL
     SELECT usual.organization_id, CAST(ahead.day AS date), usual.series_id, usual.meter_id,
            greatest(round(usual.a_day * usual.factor, 12)
                     - CASE WHEN CAST(ahead.day AS date) = :today THEN usual.today ELSE 0 END, 0), 0
     FROM (
         SELECT recent.organization_id, recent.series_id, recent.meter_id, recent.today,
                coalesce(wish.factor, 1) AS factor,
                CASE WHEN recent.first_day = :today THEN recent.today
                     ELSE recent.full_days / least({RECENT_DAYS}, CAST(:today AS date) - recent.first_day) END AS a_day
         FROM (
             SELECT organization_id, series_id, meter_id, min(day) AS first_day,
                    coalesce(sum(quantity) FILTER (WHERE day = :today), 0) AS today,
                    coalesce(sum(quantity) FILTER (
                        WHERE day BETWEEN CAST(:today AS date) - {RECENT_DAYS} AND CAST(:today AS date) - 1
                    ), 0) AS full_days
             FROM usage_daily
             WHERE organization_id = ANY(:organization_ids)
               AND day BETWEEN CAST(:today AS date) - {_FORGOTTEN_AFTER_DAYS} AND :today
             GROUP BY organization_id, series_id, meter_id
         ) AS recent
         JOIN meters ON meters.id = recent.meter_id AND meters.aggregation IN ('sum', 'count', 'level')
         LEFT JOIN unnest(CAST(:codes AS text[]), CAST(:factors AS numeric[])) AS wish(code, factor)
                ON wish.code = meters.code
     ) AS usual
     CROSS JOIN generate_series(CAST(:today AS timestamp), CAST(:last AS timestamp), interval '1 day') AS ahead(day))
"""


def projected(today: date, *, factors: Mapping[str, Decimal] | None = None) -> Source:
    """The usage of a month up to a day of it, and what is to be expected of the rest.

    `factors` are wishes by meter code: what usage of that meter will be, as a multiple of what is usual.
    """
    wishes = factors or {}
    return Source(_PROJECTED, {"today": today, "codes": list(wishes), "factors": list(wishes.values())})


def days_left(month: Month, today: date) -> int:
    """How many days of the month are still to come or not yet over."""
    return (month.last_day - today).days + 1
