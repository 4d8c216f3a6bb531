"""Work of runs that is done in a worker: each job is one stage of one chunk, and safe to do again.

The last job of a stage brings the run to the next one; the clock does so too, should that job be killed.
"""

from dataclasses import replace

from flask import current_app

from portal.bill_runs.advancing import advance
from portal.bill_runs.finalizing import finish_chunk, freeze_chunk, take_back_chunk
from portal.bill_runs.generating import generate_chunk
from portal.bill_runs.models import BillRun
from portal.bill_runs.work import FINISH, FREEZE, GENERATE, TAKE_BACK, is_at_work
from portal.infra import clock, outbox
from portal.infra.db import db, transaction
from portal.infra.memory import collector_resting
from portal.infra.outbox import Lease
from portal.invoicing.jobs import terms_of
from portal.invoicing.terms import Terms


@outbox.handles(GENERATE)
def generate(lease: Lease, *, run_id: int, chunk: int) -> None:
    """Compute the drafts of a chunk that wait. Idempotent."""
    with collector_resting():
        generate_chunk(lease, run_id, chunk)
    _go_on(run_id)


@outbox.handles(FREEZE)
def freeze(lease: Lease, *, run_id: int, chunk: int) -> None:
    """Freeze the drafts of a chunk that are approved. Idempotent."""
    with collector_resting():
        freeze_chunk(lease, run_id, chunk, terms=_terms(run_id))
    _go_on(run_id)


@outbox.handles(FINISH)
def finish(lease: Lease, *, run_id: int, chunk: int) -> None:
    """End the hold window of a chunk. Idempotent."""
    with collector_resting():
        finish_chunk(lease, run_id, chunk, terms=_terms(run_id))
    _go_on(run_id)


@outbox.handles(TAKE_BACK)
def take_back(lease: Lease, *, run_id: int, chunk: int) -> None:
    """Make drafts again of what is frozen in a chunk and not final. Idempotent."""
    take_back_chunk(lease, run_id, chunk)


def _terms(run_id: int) -> Terms:
    """What finalizing takes from the settings; the hold window is the run's own."""
    with transaction():
        hold_seconds = db.session.get_one(BillRun, run_id).hold_seconds
    return replace(terms_of(current_app.config["SETTINGS"]), hold_seconds=hold_seconds)


def _go_on(run_id: int) -> None:
    # The run's row is kept by all who are at work: whoever is not the last would wait for them, and they for him.
    with transaction():
        others_at_work = is_at_work(run_id)
    if not others_at_work:
        advance(run_id, now=clock.now(), settings=current_app.config["SETTINGS"])
