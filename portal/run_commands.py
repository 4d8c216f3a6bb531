"""`flask billing run`: the month of all organizations, here and now or beside the workers; and steering it."""

import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import TextIO
from uuid import UUID

import click
from flask import current_app, g
from rich.console import Console
from rich.table import Column, Table
from sqlalchemy import select

from portal.bill_runs import steering
from portal.bill_runs.advancing import advance
from portal.bill_runs.item_files import HEAD, file_rows
from portal.bill_runs.models import NEEDS_SOMEBODY, BillRun, ItemState, RunKind, RunState
from portal.bill_runs.queries import Wanted, items_of, list_runs, run_of_month
from portal.bill_runs.reporting import counts_of, figures_of, problems_of, progress_of
from portal.bill_runs.starting import start_run
from portal.core.money import major_text
from portal.core.periods import Month
from portal.infra import clock, outbox
from portal.infra.db import db, transaction
from portal.infra.outbox import OutboxJob
from portal.infra.pages import csv_response
from portal.operator import as_operator
from portal.operator_console import MONTH, print_table

console = Console()
SECONDS_BETWEEN_LOOKS = 0.5


@click.command("run")
@click.option("--month", type=MONTH, required=True, help="Like 2026-10.")
@click.option("--dry-run", is_flag=True, help="Compute and show everything; no invoice is made or changed.")
@click.option("--finalize", "finalizes", is_flag=True, help="Finalize what is approved, without a stop for review.")
@click.option(
    "--csv", "file", type=click.File("w", encoding="utf-8"), help="Write every organization with its figures to a file."
)
@as_operator
def run_month(month: Month, dry_run: bool, finalizes: bool, file: TextIO | None) -> None:
    """Run a month, working along with the workers as far as it goes now. Safe to run again: it goes on.

    Exits with 1 if something needs somebody.
    """
    if dry_run and finalizes:
        raise click.UsageError("A dry run finalizes nothing; say either --dry-run or --finalize.")
    kind = RunKind.REHEARSAL if dry_run else RunKind.MONTHLY
    settings = current_app.config["SETTINGS"]
    with transaction():
        run = start_run(month, kind, by=g.actor.name, now=clock.now(), settings=settings, review_hours=None)
    _work_along(run.id)
    if finalizes and _state(run.id) == RunState.REVIEW:
        with transaction():
            steering.finalize_approved(run.public_id, by=g.actor.name, now=clock.now())
        _work_along(run.id)
    with transaction():
        run = run_of_month(month, kind)
        _print(run)
        problems = problems_of(run)
        if file is not None:
            file.write(csv_response("run", HEAD, file_rows(items_of(run, limit=None))).get_data(as_text=True))
    if problems:
        sys.exit(1)


def _work_along(run_id: int) -> None:
    """Do what is due of a run, or wait for the workers that do, until the rest is for people or the hold window."""
    said = ""
    while True:
        where = advance(run_id, now=clock.now(), settings=current_app.config["SETTINGS"], ring_again=True)
        due = _due(run_id)
        for outbox_id in due:
            outbox.run(outbox_id)
        if not due and not _left_for_workers(run_id, where):
            return
        said = _say_progress(run_id, said)
        if not due:
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _left_for_workers(run_id: int, where: RunState) -> bool:
    working_on = {
        RunState.GENERATING: (ItemState.WAITING,),
        RunState.FINALIZING: (ItemState.WAITING, ItemState.APPROVED),
    }.get(where, ())
    with transaction():
        counts = counts_of(db.session.get_one(BillRun, run_id))
    return any(counts[state] for state in working_on)


def _due(run_id: int) -> list[int]:
    with transaction() as session:
        query = (
            select(OutboxJob.id)
            .where(
                OutboxJob.kind.startswith("bill_run_"),
                OutboxJob.arguments["run_id"].as_integer() == run_id,
                OutboxJob.finished_at.is_(None),
                OutboxJob.dead_at.is_(None),
                OutboxJob.run_after <= clock.now(),
                OutboxJob.lease_until.is_(None),
            )
            .order_by(OutboxJob.id)
        )
        return list(session.scalars(query))


