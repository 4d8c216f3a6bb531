"""Quantities of groups of series by the day, of any source: what was recorded, or what an invoice has frozen."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from sqlalchemy import text

from portal.core.periods import Month
from portal.infra.db import db
from portal.usage.queries import Source

_BY_DAY = """
    SELECT wanted.key, used.day, sum(used.quantity) AS quantity
    FROM unnest(CAST(:keys AS integer[]), CAST(:series AS bigint[]), CAST(:firsts AS date[]), CAST(:lasts AS date[]))
         AS wanted(key, series_id, first_day, last_day)
    JOIN {source} AS used
      ON used.organization_id = ANY(:organization_ids) AND used.day BETWEEN :first AND :last
     AND used.series_id = wanted.series_id AND used.day BETWEEN wanted.first_day AND wanted.last_day
    GROUP BY wanted.key, used.day
    ORDER BY wanted.key, used.day
"""


def quantities_by_day(
    organization_id: int, month: Month, spans: Sequence[tuple[int, int, date, date]], source: Source
) -> list[tuple[int, date, Decimal]]:
    """(key, day, quantity) of a month: the days on which the series under a key were used, in one query.

    A span is (key, series, first day, last day). Series under one key are of one meter; a level is in level × seconds,
    because only the days' shares of the whole matter.
    """
    keys, series, firsts, lasts = ([span[place] for span in spans] for place in range(4))
    rows = db.session.execute(
        text(_BY_DAY.format(source=source.relation)),
        {
            "organization_ids": [organization_id],
            **source.values,
            "first": month.first_day,
            "last": month.last_day,
            "keys": keys,
            "series": series,
            "firsts": firsts,
            "lasts": lasts,
        },
    )
    return [(row.key, row.day, row.quantity) for row in rows]
