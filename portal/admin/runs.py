"""Bill runs: the list, the cockpit of one with its review queue, and the steps that a person takes."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import Response, current_app, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as Answer

from portal import stepping_up
from portal.admin.approving import person, within
from portal.admin.run_decisions import decide_as_asked, flash_refused, reviewers
from portal.admin.staff import staff_blueprint
from portal.bill_runs import steering
from portal.bill_runs.item_files import HEAD, file_rows
from portal.bill_runs.models import AT_WORK, NEEDS_SOMEBODY, STAGES, BillRun, BillRunItem, ItemState, RunKind, RunState
from portal.bill_runs.queries import Wanted, items_of, largest_of, list_runs, run_of
from portal.bill_runs.reporting import (
    approved_sums,
    compared_with_stripe,
    count_problems,
    counts_of,
    figures_of,
    problems_of,
    progress_of,
    wrong_at_stripe,
)
from portal.bill_runs.scoring import REASONS
from portal.bill_runs.seconding import count_large, set_large_aside
from portal.bill_runs.starting import start_run
from portal.bill_runs.steps import may_enter
from portal.billing_cycle import finalizable_from
from portal.core.approving import AmountLimits
from portal.core.errors import InvalidInput, PortalError
from portal.core.periods import Month
from portal.infra import clock
from portal.infra.audit_reading import entries_about
from portal.infra.blocks import rows_of
from portal.infra.db import transaction
from portal.infra.pages import csv_streamed, policy
from portal.invoicing.jobs import terms_of
from portal.organizations.queries import LONGEST_ID
from portal.signed_in import me

PER_PAGE = 50
# From so many invoices on their number is typed before they become final.
BULK_FROM = 10
MONTHS_TO_CHOOSE = 12
SECONDS_BETWEEN_LOOKS = 3
QUEUES: dict[str, tuple[str, tuple[ItemState, ...]]] = {
    "review": ("Needs review", NEEDS_SOMEBODY),
    "held": ("Held", (ItemState.HELD,)),
    "approved": ("Approved", (ItemState.APPROVED,)),
    "frozen": ("In the hold window", (ItemState.SCHEDULED,)),
    "final": ("Final", (ItemState.FINALIZED,)),
    "all": ("All", ()),
}
STEPS: dict[str, Callable[[UUID, datetime], BillRun]] = {
    "pause": lambda run, now: steering.pause(run, now=now),
    "resume": lambda run, now: steering.resume(run, now=now),
    "take_back": lambda run, now: steering.take_back(run, now=now),
    "cancel": lambda run, now: steering.cancel_run(run, now=now),
    "close": lambda run, now: steering.close_run(run, by=me().name, now=now),
}
# Of what is approved: currency, how many, and the sum of their totals in minor units.
Sums = list[tuple[str, int, int]]
_CURSOR = re.compile(r"[0-9]{1,6}\|[0-9]+", re.ASCII)
bp = staff_blueprint("admin_runs")


@bp.get("/runs")
@policy("view organizations")
def index() -> str:
    """All runs, and the form that starts one."""
    return _index_page()


def _index_page(sentence: str | None = None) -> str:
    this_month = Month.of(clock.now())
    return render_template(
        "admin/runs/index.html",
        runs=[(run, run.report["problems"] if run.report else problems_of(run)) for run in list_runs()],
        months=[this_month.plus(-back) for back in range(1, MONTHS_TO_CHOOSE + 1)],
        this_month=this_month,
        sentence=sentence,
    )


@bp.post("/runs")
@policy("finalize invoices")
def start() -> Answer | tuple[str, int]:
    """Start the run of a month, or a dry run; one that is at work already is shown."""
    kind = RunKind.REHEARSAL if request.form.get("step") == "dry_run" else RunKind.MONTHLY
    try:
        month = Month.parse(request.form.get("month", ""))
        with transaction():
            run = start_run(
                month, kind, by=me().name, now=clock.now(), settings=current_app.config["SETTINGS"], review_hours=None
            )
    except PortalError as refusal:
        return _index_page(refusal.sentence), refusal.status
    return _to(run)


@bp.get("/runs/<uuid:public_id>")
@policy("view organizations")
def show(public_id: UUID) -> str:
    """The cockpit: stages, progress, sums, problems, and the review queue."""
    return _page(run_of(public_id))


@bp.get("/runs/<uuid:public_id>/progress")
@policy("view organizations")
def progress(public_id: UUID) -> Response:
    """The part of the cockpit that moves; it polls itself while the run does. A new stage asks for the whole page."""
    run = run_of(public_id)
    response = Response(render_template("admin/runs/_progress.html", **_moving(run)))
    if request.args.get("seen") not in (None, run.state):
        response.headers["HX-Refresh"] = "true"
    return response


@bp.get("/runs/<uuid:public_id>/items.csv")
@policy("view organizations")
def as_csv(public_id: UUID) -> Response:
    """Every organization of the run with its figures and reasons; of one part of it, if asked for.

    The highest score first, so a file that is made while the run is still scoring may miss what moves meanwhile.
    """
    run = run_of(public_id)
    wanted = _wanted(request.args.get("queue", "all"))

    def read(last: BillRunItem | None, limit: int) -> list[BillRunItem]:
        return items_of(run, wanted, after=(last.score, last.organization_id) if last else None, limit=limit)

    rows = file_rows(rows_of(read))
    return csv_streamed(f"run-{run.period}-{run.kind}", HEAD, rows)


@bp.post("/runs/<uuid:public_id>/items")
@policy("finalize invoices")
def decide(public_id: UUID) -> Answer | tuple[str, int]:
    """Approve, hold or compute again what was chosen; each is checked again, and the answer says what was not done."""
    try:
        with transaction():
            decided, words = decide_as_asked(public_id)
    except PortalError as refusal:
        return _page(run_of(public_id), sentence=refusal.sentence), refusal.status
    if decided.done:
        flash(f"{words}: {decided.done:,}.", "success")
    flash_refused(decided)
    return redirect(url_for(".show", public_id=public_id, queue=request.form.get("queue") or None), 303)


@bp.get("/runs/<uuid:public_id>/finalize")
@policy("finalize invoices")
def confirm(public_id: UUID) -> str | Answer:
    """The last look: how many, what they come to, and what is left out."""
    run = run_of(public_id)
    if not may_enter(run, RunState.FINALIZING):
        return _to(run)
    sums = approved_sums(run)
    return _last_look(run, sums, stepping_up.question() if _is_large(sums) else None)


@bp.post("/runs/<uuid:public_id>/finalize")
@policy("finalize invoices")
def finalize(public_id: UUID) -> Answer | tuple[str, int]:
    """Let what is approved become final, if it is still as many as were seen."""
    run = run_of(public_id)
    sums = approved_sums(run)
    if _is_bulk(sums) and request.form.get("typed", "").replace(",", "").strip() != request.form.get("approved"):
        return _last_look(run, sums, stepping_up.question() if _is_large(sums) else None, wrong=True), 422
    question = stepping_up.ask() if may_enter(run, RunState.FINALIZING) and _is_large(sums) else None
    if question is not None:
        return _last_look(run, sums, question), 422
    try:
        with transaction():
            aside = _set_large_aside(public_id)
            left = request.form.get("approved", type=int)
            left = None if left is None else left - aside
            if not (aside and left == 0):
                run = steering.finalize_approved(public_id, by=me().name, now=clock.now(), seen=left)
    except PortalError as refusal:
        return _page(run_of(public_id), sentence=refusal.sentence), refusal.status
    if aside:
        flash(f"Waiting for a second approval, and left out until then: {aside:,}.", "success")
    return _to(run)


def _set_large_aside(public_id: UUID) -> int:
    return set_large_aside(public_id, by=person(), limits=_limits(), now=clock.now(), within=within())


def _limits() -> AmountLimits:
    return terms_of(current_app.config["SETTINGS"]).second_approval_from


@bp.post("/runs/<uuid:public_id>/step")
@policy("finalize invoices")
def step(public_id: UUID) -> Answer | tuple[str, int]:
    """Pause, resume, take back, cancel or close the run."""
    try:
        wanted = STEPS.get(request.form.get("step", ""))
        if wanted is None:
            raise InvalidInput("Choose a step of the run.", field="step")
        with transaction():
            run = wanted(public_id, clock.now())
    except PortalError as refusal:
        return _page(run_of(public_id), sentence=refusal.sentence), refusal.status
    flash(f"The run is {run.state}.", "success")
    return _to(run)


def _is_large(sums: Sums) -> bool:
    """Whether what is approved comes to a large amount in some currency."""
    return any(stepping_up.is_large(total, currency) for currency, _, total in sums)


def _is_bulk(sums: Sums) -> bool:
    """Whether so many are approved that one click is too little."""
    return _count(sums) >= BULK_FROM


def _count(sums: Sums) -> int:
    return sum(count for _, count, _ in sums)


def _last_look(run: BillRun, sums: Sums, question: stepping_up.Question | None, *, wrong: bool = False) -> str:
    counts = counts_of(run)
    return render_template(
        "admin/runs/finalize.html",
        run=run,
        approved=_count(sums),
        left_out=sum(counts[state] for state in NEEDS_SOMEBODY),
        sums=sums,
        largest=largest_of(run, ItemState.APPROVED),
        take_two=count_large(run, _limits()),
        question=question,
        wrong=wrong,
        is_bulk=_is_bulk(sums),
    )


def _page(run: BillRun, *, sentence: str | None = None) -> str:
    queue = request.values.get("queue", "review")
    wanted = _wanted(queue)
    moving = _moving(run)
    # What nobody is in takes no search through all of them.
    is_empty = bool(wanted.states) and not any(moving["counts"][state] for state in wanted.states)
    found = [] if is_empty else items_of(run, wanted, after=_cursor(), limit=PER_PAGE + 1)
    shown = found[:PER_PAGE]
    return render_template(
        "admin/runs/show.html",
        items=shown,
        queue=queue,
        wanted=wanted,
        reasons=REASONS,
        reviewers=reviewers(),
        asked={name: value for name in ("reason", "mine") if (value := request.args.get(name))},
        queues=[(name, label) for name, (label, _) in QUEUES.items()],
        more=f"{shown[-1].score}|{shown[-1].organization_id}" if len(found) > PER_PAGE else None,
        paged="after" in request.args,
        may_decide=run.stage in AT_WORK and not run.is_rehearsal,
        sentence=sentence,
        entries=entries_about("bill run", run.id),
        **moving,
    )


def _wanted(queue: str) -> Wanted:
    """The part of a run, the reason and the person that the address asks for."""
    if queue not in QUEUES:
        raise InvalidInput(f"“{queue}” is not a part of a run.", field="queue")
    reason = request.args.get("reason", "")
    if reason and reason not in REASONS:
        raise InvalidInput(f"“{reason}” is not a reason to look at a draft.", field="reason")
    return Wanted(QUEUES[queue][1], reason, me().name if request.args.get("mine") else "")


def _moving(run: BillRun) -> dict[str, Any]:
    """What the moving part of the cockpit shows."""
    now = clock.now()
    figures = figures_of(run)
    compared = compared_with_stripe(run)
    stages = [stage for stage in STAGES if not run.is_rehearsal or stage in (STAGES[0], STAGES[1], STAGES[-1])]
    working = (RunState.GENERATING, RunState.FINALIZING, RunState.SYNCING, RunState.RECONCILING)
    return {
        "run": run,
        "now": now,
        "counts": figures.counts,
        "sums": figures.sums,
        "sent": figures.sent,
        "progress": progress_of(run, figures, now=now),
        "stages": [(stage, run.entered_at(stage)) for stage in stages],
        "place": stages.index(run.stage) if run.stage in stages else -1,
        "compared": compared,
        "wrong": wrong_at_stripe(run) if figures.counts[ItemState.FINALIZED] else [],
        "problems": count_problems(run, figures.counts, compared),
        "complete_from": finalizable_from(run.period, current_app.config["SETTINGS"]),
        "may": {state.value for state in RunState if may_enter(run, state)},
        "poll_seconds": SECONDS_BETWEEN_LOOKS if run.state in working else None,
    }


def _cursor() -> tuple[int, int] | None:
    """The last row of the page before, as the link to this page names it."""
    after = request.args.get("after", "")
    if len(after) > LONGEST_ID or not _CURSOR.fullmatch(after):
        return None
    score, _, organization_id = after.partition("|")
    return int(score), int(organization_id)


def _to(run: BillRun) -> Answer:
    return redirect(url_for(".show", public_id=run.public_id), 303)
