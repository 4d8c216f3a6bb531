"""Jobs: who works, what waits, what was given up; from PostgreSQL first, and what Redis says beside it."""

from datetime import timedelta

from flask import current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from redis import RedisError
from werkzeug import Response

from portal.admin.staff import staff_blueprint
from portal.core.errors import InvalidInput, NotFound
from portal.doing_again import NEVER_BY_LIST, do_again
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.outbox_health import DeadGroup, dead_group_of, dead_groups, dismiss, open_work, running_jobs
from portal.infra.pages import csv_response, policy
from portal.infra.processes import processes
from portal.infra.queue import rings_waiting
from portal.signed_in import me

NOT_LATE, MINUTE = timedelta(0), timedelta(minutes=1)
bp = staff_blueprint("admin_jobs")


@bp.get("/jobs")
@policy("view organizations")
def index() -> str:
    """The health of all background work."""
    return _page()


@bp.get("/jobs.csv")
@policy("view organizations")
def as_csv() -> Response:
    """Every dead job that needs somebody, as a file."""
    rows = [
        (job.id, job.kind, job.created_at, job.dead_at, job.attempt, job.last_error)
        for group in dead_groups()
        for job in group.jobs
    ]
    return csv_response("dead-jobs", ("job", "kind", "created_at", "given_up_at", "attempts", "reason"), rows)


@bp.post("/jobs/<int:job_number>/again")
@policy("repair the Stripe sync")
def again(job_number: int) -> ResponseReturnValue:
    """Do the jobs of a group again."""
    found = do_again(_group(job_number).jobs)
    if found.started:
        flash(f"{found.started} jobs are under way again.", "success")
    for sentence in found.refusals:
        flash(sentence, "error")
    return redirect(url_for(".index"), 303)


@bp.post("/jobs/<int:job_number>/dismiss")
@policy("repair the Stripe sync")
def put_aside(job_number: int) -> ResponseReturnValue:
    """Put the jobs of a group aside, with a reason."""
    group = _group(job_number)
    try:
        with acting_as(SYSTEM), transaction():
            done = dismiss(group.jobs, reason=request.form.get("reason", ""), now=clock.now())
    except InvalidInput as refusal:
        return _page(wrong=job_number, sentence=refusal.sentence), 422
    flash(f"{done} jobs are put aside.", "success")
    return redirect(url_for(".index"), 303)


def _group(job_number: int) -> DeadGroup:
    group = dead_group_of(job_number)
    if group is None:
        raise NotFound("This job needs nobody any more.")
    return group


def _page(*, wrong: int | None = None, sentence: str | None = None) -> str:
    now = clock.now()
    try:
        waiting: int | None = rings_waiting(current_app.config["SETTINGS"].redis_url)
    except RedisError:
        waiting = None
    return render_template(
        "admin/jobs/index.html",
        now=now,
        processes=processes(now=now),
        rings=waiting,
        running=running_jobs(),
        work=[(each, max(now - each.due_at, NOT_LATE) // MINUTE) for each in open_work()],
        groups=dead_groups(),
        never_by_list=NEVER_BY_LIST,
        may_repair="repair the Stripe sync" in me().permissions,
        wrong=wrong,
        sentence=sentence,
    )
