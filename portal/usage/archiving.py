"""Archiving the events of an old month: they leave the table for a file, and exactly-once holds as before.

Each step can be killed at any point and is gone on with by the next run:

1. The file is written and compared with the table, line by line. Events that come later stay in the table, and so do
   those of which an amendment is in another month: original and correction are always found in the same place.
2. The keys of all events in the file are noted. From here on ingest refuses them, and their corrections.
3. Every transaction that began before is waited for: it may store an event of which it does not know that it is noted.
   Only because of this may ingest look for archived events before it stores others.
4. Events are deleted, and what they added to their days is added to what is archived, both in one transaction.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from portal.catalog.models import Meter
from portal.core.errors import InvalidInput, InvalidTransition, NotFound, PortalError
from portal.core.periods import Month
from portal.infra import audit
from portal.infra.db import db, transaction
from portal.usage.archive_files import (
    LINE,
    Event,
    Summary,
    chunks_of,
    event_of,
    held,
    name_of,
    sha256_of,
    write,
    write_manifest,
)
from portal.usage.archived import ArchiveState, UsageArchive
from portal.usage.correcting import lock_corrections
from portal.usage.writing import Key, array

_READ_AT_ONCE = 2_000
_OF_MONTH = "{0}.occurred_at >= :start AND {0}.occurred_at < :end"
_IS_THERE = text(f"SELECT EXISTS (SELECT FROM usage_events AS e WHERE {_OF_MONTH.format('e')})")
# What stays: a correction whose original is not in the file, and an original of which a correction is not.
_LINES = text(f"""
    WITH RECURSIVE staying AS (
        SELECT c.organization_id, c.event_key
        FROM usage_events AS c
        LEFT JOIN usage_events AS e ON e.organization_id = c.organization_id AND e.event_key = c.corrects
              AND {_OF_MONTH.format("e")}
        WHERE c.corrects IS NOT NULL AND {_OF_MONTH.format("c")} AND e.event_key IS NULL
        UNION
        SELECT e.organization_id, e.event_key
        FROM usage_events AS c
        JOIN usage_events AS e ON e.organization_id = c.organization_id AND e.event_key = c.corrects
        WHERE c.corrects IS NOT NULL AND NOT ({_OF_MONTH.format("c")}) AND {_OF_MONTH.format("e")}
        UNION
        SELECT c.organization_id, c.event_key
        FROM staying JOIN usage_events AS c
          ON c.organization_id = staying.organization_id AND c.corrects = staying.event_key
    )
    SELECT {LINE} FROM usage_events AS e
    WHERE {_OF_MONTH.format("e")}
      AND NOT EXISTS (SELECT FROM staying AS s
                      WHERE s.organization_id = e.organization_id AND s.event_key = e.event_key)
    ORDER BY e.organization_id, e.event_key
""")
KEYS = """
    unnest(CAST(:organizations AS bigint[]), CAST(:event_keys AS uuid[])) AS named(organization_id, event_key)
"""
_STORED = text(f"""
    SELECT e.organization_id, e.event_key, {LINE}
    FROM {KEYS} JOIN usage_events AS e USING (organization_id, event_key)
""")
_NOTE = text("""
    INSERT INTO archived_events (organization_id, event_key, content, counts)
    SELECT * FROM unnest(CAST(:organizations AS bigint[]), CAST(:event_keys AS uuid[]), CAST(:contents AS uuid[]),
                         CAST(:counts AS boolean[]))
    ON CONFLICT DO NOTHING
""")
# A plain insert holds the one lock, a look at what is archived the other, both until their transactions end.
_WRITERS = text("""
    SELECT DISTINCT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND pid <> pg_backend_pid()
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND ((relation = 'usage_events'::regclass AND mode = 'RowExclusiveLock')
           OR (relation = 'archived_events'::regclass AND mode = 'AccessShareLock'))
