"""A level: its changes are remembered, and each day has the level by the seconds that it held.

Days are counted until today, as if the level stayed as it is until midnight; the clock counts the next day on.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from sqlalchemy import text

from portal.core.exact import ZERO
from portal.core.periods import midnight
from portal.core.quantities import Aggregation, level_by_day
from portal.infra.db import db, transaction
from portal.usage.series import SeriesKey
from portal.usage.touched import Batch, Days, RollupKey, columns, differences

_CHANGE = ("organizations", "series", "moments", "event_keys")
_KEEP_CHANGES = text("""
    INSERT INTO usage_changes (organization_id, series_id, occurred_at, event_key, level)
    SELECT * FROM unnest(CAST(:organizations AS bigint[]), CAST(:series AS bigint[]), CAST(:moments AS timestamptz[]),
                         CAST(:event_keys AS uuid[]), CAST(:levels AS numeric[]))
""")
_FORGET_CHANGES = text("""
    DELETE FROM usage_changes
    WHERE (organization_id, series_id, occurred_at, event_key) IN (
        SELECT * FROM unnest(CAST(:organizations AS bigint[]), CAST(:series AS bigint[]),
                             CAST(:moments AS timestamptz[]), CAST(:event_keys AS uuid[])))
""")
_COUNTED_UNTIL = text("""
    SELECT organization_id, series_id, counted_until FROM usage_levels
    WHERE (organization_id, series_id) IN (
        SELECT * FROM unnest(CAST(:organizations AS bigint[]), CAST(:series AS bigint[])))
""")
_STARTS = """
    unnest(CAST(:organizations AS bigint[]), CAST(:series AS bigint[]), CAST(:moments AS timestamptz[]))
        AS begun(organization_id, series_id, start)
"""
_LEVELS_BEFORE = text(f"""
    SELECT begun.organization_id, begun.series_id, latest.level
    FROM {_STARTS} CROSS JOIN LATERAL (
        SELECT level FROM usage_changes AS change
        WHERE change.organization_id = begun.organization_id AND change.series_id = begun.series_id
          AND change.occurred_at < begun.start
        ORDER BY change.occurred_at DESC, change.event_key DESC LIMIT 1
    ) AS latest
""")
_CHANGES_SINCE = text(f"""
    SELECT change.organization_id, change.series_id, change.occurred_at, change.level
    FROM {_STARTS} JOIN usage_changes AS change USING (organization_id, series_id)
    WHERE change.occurred_at >= begun.start
    ORDER BY change.organization_id, change.series_id, change.occurred_at, change.event_key
""")
_KEEP_LEVELS = text("""
    INSERT INTO usage_levels (organization_id, series_id, meter_id, level, counted_until)
    SELECT * FROM unnest(CAST(:organizations AS bigint[]), CAST(:series AS bigint[]), CAST(:meters AS bigint[]),
                         CAST(:levels AS numeric[]), CAST(:days AS date[]))
    ON CONFLICT (organization_id, series_id) DO UPDATE
    SET level = excluded.level, counted_until = excluded.counted_until
