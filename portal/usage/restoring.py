"""Bringing the events of an archived month back into the table, from the file.

The way of archiving backwards: all events first, while their keys stay noted, so that nothing can be corrected whose
correction is not back yet; then the keys go.
"""

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import select, text

from portal.core.errors import InvalidInput, InvalidTransition
from portal.core.periods import Month
from portal.infra.db import db, transaction
from portal.usage.archive_files import chunks_of, sha256_of
from portal.usage.archived import ArchiveState, UsageArchive
from portal.usage.archiving import KEYS, Tell, add_sums, change_state, columns_of, locked_archive
from portal.usage.writing import Key, array_of_texts

_INSERT = text("""
    INSERT INTO usage_events (organization_id, event_key, meter_id, series_id, occurred_at, recorded_at, correction,
                              quantity, event_id, source, properties, counts, corrects)
    SELECT organization_id, event_key, meter_id, series_id, occurred_at, recorded_at, correction, quantity, event_id,
           source, properties, counts, corrects
    FROM unnest(CAST(:lines AS text[])) AS line
    CROSS JOIN LATERAL json_to_record(CAST(line AS json)) AS e(
        organization_id bigint, event_key uuid, meter_id bigint, series_id bigint, occurred_at timestamptz,
        recorded_at timestamptz, correction boolean, quantity numeric, event_id text, source text, properties jsonb,
        counts boolean, corrects uuid)
    ON CONFLICT (organization_id, event_key) DO NOTHING
    RETURNING organization_id, event_key
""")
_FORGET = text(f"""
    DELETE FROM archived_events AS a USING {KEYS}
    WHERE a.organization_id = named.organization_id AND a.event_key = named.event_key
""")
_FORGET_SUMS = text("""
    DELETE FROM archived_daily WHERE day BETWEEN :first AND :last AND quantity = 0 AND events = 0
""")


def restore_file(path: Path, *, tell: Tell) -> int:
    """Put the events of an archive back, in transactions of its own; returns how many it holds. Idempotent.

    Goes on where a run before was ended; also one that archived. The file stays. Raises InvalidInput if the file is
    not that of an archive, InvalidTransition.
    """
    archive = _archive_of(path)
    month = Month.of(archive.month)
    if archive.state == ArchiveState.RESTORED:
        raise InvalidTransition(f"The events of {month} are back in the table already.")
    if archive.state != ArchiveState.RESTORING:
        archive = change_state(month, archive.state, ArchiveState.RESTORING)
    tell(f"Putting the events of {month} back.")
    for lines in chunks_of(path):
        with transaction() as session:
            locked_archive(session, month, ArchiveState.RESTORING)
            _put_back(lines)
    tell("Forgetting that they were archived.")
    for lines in chunks_of(path):
        with transaction() as session:
            locked_archive(session, month, ArchiveState.RESTORING)
            session.execute(_FORGET, columns_of(lines))
    with transaction() as session:
        session.execute(_FORGET_SUMS, {"first": month.first_day, "last": month.last_day})
    archive = change_state(month, ArchiveState.RESTORING, ArchiveState.RESTORED)
    assert archive.rows is not None
    return archive.rows


def _archive_of(path: Path) -> UsageArchive:
    """The archive that has this file, by the hash of its bytes."""
    found = sha256_of(path)
    with transaction() as session:
        archive = session.scalar(select(UsageArchive).where(UsageArchive.sha256 == found))
        if archive is None:
            raise InvalidInput(
                f"{path} is not the file of an archived month, or it was changed: no archive has the SHA-256 {found}.",
                field="file",
            )
    return archive


def _put_back(lines: Mapping[Key, str]) -> None:
    rows = db.session.execute(_INSERT, {"lines": array_of_texts(lines.values())})
    back: dict[Key, object] = {(row[0], row[1].bytes): None for row in rows}
    add_sums(columns_of(back), -1)