""")
_PAUSE = text("SELECT pg_sleep_for('50 milliseconds')")
_STILL_THERE = text("SELECT DISTINCT virtualtransaction FROM pg_locks WHERE virtualtransaction = ANY(:earlier)")
# What these events, while they are in the table, add to and take out of days, alone and with those beside them.
_ADD_SUMS = text(f"""
    WITH touched AS (
        SELECT e.* FROM {KEYS} JOIN usage_events AS e USING (organization_id, event_key)
    ), parts AS (
        SELECT organization_id, meter_id, series_id, occurred_at, recorded_at, quantity, 1 AS events
        FROM touched WHERE counts
        UNION ALL
        SELECT e.organization_id, e.meter_id, e.series_id, e.occurred_at, c.recorded_at, -e.quantity, -1
        FROM touched AS e
        JOIN usage_events AS c ON c.organization_id = e.organization_id AND c.corrects = e.event_key
        UNION ALL
        SELECT e.organization_id, e.meter_id, e.series_id, e.occurred_at, c.recorded_at, -e.quantity, -1
        FROM touched AS c
        JOIN usage_events AS e ON e.organization_id = c.organization_id AND e.event_key = c.corrects
        WHERE NOT EXISTS (SELECT FROM touched AS t
                          WHERE t.organization_id = e.organization_id AND t.event_key = e.event_key)
    )
    INSERT INTO archived_daily AS daily (organization_id, day, series_id, recorded_day, meter_id, quantity, events)
    SELECT organization_id, CAST(occurred_at AT TIME ZONE 'UTC' AS date), series_id,
           CAST(recorded_at AT TIME ZONE 'UTC' AS date), meter_id, sum(:sign * quantity), sum(:sign * events)
    FROM parts
    GROUP BY 1, 2, 3, 4, 5
    ORDER BY 1, 2, 3, 4
    ON CONFLICT (organization_id, day, series_id, recorded_day) DO UPDATE
    SET quantity = daily.quantity + excluded.quantity, events = daily.events + excluded.events
""")
_DELETE = text(f"""
    DELETE FROM usage_events AS e USING {KEYS}
    WHERE e.organization_id = named.organization_id AND e.event_key = named.event_key
""")
Tell = Callable[[str], None]


class ArchiveBroken(PortalError):
    """The file and the table disagree: nothing more may be deleted before somebody knows why."""

    code, status = "archive_broken", 409


def archive_month(month: Month, folder: Path, *, by: str, now: datetime, tell: Tell) -> int:
    """Archive the events of a month into a folder, in transactions of its own; returns how many. Idempotent.

    Goes on where a run before was ended. Whether the month may be archived is the caller's rule. Raises NotFound,
    InvalidTransition, InvalidInput, NotReady, ArchiveBroken.
    """
    with held(folder):
        path = folder / name_of(month)
        archive = _begun(month, path, by=by, now=now)
        if archive.state == ArchiveState.WRITING:
            tell(f"Writing {path}.")
            summary = _write(month, path, now=now)
            tell(f"Comparing {summary.rows:,} events with the table.")
            _verify(path, summary)
            archive = change_state(
                month, ArchiveState.WRITING, ArchiveState.VERIFIED, rows=summary.rows, sha256=summary.sha256
            )
        elif sha256_of(path) != archive.sha256:
            raise ArchiveBroken(f"{path} is not what was archived (SHA-256 {archive.sha256}). Nothing was deleted.")
        if archive.state == ArchiveState.VERIFIED:
            tell("Noting their keys.")
            _note(month, path)
            tell("Waiting for usage that is being stored.")
            wait_for_writers()
            archive = change_state(month, ArchiveState.VERIFIED, ArchiveState.DROPPING)
        tell("Deleting them from the table.")
        for lines in chunks_of(path):
            with transaction():
                _drop(month, lines)
        archive = change_state(month, ArchiveState.DROPPING, ArchiveState.DROPPED)
    assert archive.rows is not None
    return archive.rows


def _begun(month: Month, path: Path, *, by: str, now: datetime) -> UsageArchive:
    """The month's archive, begun now or by a run before."""
    with transaction() as session:
        archive = session.get(UsageArchive, month.first_day, with_for_update=True, populate_existing=True)
        if archive is not None and archive.state == ArchiveState.DROPPED:
            raise InvalidTransition(f"The events of {month} are archived already, in {archive.file_name}.")
        if archive is not None and archive.state == ArchiveState.RESTORING:
            raise InvalidTransition(f"{archive.file_name} is being restored; finish that first.")
        if archive is not None and archive.state != ArchiveState.RESTORED:
            return archive
        if not session.scalar(_IS_THERE, {"start": month.start, "end": month.end}):
            raise NotFound(f"There are no events of {month}.")
        # It may be the only place where somebody's events are.
        if path.exists():
            raise InvalidInput(f"{path} is there already; move it away or name another folder.", field="to")
        archive = archive or UsageArchive(month=month.first_day)
        archive.state, archive.rows, archive.sha256 = ArchiveState.WRITING, None, None
        archive.file_name, archive.archived_at, archive.archived_by = path.name, now, by
        session.add(archive)
        audit.record(
            "began to archive usage",
            subject="usage archive",
            subject_id=None,
            organization_id=None,
            after={"month": str(month), "file": path.name},
        )
    return archive


