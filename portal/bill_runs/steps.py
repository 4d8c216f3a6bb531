"""The steps of a run from state to state: which are legal, and the audit entry of each."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from portal.bill_runs.models import BillRun, RunState
from portal.core.errors import InvalidTransition, NotFound
from portal.infra import audit
from portal.infra.db import db

_S = RunState
_STOPPED = {_S.PAUSED, _S.CANCELLED}
RUN_STEPS: dict[RunState, set[RunState]] = {
    _S.PLANNED: {_S.GENERATING} | _STOPPED,
    # A rehearsal ends with its figures.
    _S.GENERATING: {_S.REVIEW, _S.CLOSED} | _STOPPED,
    # Nothing to finalize, because everything was finalized by hand: on to the sync.
    _S.REVIEW: {_S.FINALIZING, _S.SYNCING} | _STOPPED,
    # Taken back within the hold window: review again.
    _S.FINALIZING: {_S.SYNCING, _S.REVIEW} | _STOPPED,
    # What was left over is approved later.
    _S.SYNCING: {_S.RECONCILING, _S.FINALIZING} | _STOPPED,
    _S.RECONCILING: {_S.CLOSED, _S.FINALIZING, _S.SYNCING} | _STOPPED,
    _S.PAUSED: {_S.PLANNED, _S.GENERATING, _S.REVIEW, _S.FINALIZING, _S.SYNCING, _S.RECONCILING, _S.CANCELLED},
    _S.CANCELLED: {_S.GENERATING},
    _S.CLOSED: {_S.GENERATING},
}


def may_enter(run: BillRun, state: RunState) -> bool:
    """Whether the step is legal. A paused run is resumed first; once closed, only a rehearsal starts again."""
    if run.state == RunState.PAUSED and run.paused_from is not None:
        return False
    if run.state == RunState.CLOSED and not run.is_rehearsal:
        return False
    if run.is_rehearsal and state in (RunState.REVIEW, RunState.FINALIZING, RunState.SYNCING, RunState.RECONCILING):
        return False
    return state in RUN_STEPS[RunState(run.state)]


def enter(run: BillRun, state: RunState, *, now: datetime, **more: Any) -> None:
    """Bring a locked run into a state, with its audit entry. Raises InvalidTransition."""
    if not may_enter(run, state):
        raise InvalidTransition(f"The run of {run.period} is {run.state}; it cannot become {state}.")
    before = run.state
    run.state = state
    run.entered = run.entered | {state.value: now.isoformat()}
    record(run, f"moved bill run to {state}", before={"state": before}, after={"state": state, **more})
    db.session.flush()


def record(
    run: BillRun, action: str, *, before: dict[str, Any] | None = None, after: dict[str, Any] | None = None
) -> None:
    """Say in the audit log what happened to a run."""
    said = {"month": str(run.period), "kind": run.kind} | (after or {})
    audit.record(action, subject="bill run", subject_id=run.id, organization_id=None, before=before, after=said)


def lock_run(run_id: int) -> BillRun:
    """The run, fresh and locked until the transaction ends."""
    query = select(BillRun).where(BillRun.id == run_id).with_for_update()
    return db.session.scalars(query.execution_options(populate_existing=True)).one()


def locked_run_of(public_id: UUID) -> BillRun:
    """The same by its public id. Raises NotFound."""
    run_id = db.session.scalar(select(BillRun.id).where(BillRun.public_id == public_id))
    if run_id is None:
        raise NotFound("There is no such run.")
    return lock_run(run_id)
