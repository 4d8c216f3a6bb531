"""Making a file: piece by piece as the tenant; in a worker each block of pieces is kept before the next is read."""

import zlib
from dataclasses import dataclass
from datetime import timedelta

from flask import current_app
from sqlalchemy import func, select

from portal.core.errors import PortalError
from portal.exports.models import Export, ExportKind, ExportPart, ExportState
from portal.exports.of_invoices import Documents, FocusCharges
from portal.exports.of_usage import Events, UsageByDay
from portal.exports.wishes import Maker, Wish
from portal.infra import audit, clock, outbox
from portal.infra.db import TENANT_ROLE, Scope, acting_as, db
from portal.infra.outbox import Lease, RetryLater

MAKE = "make_export"
# What is made while somebody waits: some megabytes; of usage, each day is asked for by itself.
MOST_UNITS_AT_ONCE, MOST_DAYS_AT_ONCE = 20_000, 100
BLOCK_BYTES = 1_000_000
# Well within the time of a job; then it goes on in the next one.
AT_A_STRETCH = timedelta(minutes=1)
LONGEST_QUERY_MS = 120_000
MAKERS: dict[ExportKind, Maker] = {
    ExportKind.USAGE_CSV: UsageByDay(),
    ExportKind.EVENTS_CSV: Events(as_json=False),
    ExportKind.EVENTS_JSONL: Events(as_json=True),
    ExportKind.FOCUS_CSV: FocusCharges(),
    ExportKind.INVOICES_JSONL: Documents(),
}


@dataclass(frozen=True, slots=True)
class Block:
    """Pieces that are kept together."""

    content: bytes
    rows: int
    units: int
    reached: str | None


def is_small(wish: Wish, units: int) -> bool:
    """Whether a file is made while somebody waits for it."""
    days = (wish.last_day - wish.first_day).days + 1
    return units <= MOST_UNITS_AT_ONCE and not (wish.kind.is_of_usage and days > MOST_DAYS_AT_ONCE)


def made_at_once(organization_id: int, wish: Wish) -> bytes:
    """The whole file, read in the scope of the caller. Raises NotReady for events that are archived."""
    maker = MAKERS[wish.kind]
    texts = [maker.head()]
    reached: str | None = ""
    while reached is not None:
        piece = maker.piece(organization_id, wish, reached)
        reached = piece.reached
        texts.append(piece.text)
    return "".join(texts).encode()


@outbox.handles(MAKE)
def make_export(lease: Lease, *, export_id: int) -> None:
    """Make a file, or go on with it. Idempotent: what is kept is never made again, and one that is over is left alone.

    A refusal, as of archived events, ends it; whoever asked reads why.
    """
    stops_at = clock.now() + AT_A_STRETCH
    while clock.now() < stops_at:
        with lease.transaction():
            export = _lock(export_id)
            if export is None or not export.state.is_open:
                return
            if export.started_at is None:
                export.state, export.started_at = ExportState.RUNNING, clock.now()
            organization_id, wish, reached = export.organization_id, wish_of(export), export.reached
        try:
            block = _read(organization_id, wish, reached)
        except PortalError as refusal:
            with lease.transaction():
                _end(_lock(export_id), ExportState.FAILED, error=refusal.sentence)
            return
        with lease.transaction():
            _keep(_lock(export_id), block)
    raise RetryLater("It goes on in the next job.", seconds=0)


def _lock(export_id: int) -> Export | None:
    export = db.session.get(Export, export_id, with_for_update=True, populate_existing=True)
    if export is not None:
        export.kind, export.state = ExportKind(export.kind), ExportState(export.state)
    return export


def wish_of(export: Export) -> Wish:
    """What was asked for."""
    return Wish(ExportKind(export.kind), export.first_day, export.last_day, export.meter, export.where)


def _read(organization_id: int, wish: Wish, reached: str) -> Block:
    """The next pieces, up to about a megabyte; under row level security, like a page of the organization."""
    maker = MAKERS[wish.kind]
    texts = [] if reached else [maker.head()]
    size = rows = units = 0
    following: str | None = reached
    with acting_as(Scope(TENANT_ROLE, organization_id, LONGEST_QUERY_MS)):
        while following is not None and size < BLOCK_BYTES:
            piece = maker.piece(organization_id, wish, following)
            following = piece.reached
            texts.append(piece.text)
            size, rows, units = size + len(piece.text), rows + piece.rows, units + piece.units
    return Block("".join(texts).encode(), rows, units, following)


def _keep(export: Export | None, block: Block) -> None:
    """Store a block, unless the export was cancelled or deleted while it was read."""
    if export is None or not export.state.is_open:
        return
    number = db.session.scalar(select(func.count()).select_from(ExportPart).where(ExportPart.export_id == export.id))
    db.session.add(
        ExportPart(
            export_id=export.id,
            number=number,
            organization_id=export.organization_id,
            content=zlib.compress(block.content),
        )
    )
    export.rows += block.rows
    export.units_done += block.units
    export.size += len(block.content)
    if block.reached is None:
        _end(export, ExportState.DONE)
    else:
        export.reached = block.reached


def _end(export: Export | None, state: ExportState, *, error: str | None = None) -> None:
    if export is None or not export.state.is_open:
        return
    now = clock.now()
    export.state, export.last_error, export.finished_at = state, error, now
    export.expires_at = now + timedelta(days=current_app.config["SETTINGS"].export_keep_days)
    audit.record(
        f"export {state}",
        subject="export",
        subject_id=export.id,
        organization_id=export.organization_id,
        after={"rows": export.rows, "bytes": export.size},
        reason=error,
    )
