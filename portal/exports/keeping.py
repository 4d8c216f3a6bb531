"""Asking for an export, taking it back, finding it, reading its bytes, and forgetting it when its time is over."""

import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, func, select, text

from portal.core.errors import NotFound, NotReady
from portal.core.saying import Said
from portal.exports.making import MAKE
from portal.exports.models import Export, ExportPart, ExportState
from portal.exports.wishes import Wish
from portal.infra import audit, outbox
from portal.infra.db import db, transaction

MOST_OPEN, MOST_LISTED = 5, 50
_SECOND = timedelta(seconds=1)
# Their job has died; nobody would ever finish them.
_FAIL_ABANDONED = text("""
    UPDATE exports SET state = 'failed', finished_at = :now, expires_at = :expires_at,
           last_error = 'It could not be made. The reason has been logged; ask for it again.'
    WHERE state IN ('waiting', 'running') AND NOT EXISTS (
        SELECT FROM outbox WHERE kind = :kind AND dedupe_key = CAST(exports.id AS text)
        AND finished_at IS NULL AND dead_at IS NULL)
""")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an export is, in percent; how many units a minute, and the seconds left, once there is a rate."""

    percent: int
    a_minute: int
    seconds_left: int | None


def ask_for(organization_id: int, wish: Wish, *, units: int, by: str, now: datetime) -> Export:
    """Have a file made by a worker. Audited. Raises NotReady while too many are being made."""
    query = select(func.count()).select_from(Export)
    open_ones = query.where(Export.organization_id == organization_id, Export.finished_at.is_(None))
    if (db.session.scalar(open_ones) or 0) >= MOST_OPEN:
        raise NotReady(Said("%(most)s exports are being made. Wait for one of them, or cancel one.", most=MOST_OPEN))
    export = Export(
        organization_id=organization_id,
        kind=wish.kind,
        first_day=wish.first_day,
        last_day=wish.last_day,
        meter=wish.meter,
        where=wish.where,
        asked_by=by,
        units=units,
        created_at=now,
    )
    db.session.add(export)
    db.session.flush()
    outbox.enqueue(MAKE, dedupe_key=str(export.id), organization_id=organization_id, export_id=export.id)
    note_asked(organization_id, wish, export_id=export.id)
    return export


def note_asked(organization_id: int, wish: Wish, *, export_id: int | None) -> None:
    """Write down that somebody takes data out; without an id it was handed over at once."""
    facts = {"kind": wish.kind, "from": str(wish.first_day), "to": str(wish.last_day), "meter": wish.meter}
    audit.record(
        "asked for an export",
        subject="export",
        subject_id=export_id,
        organization_id=organization_id,
        after={**facts, "where": wish.where},
    )


def cancel(organization_id: int, public_id: UUID, *, now: datetime) -> Export:
    """Take an export back, or delete the file of one that is done. Idempotent. Raises NotFound."""
    # First the job, then the export: the order in which the job itself takes them.
    export = export_of(organization_id, public_id)
    outbox.cancel(MAKE, str(export.id))
    db.session.refresh(export, with_for_update=True)
    if export.state == ExportState.CANCELLED:
        return export
    before = export.state
    export.state, export.finished_at, export.expires_at = ExportState.CANCELLED, now, now
    db.session.execute(delete(ExportPart).where(ExportPart.export_id == export.id))
    audit.record(
        "cancelled an export",
        subject="export",
        subject_id=export.id,
        organization_id=organization_id,
        before={"state": before},
        after={"state": "cancelled"},
    )
    return export


def export_of(organization_id: int, public_id: UUID) -> Export:
    """An organization's export. Raises NotFound, also for another organization's."""
    query = select(Export).where(Export.organization_id == organization_id, Export.public_id == public_id)
    export: Export | None = db.session.scalar(query)
    if export is None:
        raise NotFound("There is no such export; it may have expired.")
    return export


def exports_of(organization_id: int) -> list[Export]:
    """An organization's latest exports, newest first."""
    query = select(Export).where(Export.organization_id == organization_id)
    return list(db.session.scalars(query.order_by(Export.id.desc()).limit(MOST_LISTED)))


def progress_of(export: Export, *, now: datetime) -> Progress:
    """How far an export is; pure. What is counted is an estimate, so 100 percent is only said of one that is done."""
    if export.state == ExportState.DONE:
        return Progress(100, 0, None)
    done, whole = export.units_done, max(export.units, 1)
    percent = min(done * 100 // whole, 99)
    if export.started_at is None or not done:
        return Progress(percent, 0, None)
    seconds = max((now - export.started_at) // _SECOND, 1)
    return Progress(percent, done * 60 // seconds, max(whole - done, 0) * seconds // done)


def content_of(export: Export) -> Iterator[bytes]:
    """The bytes of a file that is whole, part by part; each in a transaction of its own, for slow readers."""
    for number in itertools.count():
        query = select(ExportPart.content).where(ExportPart.export_id == export.id, ExportPart.number == number)
        with transaction():
            content = db.session.scalar(query)
        if content is None:
            return
        yield zlib.decompress(content)


def tidy_by_clock(*, now: datetime, keep_days: int) -> int:
    """Delete exports whose time is over, and fail those whose job has died; returns how many were deleted."""
    with transaction():
        values = {"now": now, "expires_at": now + timedelta(days=keep_days), "kind": MAKE}
        db.session.execute(_FAIL_ABANDONED, values)
        gone = db.session.scalars(delete(Export).where(Export.expires_at <= now).returning(Export.id)).all()
    return len(gone)