""")


def count_changes(batch: Batch, _aggregation: Aggregation, now: datetime) -> dict[RollupKey, Decimal]:
    """A day has the level by the seconds that it held; days are counted until today, as if it stayed until midnight."""
    came = sorted((each.organization_id, each.series_id, each.occurred_at, each.event_key.hex(), each.quantity)
                  for touched in batch.values() for each in touched.came)  # fmt: skip
    gone = sorted((each.organization_id, each.series_id, each.occurred_at, each.event_key.hex())
                  for touched in batch.values() for each in touched.gone)  # fmt: skip
    if came:
        db.session.execute(_KEEP_CHANGES, columns(came, *_CHANGE, "levels"))
    if gone:
        db.session.execute(_FORGET_CHANGES, columns(gone, *_CHANGE))
    rows = db.session.execute(_COUNTED_UNTIL, columns(list(batch), "organizations", "series"))
    counted = {(row.organization_id, row.series_id): row.counted_until for row in rows}
    windows = {key: _window(touched.days, counted.get(key), now.date()) for key, touched in batch.items()}
    spans = [(*key, *window) for key, window in windows.items()]
    before, changes = _known_changes(spans)
    targets: Days = {}
    closing = []
    for key, (first, last) in windows.items():
        level = before.get(key, ZERO)
        targets[key] = level_by_day(changes.get(key, ()), first=first, last=last, level=level)
        known = changes.get(key)
        meter_id = next(each.meter_id for each in (*batch[key].came, *batch[key].gone))
        closing.append((*key, meter_id, known[-1][1] if known else level, last))
    db.session.execute(_KEEP_LEVELS, columns(closing, "organizations", "series", "meters", "levels", "days"))
    return differences(targets, spans)


def _window(days: set[date], counted_until: date | None, today: date) -> tuple[date, date]:
    """The days that have to be counted (again): from the first that changed, or that was not counted yet."""
    if counted_until is None:
        return min(days), max(*days, today)
    return min(*days, counted_until + timedelta(days=1)), max(*days, today, counted_until)


def _known_changes(
    spans: Sequence[tuple[int, int, date, date]],
) -> tuple[dict[SeriesKey, Decimal], dict[SeriesKey, list[tuple[datetime, Decimal]]]]:
    """Of each series the level before its span, and the changes from then on."""
    starts = [(organization_id, series_id, midnight(first)) for organization_id, series_id, first, _ in spans]
    named = columns(starts, "organizations", "series", "moments")
    before = {(row.organization_id, row.series_id): row.level for row in db.session.execute(_LEVELS_BEFORE, named)}
    changes: dict[SeriesKey, list[tuple[datetime, Decimal]]] = {}
    for row in db.session.execute(_CHANGES_SINCE, named):
        moment = row.occurred_at.astimezone(UTC)
        changes.setdefault((row.organization_id, row.series_id), []).append((moment, row.level))
    return before, changes


_COUNT_ON = text("""
    WITH due AS (
        SELECT known.organization_id, known.series_id, known.meter_id, known.level, known.counted_until
        FROM usage_levels AS known JOIN usage_series USING (organization_id, series_id)
        WHERE known.level <> 0 AND known.counted_until < :until
          AND (CAST(:organization_ids AS bigint[]) IS NULL OR known.organization_id = ANY(:organization_ids))
        ORDER BY known.organization_id, known.series_id
        LIMIT :most
        FOR NO KEY UPDATE OF usage_series, known
    ), counted AS (
        INSERT INTO usage_daily AS daily (organization_id, day, series_id, recorded_day, meter_id, quantity, events,
                                          updated_at)
        SELECT due.organization_id, CAST(day AS date), due.series_id, CAST(:recorded_day AS date), due.meter_id,
               due.level * 86400, 0, :now
        FROM due CROSS JOIN generate_series(due.counted_until + 1, CAST(:until AS date), interval '1 day') AS day
        ORDER BY 1, 2, 3
        ON CONFLICT (organization_id, day, series_id, recorded_day) DO UPDATE
        SET quantity = daily.quantity + excluded.quantity, updated_at = excluded.updated_at
    )
    UPDATE usage_levels SET counted_until = :until
    FROM due
    WHERE usage_levels.organization_id = due.organization_id AND usage_levels.series_id = due.series_id
""")
SERIES_AT_ONCE = 1_000


def count_levels_on(until: date, *, now: datetime, organization_ids: Sequence[int] | None = None) -> int:
    """Count levels that have not changed up to and with a day: all of these organizations, else SERIES_AT_ONCE at most.

    In the current transaction. Idempotent. Returns how many series were counted on.
    """
    values = {
        "until": until,
        "now": now,
        "recorded_day": now.date(),
        "organization_ids": None if organization_ids is None else list(organization_ids),
        "most": SERIES_AT_ONCE if organization_ids is None else None,
    }
    done: int = db.session.execute(_COUNT_ON, values).rowcount  # type: ignore[attr-defined]
    return done


def count_levels_by_clock(*, now: datetime) -> None:
    """Count every level on until today, in as many transactions as that takes. Idempotent."""
    while True:
        with transaction():
            if not count_levels_on(now.date(), now=now):
                return
