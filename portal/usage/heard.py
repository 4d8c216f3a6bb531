"""When each source of an organization was heard of, up to when its usage is complete, and where some seems missing.

What a source usually does is told from its own hours, month by month: one that reports once a day has no gap of 23.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from portal.infra.db import db

# So far around a time hours are looked at, for what came before and after it and for what is usual.
LOOKED_AROUND = timedelta(days=31)
# A source is missing for longer than so many times its usual distance.
UNUSUAL_TIMES = 3
MOST_SOURCES = 50


@dataclass(frozen=True, slots=True)
class Gap:
    """Hours without any event, half-open, between hours with some."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class HeardSource:
    """One source: complete up to its latest moment of use, last heard of, how often, and its gaps, oldest first."""

    source: str
    complete_up_to: datetime
    heard_at: datetime
    events: int
    gaps: tuple[Gap, ...]


# Each source by one step through the key, however many hours it has.
_NAMES = text("""
    WITH RECURSIVE named AS (
        (SELECT source FROM usage_heard WHERE organization_id = :organization_id ORDER BY source LIMIT 1)
        UNION ALL
        SELECT (SELECT source FROM usage_heard
                WHERE organization_id = :organization_id AND source > named.source ORDER BY source LIMIT 1)
        FROM named WHERE named.source IS NOT NULL
    )
    SELECT source FROM named WHERE source IS NOT NULL LIMIT :most
""")
_LATEST = text("""
    SELECT wanted.source, last.last_at, last.heard_at
    FROM unnest(CAST(:sources AS text[])) AS wanted(source)
    CROSS JOIN LATERAL (
        SELECT last_at, heard_at FROM usage_heard
        WHERE organization_id = :organization_id AND source = wanted.source ORDER BY hour DESC LIMIT 1
    ) AS last
    ORDER BY wanted.source
""")
_COUNTS = text("""
    SELECT source, sum(events) FILTER (WHERE hour >= :start AND hour < :end) AS events, max(heard_at) AS heard_at
    FROM usage_heard
    WHERE organization_id = :organization_id AND source = ANY(:sources) AND hour >= :since AND hour < :until
    GROUP BY source
""")
_GAPS = text("""
    WITH hours AS (
        SELECT source, hour, lag(hour) OVER (PARTITION BY source ORDER BY hour) AS before
        FROM usage_heard
        WHERE organization_id = :organization_id AND source = ANY(:sources) AND hour >= :since AND hour < :until
    ), usual AS (
        SELECT source, date_trunc('month', before) AS month,
               percentile_disc(0.5) WITHIN GROUP (ORDER BY hour - before) AS distance
        FROM hours WHERE before IS NOT NULL GROUP BY source, date_trunc('month', before)
    )
    SELECT hours.source, before + interval '1 hour' AS start, hour AS end
    FROM hours JOIN usual ON usual.source = hours.source AND usual.month = date_trunc('month', hours.before)
    WHERE hour - before - interval '1 hour' > :times * usual.distance AND hour > :start
      AND before + interval '1 hour' < :end
    ORDER BY hours.source, hour
""")


def sources_of(organization_id: int) -> list[str]:
    """The names of an organization's first MOST_SOURCES sources."""
    return list(db.session.scalars(_NAMES, {"organization_id": organization_id, "most": MOST_SOURCES}))


def heard_sources(organization_id: int, start: datetime, end: datetime) -> list[HeardSource]:
    """The first MOST_SOURCES sources of an organization, with their events and gaps of [start, end).

    A gap is a stretch of hours without events, with some before and after it, that is longer than UNUSUAL_TIMES the
    source's usual (median) distance between hours with events in the month in which it begins; so it has at least four
    hours.
    """
    whose = {"organization_id": organization_id, "sources": sources_of(organization_id)}
    when = {"start": start, "end": end, "since": start - LOOKED_AROUND, "until": end + LOOKED_AROUND}
    gaps: dict[str, list[Gap]] = {}
    for row in db.session.execute(_GAPS, {**whose, **when, "times": UNUSUAL_TIMES}):
        gaps.setdefault(row.source, []).append(Gap(row.start, row.end))
    counts = {row.source: row for row in db.session.execute(_COUNTS, {**whose, **when})}
    return [
        HeardSource(
            row.source,
            row.last_at,
            max(row.heard_at, counts[row.source].heard_at) if row.source in counts else row.heard_at,
            int(counts[row.source].events or 0) if row.source in counts else 0,
            tuple(gaps.get(row.source, ())),
        )
        for row in db.session.execute(_LATEST, whose)
    ]
