"""From stage to stage, by what the rows say: called when a chunk is done, by the clock, and by the command.

Whoever comes when there is nothing to do changes nothing, so it may be called by anybody at any time.
"""

import logging
from datetime import datetime, timedelta

from sqlalchemy import select

from portal.bill_runs.models import AT_WORK, ENDED, BillRun, BillRunItem, ItemState, RunState
from portal.bill_runs.reporting import figures_of, is_on_the_way, problems_of
from portal.bill_runs.reviewing import release_held
from portal.bill_runs.starting import begin, may_begin, plan_missed
from portal.bill_runs.steering import begin_finalizing, close, count_items
from portal.bill_runs.steps import enter, lock_run
from portal.bill_runs.work import follow_final, ring
from portal.billing_cycle import finalizable_from
from portal.config import Settings
from portal.core.errors import PortalError
from portal.infra import outbox
from portal.infra.db import db, transaction
from portal.payments.drift_models import Phase, Reconciliation
from portal.payments.reconciling import RECONCILE, Window
from portal.payments.reconciling import begin as begin_reconciling

log = logging.getLogger(__name__)
NEEDS_A_DECISION = (ItemState.GENERATED, ItemState.HELD, ItemState.APPROVED, ItemState.FAILED)


def go_on(*, now: datetime, settings: Settings) -> None:
    """The clock's part: runs for months that have none, and every run that is not over goes on. Idempotent."""
    with transaction():
        for month in plan_missed(now=now, settings=settings):
            log.info("bill run planned", extra={"month": str(month)})
    with transaction() as session:
        query = select(BillRun.id).where(BillRun.state.not_in([*ENDED, RunState.PAUSED])).order_by(BillRun.month)
        run_ids = list(session.scalars(query))
    for run_id in run_ids:
        try:
            advance(run_id, now=now, settings=settings, ring_again=True)
        except PortalError as refusal:
            log.warning("bill run cannot go on", extra={"bill_run_id": run_id, "reason": refusal.sentence})


def advance(run_id: int, *, now: datetime, settings: Settings, ring_again: bool = False) -> RunState:
    """Bring a run as many stages on as its rows allow; returns where it is then. Idempotent.

    With `ring_again` it also asks for jobs that are missing, whatever has become of them.
    """
    with transaction():
        run = lock_run(run_id)
        if run.state in AT_WORK:
            release_held(run, now=now)
        before = None
        while run.state != before:
            before = run.state
            _step(run, now, settings)
        if ring_again:
            ring(run, now=now)
        return RunState(run.state)


def _step(run: BillRun, now: datetime, settings: Settings) -> None:
    """One stage on, if its time has come."""
    match run.state:
        case RunState.PLANNED:
            if now >= finalizable_from(run.period, settings) and may_begin(run):
                begin(run, now=now)
        case RunState.GENERATING:
            if not count_items(run, BillRunItem.state == ItemState.WAITING):
                if run.is_rehearsal:
                    close(run, by=run.started_by, now=now)
                else:
                    enter(run, RunState.REVIEW, now=now)
        case RunState.REVIEW:
            _review(run, now)
        case RunState.FINALIZING:
            follow_final(run.id)
            open_items = BillRunItem.state.in_([ItemState.WAITING, ItemState.APPROVED, ItemState.SCHEDULED])
            if not count_items(run, open_items):
                enter(run, RunState.SYNCING, now=now)
        case RunState.SYNCING:
            if not is_on_the_way(run):
                _reconcile(run, now)
        case RunState.RECONCILING:
            follow_final(run.id)
            if _is_compared(run) and not problems_of(run):
                close(run, by="the clock", now=now)


def _review(run: BillRun, now: datetime) -> None:
    """Finalize by itself after its time, if the run was started so; or go on, if everything was finalized by hand."""
    follow_final(run.id)
    if count_items(run, BillRunItem.state.in_([ItemState.WAITING, ItemState.SCHEDULED])):
        return
    if not count_items(run, BillRunItem.state.in_(NEEDS_A_DECISION)):
        enter(run, RunState.SYNCING, now=now)
        return
    since = run.entered_at(RunState.REVIEW)
    if run.review_hours is None or since is None or now < since + timedelta(hours=run.review_hours):
        return
    if count_items(run, BillRunItem.state == ItemState.APPROVED):
        begin_finalizing(run, by=run.started_by, now=now)


def _reconcile(run: BillRun, now: datetime) -> None:
    """Everything has arrived or is settled: compare it with Stripe, invoice by invoice."""
    sent = any(each.synced for each in figures_of(run).sent)
    run.reconciliation_id = begin_reconciling(Window.of_month(run.period, now=now), now=now) if sent else None
    enter(run, RunState.RECONCILING, now=now)


def _is_compared(run: BillRun) -> bool:
    """Whether both sides have been compared, where there are two; asks for it if nobody is at it."""
    if run.reconciliation_id is None:
        return True
    compared = db.session.get_one(Reconciliation, run.reconciliation_id, populate_existing=True)
    if compared.phase == Phase.DONE:
        return True
    outbox.enqueue(RECONCILE, dedupe_key=str(compared.id), organization_id=None, reconciliation_id=compared.id)
    return False
