"""What a person does to a run: finalize what is approved, pause, resume, take back, cancel, close. Safe at any moment.

Jobs in hand finish the organization they are at; every later one looks at the run's state first.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, update

from portal.bill_runs.models import BillRun, BillRunItem, ItemState, RunState
from portal.bill_runs.reporting import report_of
from portal.bill_runs.steps import enter, locked_run_of
from portal.bill_runs.work import ring
from portal.core.errors import DraftChanged, InvalidTransition, NotReady
from portal.infra.db import db

_OPEN = (ItemState.WAITING, ItemState.GENERATED, ItemState.HELD, ItemState.APPROVED, ItemState.FAILED)


def finalize_approved(public_id: UUID, *, by: str, now: datetime, seen: int | None = None) -> BillRun:
    """Let everything that is approved become final, after the run's hold window.

    `seen` is how many were approved on the page that asked. Raises DraftChanged if there are others by now, NotReady if
    there are none or drafts are still being computed, InvalidTransition.
    """
    run = locked_run_of(public_id)
    if run.state == RunState.FINALIZING:
        return run
    if count_items(run, BillRunItem.state == ItemState.WAITING):
        raise NotReady("Some drafts are still being computed.")
    approved = count_items(run, BillRunItem.state == ItemState.APPROVED)
    if not approved:
        raise NotReady("Nothing is approved, so there is nothing to finalize.")
    if seen is not None and seen != approved:
        raise DraftChanged(f"{seen} invoices were approved when you looked, and {approved} are now. Look again.")
    begin_finalizing(run, by=by, now=now)
    return run


def begin_finalizing(run: BillRun, *, by: str, now: datetime) -> None:
    """Let the workers freeze and finish what is approved in a locked run."""
    run.finalized_by = by
    enter(run, RunState.FINALIZING, now=now)
    ring(run, now=now)


def pause(public_id: UUID, *, now: datetime) -> BillRun:
    """Let nothing of a run begin until it is resumed. Idempotent.

    Invoices in their hold window stay in it; what is final is sent all the same.
    """
    run = locked_run_of(public_id)
    if run.state != RunState.PAUSED:
        stage = run.state
        # Both columns go together; a state that cannot be paused is refused before anything is written.
        with db.session.no_autoflush:
            run.paused_from = stage
            _enter_or_undo(run, now)
    return run


def _enter_or_undo(run: BillRun, now: datetime) -> None:
    try:
        enter(run, RunState.PAUSED, now=now)
    except InvalidTransition:
        run.paused_from = None
        raise


def resume(public_id: UUID, *, now: datetime) -> BillRun:
    """Go on where a run was paused. Idempotent."""
    run = locked_run_of(public_id)
    if run.state == RunState.PAUSED and run.paused_from is not None:
        stage, run.paused_from = RunState(run.paused_from), None
        enter(run, stage, now=now)
        ring(run, now=now)
    return run


def take_back(public_id: UUID, *, now: datetime) -> BillRun:
    """Stop finalizing: what is still in its hold window becomes a draft again and stays approved. Idempotent.

    What is final stays final. Raises InvalidTransition unless the run is finalizing.
    """
    run = locked_run_of(public_id)
    if run.state == RunState.REVIEW:
        return run
    enter(run, RunState.REVIEW, now=now)
    # From here on only a person finalizes it.
    run.review_hours = None
    ring(run, now=now)
    return run


def cancel_run(public_id: UUID, *, now: datetime) -> BillRun:
    """End a run: what is not final is taken back, what is final stays final. Idempotent.

    It can be started again. Raises InvalidTransition once it is closed.
    """
    run = locked_run_of(public_id)
    if run.state == RunState.CANCELLED:
        return run
    run.paused_from = None
    with db.session.no_autoflush:
        enter(run, RunState.CANCELLED, now=now)
    db.session.execute(
        update(BillRunItem)
        .where(BillRunItem.bill_run_id == run.id, BillRunItem.state.in_(_OPEN))
        .values(
            state=ItemState.SKIPPED,
            reason="The run was cancelled.",
            held_until=None,
            updated_at=func.clock_timestamp(),
        )
    )
    ring(run, now=now)
    return run


def close_run(public_id: UUID, *, by: str, now: datetime) -> BillRun:
    """Close a run although something of it needs somebody; the report keeps what. Idempotent.

    Raises InvalidTransition unless the run has come to reconciling.
    """
    run = locked_run_of(public_id)
    if run.state != RunState.CLOSED:
        close(run, by=by, now=now)
    return run


def close(run: BillRun, *, by: str, now: datetime) -> None:
    """Freeze what a locked run has come to. Raises InvalidTransition if it is not there yet."""
    report = report_of(run) | {"closed_by": by}
    with db.session.no_autoflush:
        before, run.report = run.report, report
        try:
            enter(run, RunState.CLOSED, now=now, closed_by=by)
        except InvalidTransition:
            run.report = before
            raise


def count_items(run: BillRun, *conditions: ColumnElement[bool]) -> int:
    """How many items of a run fulfil these conditions."""
    query = select(func.count()).select_from(BillRunItem).where(BillRunItem.bill_run_id == run.id, *conditions)
    return db.session.scalar(query) or 0