def change_state(month: Month, before: ArchiveState, after: ArchiveState, **more: object) -> UsageArchive:
    """Bring an archive from one state to the next, in a transaction of its own. Raises InvalidTransition."""
    with transaction() as session:
        archive = locked_archive(session, month, before)
        archive.state = after
        for name, value in more.items():
            setattr(archive, name, value)
        audit.record(
            f"archive of usage is {after}",
            subject="usage archive",
            subject_id=None,
            organization_id=None,
            before={"month": str(month), "state": before},
            after={"month": str(month), "state": after, "file": archive.file_name, "sha256": archive.sha256},
        )
    return archive


def locked_archive(session: Session, month: Month, expected: ArchiveState) -> UsageArchive:
    """The archive, held until the transaction ends. Raises InvalidTransition if somebody else has gone on with it."""
    archive = session.get(UsageArchive, month.first_day, with_for_update=True, populate_existing=True)
    if archive is None or archive.state != expected:
        found = archive.state if archive else "not begun"
        raise InvalidTransition(f"The archive of {month} is {found} by now: somebody else works on it.")
    return archive


def _write(month: Month, path: Path, *, now: datetime) -> Summary:
    """Write all events of the month, as one snapshot has them, and the manifest."""
    with transaction():
        summary = write(path, _lines(month))
        codes = {row.id: row.code for row in db.session.execute(select(Meter.id, Meter.code))}
    write_manifest(path, month, summary, codes, now=now)
    return summary


def _lines(month: Month) -> Iterator[str]:
    values = {"start": month.start, "end": month.end}
    yield from db.session.scalars(_LINES, values, execution_options={"yield_per": _READ_AT_ONCE})


def _verify(path: Path, summary: Summary) -> None:
    """Read the file back: its hash, its rows, and that the table has every line of it. Raises ArchiveBroken."""
    if sha256_of(path) != summary.sha256:
        raise ArchiveBroken(f"{path} is not what was written into it. Nothing was deleted; look at the disk.")
    rows = 0
    for lines in chunks_of(path):
        with transaction():
            stored = _stored(lines)
        rows += len(lines)
        if stored != lines:
            raise ArchiveBroken(f"{path} does not say what the table says. Nothing was deleted.")
    if rows != summary.rows:
        raise ArchiveBroken(f"{path} has {rows:,} events of {summary.rows:,}. Nothing was deleted.")


def _stored(lines: Mapping[Key, str]) -> dict[Key, str]:
    """Those of the events that are in the table, as lines."""
    return {(row[0], row[1].bytes): row[2] for row in db.session.execute(_STORED, columns_of(lines))}


def columns_of(keys: Mapping[Key, object]) -> dict[str, str]:
    """Keys as the arrays that KEYS reads."""
    return {
        "organizations": array(str(organization_id) for organization_id, _ in keys),
        "event_keys": array(key.hex() for _, key in keys),
    }


def _note(month: Month, path: Path) -> None:
    for lines in chunks_of(path):
        events: list[Event] = [event_of(line) for line in lines.values()]
        contents = {
            "contents": array(each.fingerprint.hex for each in events),
            "counts": array(str(each.counts) for each in events),
        }
        with transaction() as session:
            locked_archive(session, month, ArchiveState.VERIFIED)
            session.execute(_NOTE, {**columns_of(lines), **contents})


def wait_for_writers() -> None:
    """Wait until every transaction has ended that may store usage without knowing what has been committed by now."""
    with transaction() as session:
        earlier = list(session.scalars(_WRITERS))
    while earlier:
        with transaction() as session:
            session.execute(_PAUSE)
            earlier = list(session.scalars(_STILL_THERE, {"earlier": earlier}))


def _drop(month: Month, lines: Mapping[Key, str]) -> None:
    """Delete events in the current transaction, and keep what they have added to their days. Idempotent.

    Raises ArchiveBroken if one of them is not what the file says.
    """
    locked_archive(db.session(), month, ArchiveState.DROPPING)
    # A correction that is being stored would take out of its day what is taken away here.
    lock_corrections({organization_id for organization_id, _ in lines})
    stored = _stored(lines)
    if not stored.items() <= lines.items():
        raise ArchiveBroken("The file does not say what the table says. Nothing more was deleted.")
    keys = columns_of(stored)
    add_sums(keys, 1)
    db.session.execute(_DELETE, keys)


def add_sums(keys: Mapping[str, str], sign: int) -> None:
    """Count events that are in the table as archived (1), or no more (-1): before they go, after they are back."""
    db.session.execute(_ADD_SUMS, {**keys, "sign": sign})