def _say_progress(run_id: int, said: str) -> str:
    with transaction():
        sentence = _progress(run_id)
    if sentence != said:
        console.print(sentence)
    return sentence


def _progress(run_id: int) -> str:
    run = db.session.get_one(BillRun, run_id, populate_existing=True)
    progress = progress_of(run, figures_of(run), now=clock.now())
    left = f", about {progress.seconds_left} s left" if progress.seconds_left else ""
    return f"{run.state}: {progress.done:,} of {progress.whole:,}, {progress.a_minute:,} a minute{left}."


def _state(run_id: int) -> RunState:
    with transaction():
        return RunState(db.session.get_one(BillRun, run_id, populate_existing=True).state)


def _print(run: BillRun) -> None:
    figures = figures_of(run)
    counts = figures.counts
    console.print(f"The {'dry run' if run.is_rehearsal else 'run'} of {run.period} is {run.state}.")
    print_table(_table("Organizations", [(state.value, f"{count:,}") for state, count in counts.items() if count]))
    sums = Table("Currency", *(Column(name, justify="right") for name in ("Organizations", "Total", "Due", "Before")))
    for each in figures.sums:
        amounts = (major_text(amount, each.currency) for amount in (each.total, each.amount_due, each.before))
        sums.add_row(each.currency, f"{each.organizations:,}", *amounts)
    print_table(sums)
    flagged = items_of(run, Wanted(NEEDS_SOMEBODY), limit=20)
    for item in flagged:
        why = " ".join([item.reason or "", *(flag["sentence"] for flag in item.flags)]).strip()
        console.print(f"{item.organization.name}: {why}", markup=False)
    whole = sum(counts.values())
    needing = sum(counts[state] for state in NEEDS_SOMEBODY)
    if needing:
        console.print(f"{whole - needing:,} of {whole:,} done, {needing:,} need somebody.")
    if counts[ItemState.SCHEDULED]:
        console.print(f"{counts[ItemState.SCHEDULED]:,} are in their hold window; the workers finish them after it.")


def _table(head: str, rows: list[tuple[str, str]]) -> Table:
    table = Table(head, Column("", justify="right"))
    for row in rows:
        table.add_row(*row)
    return table


@click.command("runs")
@as_operator
def show_runs() -> None:
    """List the runs, the latest month first."""
    table = Table("Month", "Kind", "State", "Started by", "As of (UTC)", Column("Need somebody", justify="right"))
    with transaction():
        for run in list_runs():
            problems = run.report["problems"] if run.report else problems_of(run)
            as_of = f"{run.as_of:%Y-%m-%d %H:%M}" if run.as_of else ""
            table.add_row(str(run.period), run.kind, run.state, run.started_by, as_of, f"{problems:,}")
    if not table.row_count:
        console.print("No month has been run.")
        return
    print_table(table)


def _steer(month: Month, step: Callable[[UUID, datetime], BillRun]) -> None:
    with transaction():
        run = step(run_of_month(month).public_id, clock.now())
    console.print(f"The run of {month} is {run.state}.")


@click.command("pause")
@click.option("--month", type=MONTH, required=True)
@as_operator
def pause(month: Month) -> None:
    """Let nothing of a run begin until it is resumed. Safe at any moment."""
    _steer(month, lambda run, now: steering.pause(run, now=now))


@click.command("resume")
@click.option("--month", type=MONTH, required=True)
@as_operator
def resume(month: Month) -> None:
    """Go on where a run was paused."""
    _steer(month, lambda run, now: steering.resume(run, now=now))


@click.command("cancel-run")
@click.option("--month", type=MONTH, required=True)
@as_operator
def cancel_run(month: Month) -> None:
    """End a run: what is not final is taken back, what is final stays. It can be started again."""
    _steer(month, lambda run, now: steering.cancel_run(run, now=now))
