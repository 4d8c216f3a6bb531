"""Starting a run: by somebody, or by the clock for every month that is complete and has none yet."""

from datetime import datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert

from portal.bill_runs.models import BEFORE_FINAL, BillRun, RunKind, RunState
from portal.bill_runs.steps import enter, lock_run, record
from portal.bill_runs.work import CHUNK_SIZE, ring
from portal.billing_cycle import finalizable_from
from portal.config import Settings
from portal.core.errors import NotReady
from portal.core.periods import Month
from portal.infra.db import db

# Who was a customer in the month: was there before its end, or has usage, a subscription or an earlier invoice all the
# same (imported later); and whoever has an invoice of it, even if closed by now.
# What is final stays as it is when a cancelled run starts again; a rehearsal begins anew.
_COVER = text("""
    INSERT INTO bill_run_items AS item (bill_run_id, organization_id, chunk, currency)
    SELECT :run_id, id, (row_number() OVER (ORDER BY id) - 1) / :chunk_size, currency
    FROM organizations AS o
    WHERE (status = 'active'
           AND (created_at < :end
                OR EXISTS (SELECT FROM usage_daily AS u
                           WHERE u.organization_id = o.id AND u.day >= :month AND u.day < :next_month)
                OR EXISTS (SELECT FROM invoices AS i
                           WHERE i.organization_id = o.id AND i.period_start < :month AND i.state <> 'void')
                OR EXISTS (SELECT FROM subscriptions AS s WHERE s.organization_id = o.id AND s.started_at < :end)))
       OR EXISTS (SELECT FROM invoices AS i
                  WHERE i.organization_id = o.id AND i.period_start = :month AND i.kind = 'monthly'
                    AND i.state <> 'void')
    ON CONFLICT (bill_run_id, organization_id) DO UPDATE
    SET state = 'waiting', reason = NULL, flags = '[]', attempts = 0, decided_by = NULL, decided_at = NULL,
        held_until = NULL, chunk = excluded.chunk, updated_at = clock_timestamp()
    WHERE :anew OR item.state NOT IN ('scheduled', 'finalized')
       OR EXISTS (SELECT FROM invoices AS i WHERE i.id = item.invoice_id AND i.state = 'void')
""")
# The months from the first one that had a run (or, before there was any, has an open draft) up to the last complete.
_MISSED = text("""
    SELECT CAST(series.month AS date)
    FROM generate_series(
        (SELECT coalesce((SELECT min(month) FROM bill_runs WHERE kind = 'monthly'),
                         (SELECT min(period_start) FROM invoices WHERE state = 'draft'))),
        CAST(:last AS date), interval '1 month') AS series(month)
    WHERE NOT EXISTS (SELECT FROM bill_runs WHERE kind = 'monthly' AND bill_runs.month = CAST(series.month AS date))
    ORDER BY 1
""")


def start_run(
    month: Month, kind: RunKind, *, by: str, now: datetime, settings: Settings, review_hours: int | None
) -> BillRun:
    """Start the run of a month, in the current transaction. Idempotent: one that is at work comes back as it is.

    One that was cancelled, and a rehearsal that is over, start again. Raises NotReady while the month runs, and while
    an earlier month has yet to be finalized.
    """
    if kind == RunKind.MONTHLY and now < month.end:
        raise NotReady(f"{month} is not over: it can be billed from {month.next.first_day}, 00:00 UTC.")
    if month.start > now:
        raise NotReady(f"{month} has not begun.")
    plan(month, kind, by=by, settings=settings, review_hours=review_hours)
    run = lock_run(_id_of(month, kind))
    again = (RunState.CANCELLED, RunState.CLOSED) if run.is_rehearsal else (RunState.CANCELLED,)
    if run.state in again:
        run.started_by, run.review_hours, run.hold_seconds = by, review_hours, settings.bill_run_hold_seconds
        run.finalized_by = run.report = run.reconciliation_id = None
    elif run.state != RunState.PLANNED:
        return run
    waits_for = _earlier(run)
    if waits_for is not None:
        raise NotReady(f"The run of {waits_for.period} comes first: it is {waits_for.state}.")
    begin(run, now=now)
    return run


def plan(month: Month, kind: RunKind, *, by: str, settings: Settings, review_hours: int | None) -> bool:
    """Write a run down, once: whoever comes second, from wherever, changes nothing. Says whether it is new."""
    run_id = db.session.scalar(
        insert(BillRun)
        .values(
            month=month.first_day,
            kind=kind,
            started_by=by,
            hold_seconds=settings.bill_run_hold_seconds,
            review_hours=review_hours,
        )
        .on_conflict_do_nothing(index_elements=["month", "kind"])
        .returning(BillRun.id)
    )
    if run_id is not None:
        record(db.session.get_one(BillRun, run_id), "planned bill run")
    return run_id is not None


def plan_missed(*, now: datetime, settings: Settings) -> list[Month]:
    """The clock's part: a run for every month whose grace time is over and that has none. Idempotent; oldest first."""
    last = Month.of(now).previous
    while now < finalizable_from(last, settings):
        last = last.previous
    review_hours = settings.bill_run_review_hours if settings.bill_run_automatic else None
    missed = [Month.of(day) for day in db.session.scalars(_MISSED, {"last": last.first_day})]
    return [
        month
        for month in missed
        if plan(month, RunKind.MONTHLY, by="the clock", settings=settings, review_hours=review_hours)
    ]


def may_begin(run: BillRun) -> bool:
    """Whether no earlier month has yet to be finalized."""
    return _earlier(run) is None


def begin(run: BillRun, *, now: datetime) -> None:
    """Fix whom a planned run covers, and let the workers compute."""
    month = run.period
    values: dict[str, Any] = {
        "run_id": run.id,
        "anew": run.is_rehearsal,
        "chunk_size": CHUNK_SIZE,
        "month": month.first_day,
        "next_month": month.next.first_day,
        "end": month.end,
    }
    run.as_of = now
    enter(run, RunState.GENERATING, now=now)
    db.session.execute(_COVER, values)
    ring(run, now=now)


def _earlier(run: BillRun) -> BillRun | None:
    if run.is_rehearsal:
        return None
    return db.session.scalar(
        select(BillRun)
        .where(BillRun.kind == RunKind.MONTHLY, BillRun.month < run.month, BillRun.state.in_(BEFORE_FINAL))
        .order_by(BillRun.month)
        .limit(1)
    )


def _id_of(month: Month, kind: RunKind) -> int:
    query = select(BillRun.id).where(BillRun.month == month.first_day, BillRun.kind == kind)
    return db.session.execute(query).scalar_one()
