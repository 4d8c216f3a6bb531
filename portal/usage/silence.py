"""Sources that have gone silent: nothing for longer than three times what is usual for them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from portal.infra.db import db
from portal.usage.heard import LOOKED_AROUND, UNUSUAL_TIMES, sources_of

# From as many distances on there is something usual, and as a gap a silence has four hours.
LEAST_DISTANCES = 3
LEAST_SILENCE = timedelta(hours=4)
_SILENT = text("""
    WITH hours AS (
        SELECT source, hour, hour - lag(hour) OVER (PARTITION BY source ORDER BY hour) AS distance
        FROM usage_heard
        WHERE organization_id = :organization_id AND source = ANY(:sources) AND hour >= :since AND hour < :now
    )
    SELECT source, max(hour) + interval '1 hour' AS since FROM hours
    GROUP BY source
    HAVING count(distance) >= :least_distances
       AND :now - max(hour) - interval '1 hour'
           > greatest(:least, :times * percentile_disc(0.5) WITHIN GROUP (ORDER BY distance))
    ORDER BY source
""")


@dataclass(frozen=True, slots=True)
class SilentSource:
    """A source, and since when nothing has come from it."""

    source: str
    since: datetime


def silent_sources(organization_id: int, *, now: datetime) -> list[SilentSource]:
    """The sources of an organization that are silent now, by name; what ended a month ago is no longer one."""
    values = {
        "organization_id": organization_id,
        "sources": sources_of(organization_id),
        "since": now - LOOKED_AROUND,
        "now": now,
        "least": LEAST_SILENCE,
        "least_distances": LEAST_DISTANCES,
        "times": UNUSUAL_TIMES,
    }
    return [SilentSource(row.source, row.since) for row in db.session.execute(_SILENT, values)]
