"""Reads of usage: from daily rollups only, never from raw events (but for the list of recent events itself)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select, text

from portal.core.periods import Month
from portal.core.quantities import Aggregation
from portal.infra.db import among, db
from portal.usage.models import LateMonth, UsageDaily


@dataclass(frozen=True, slots=True)
class SeriesQuantity:
    """What one series came to within one segment of a period: by how much the month's quantity rose in it."""

    series_id: int
    meter_id: int
    meter_code: str
    meter_name: str
    aggregation: Aggregation
    product: str
    unit: str
    dimensions: Mapping[str, str]
    segment_start: date
    quantity: Decimal
    events: int


@dataclass(frozen=True, slots=True)
class Source:
    """A relation with the columns of usage_daily, and the values that its text names: by default what was recorded.

    One text reads them all, so that a draft and what an invoice has frozen come to the same figures.
    """

    relation: str = "usage_daily"
    values: Mapping[str, Any] = field(default_factory=dict)


# Of a level, level × seconds in its meter's unit, in a month of so many days: rounded once, where it is read.
IN_UNITS = """
    CASE meters.per
        WHEN 'hour' THEN round({quantity} / 3600, 12)
        WHEN 'day' THEN round({quantity} / 86400, 12)
        WHEN 'month' THEN round({quantity} / (86400 * {days}), 12)
        ELSE {quantity}
    END
"""
_USED = IN_UNITS.format(quantity="used.quantity", days="(CAST(:last AS date) - CAST(:first AS date) + 1)")
_BY_SERIES = f"""
    SELECT used.organization_id, used.series_id, used.meter_id, meters.code AS meter_code, meters.name AS meter_name,
           meters.aggregation, products.name AS product, meters.unit, CAST(usage_series.dimensions AS text),
           used.segment_start, {_USED} AS quantity, used.events
    FROM (
        SELECT organization_id, series_id, meter_id,
               {{segment_start}} AS segment_start,
               sum(quantity) AS quantity, sum(events) AS events
        FROM {{source}} AS source
        WHERE organization_id = ANY(:organization_ids) AND day >= :first AND day <= :last
        GROUP BY organization_id, series_id, meter_id, segment_start
        HAVING sum(quantity) <> 0 OR sum(events) <> 0
    ) AS used
    JOIN usage_series USING (organization_id, series_id, meter_id)
    JOIN meters ON meters.id = used.meter_id
    JOIN products ON products.id = meters.product_id
    ORDER BY products.name, meters.name, used.series_id, used.segment_start
"""
_CUT_BEFORE = "(SELECT max(cut) FROM unnest(CAST(:cuts AS date[])) AS cut WHERE cut <= day)"
RECORDED = Source()


def usage_by_series(
    organization_id: int, month: Month, *, cuts: Sequence[date] = (), source: Source = RECORDED
) -> list[SeriesQuantity]:
    """What every series of an organization came to in a month, cut into segments at the given days."""
    return usage_of_many([organization_id], month, cuts=cuts, source=source)[organization_id]


def usage_of_many(
    organization_ids: Sequence[int], month: Month, *, cuts: Sequence[date] = (), source: Source = RECORDED
) -> dict[int, list[SeriesQuantity]]:
    """The same of many organizations, in one query."""
    rows = db.session.execute(
        text(_BY_SERIES.format(source=source.relation, segment_start=_CUT_BEFORE if cuts else "CAST(:first AS date)")),
        {
            "organization_ids": list(organization_ids),
            **source.values,
            "first": month.first_day,
            "last": month.last_day,
            **({"cuts": [month.first_day, *cuts]} if cuts else {}),
        },
    ).all()
    # Few are different.
    dimensions_of: dict[str, Mapping[str, str]] = {each: json.loads(each) for each in {row[8] for row in rows}}
    found: dict[int, list[SeriesQuantity]] = {each: [] for each in organization_ids}
    # All at once: row by row the driver takes as long as the database.
    for organization_id, series_id, meter_id, code, name, aggregation, product, unit, dimensions, start, *sums in rows:
        quantity, events = sums
        found[organization_id].append(
            SeriesQuantity(
                series_id, meter_id, code, name, Aggregation(aggregation), product, unit, dimensions_of[dimensions],
                start, quantity, int(events),
            )
        )  # fmt: skip
    return found


def late_months(organization_id: int) -> list[Month]:
    """The months of an organization for which usage was reported after they were over, oldest first."""
    return late_months_of_many([organization_id]).get(organization_id, [])


def late_months_of_many(organization_ids: Sequence[int]) -> dict[int, list[Month]]:
    """The same of many organizations, in one query; those without any are missing."""
    found: dict[int, list[Month]] = {}
    query = (
        select(LateMonth.organization_id, LateMonth.month)
        .where(among(LateMonth.organization_id, organization_ids))
        .order_by(LateMonth.organization_id, LateMonth.month)
    )
    for organization_id, day in db.session.execute(query):
        found.setdefault(organization_id, []).append(Month.of(day))
    return found


def usage_complete_up_to(organization_id: int, month: Month) -> datetime | None:
    """When usage of a month was last heard of; None if it has none yet."""
    return usage_heard_of_at(organization_id, month.first_day, month.last_day)


def usage_heard_of_at(organization_id: int, first: date, last: date) -> datetime | None:
    """When usage of these days was last heard of; None if they have none yet."""
    return db.session.scalar(
        select(func.max(UsageDaily.updated_at)).where(
            UsageDaily.organization_id == organization_id, UsageDaily.day.between(first, last)
        )
    )


def meters_used_since(day: date) -> set[int]:
    """The meters with usage on this day or after it, of any organization: one pass over the rollups."""
    return set(db.session.scalars(select(UsageDaily.meter_id).where(UsageDaily.day >= day).distinct()))


_BY_GROUP_AND_DAY = text(f"""
    SELECT wanted.key, used.day, sum({_USED}) AS quantity
    FROM unnest(CAST(:keys AS integer[]), CAST(:series AS bigint[]), CAST(:firsts AS date[]), CAST(:lasts AS date[]))
         AS wanted(key, series_id, first_day, last_day)
    JOIN usage_daily AS used
      ON used.organization_id = :organization_id AND used.day BETWEEN :first AND :last
     AND used.series_id = wanted.series_id AND used.day BETWEEN wanted.first_day AND wanted.last_day
    JOIN meters ON meters.id = used.meter_id
    GROUP BY wanted.key, used.day
    ORDER BY wanted.key, used.day
""")


def usage_by_group_and_day(
    organization_id: int, month: Month, spans: Sequence[tuple[int, int, date, date]]
) -> list[tuple[int, date, Decimal]]:
    """(key, day, quantity) of a month, for the pictures of pages: series added up per day under the caller's keys.

    A span is (key, series, first day, last day); several spans may have one key.
    """
    keys, series, firsts, lasts = ([span[place] for span in spans] for place in range(4))
    rows = db.session.execute(
        _BY_GROUP_AND_DAY,
        {
            "organization_id": organization_id,
            "first": month.first_day,
            "last": month.last_day,
            "keys": keys,
            "series": series,
            "firsts": firsts,
            "lasts": lasts,
        },
    )
    return [(row.key, row.day, row.quantity) for row in rows]
