"""The events of a month that were heard of lately: what stands behind a change of the draft."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import text

from portal.core.periods import Month
from portal.infra.db import db


@dataclass(frozen=True, slots=True)
class HeardEvent:
    """One event, with the id of the one that it amends or cancels, if it is a correction."""

    event_id: str
    source: str
    meter_name: str
    unit: str
    dimensions: Mapping[str, str]
    quantity: Decimal
    occurred_at: datetime
    recorded_at: datetime
    corrects: str | None
    cancels: bool


# The block ranges of recorded_at are few for a day or two, whatever was stored before them.
_HEARD = text("""
    SELECT e.event_id, e.source, meters.name AS meter_name, meters.unit, usage_series.dimensions, e.quantity,
           e.occurred_at, e.recorded_at, original.event_id AS corrects, NOT e.counts AS cancels
    FROM usage_events AS e
    JOIN meters ON meters.id = e.meter_id
    JOIN usage_series ON usage_series.organization_id = e.organization_id AND usage_series.series_id = e.series_id
    LEFT JOIN usage_events AS original
           ON original.organization_id = e.organization_id AND original.event_key = e.corrects
    WHERE e.organization_id = :organization_id AND e.recorded_at >= :since
      AND e.occurred_at >= :start AND e.occurred_at < :end
    ORDER BY e.recorded_at DESC, e.event_key DESC
    LIMIT :most
""")


def heard_since(organization_id: int, month: Month, since: datetime, *, most: int) -> list[HeardEvent]:
    """The last events of a month that an organization was heard of with since a moment, newest first."""
    values = {"organization_id": organization_id, "since": since, "start": month.start, "end": month.end, "most": most}
    return [HeardEvent(**row._mapping) for row in db.session.execute(_HEARD, values)]
