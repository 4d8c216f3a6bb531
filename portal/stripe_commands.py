"""`flask stripe`: the sandbox, sending again, comparing both sides, and applying events again."""

import os
import sys
import time
from datetime import datetime
from typing import BinaryIO, TextIO
from uuid import UUID

import click
from flask import current_app
from flask.cli import AppGroup
from rich.console import Console
from rich.table import Table

from portal import billing_cycle
from portal.core.periods import Month
from portal.infra import clock
from portal.infra.db import db, transaction
from portal.infra.outbox import GiveUp, RetryLater
from portal.infra.pages import csv_response
from portal.invoicing.queries import invoice_of
from portal.operator import as_operator
from portal.operator_console import MOMENT, MONTH, print_table
from portal.payments import reconciling, replaying, shadowing
from portal.payments.account import forget_account
from portal.payments.drift_models import Phase, Reconciliation
from portal.payments.drift_queries import Report, report_of

# Reads of one page, and how often the command says how far it is if nobody watches.
TRIES, PROGRESS_EVERY = 10, 1000
console = Console()
stripe_group = AppGroup("stripe", help="Stripe: the sandbox, sending again, and comparing both sides.")


@stripe_group.command("sandbox")
@click.option("--port", type=int, default=12111, show_default=True)
@click.option("--webhook-url", default="http://127.0.0.1:5000/webhooks/stripe", show_default=True)
@click.option("--state", type=click.Path(dir_okay=False), help="File that keeps the sandbox's state.")
def sandbox(port: int, webhook_url: str, state: str | None) -> None:
    """Run the stand-in Stripe server. Point STRIPE_API_BASE at it."""
    secret = current_app.config["SETTINGS"].stripe_webhook_secrets[0]
    words = ["--port", str(port), "--webhook-url", webhook_url, "--webhook-secret", secret]
    # A program of its own: it imports nothing of the portal.
    os.execv(
        sys.executable,
        [sys.executable, "-m", "portal.sandbox", *words, *(["--state", state] if state else [])],
    )


@stripe_group.command("forget-account")
@as_operator
def forget() -> None:
    """Let the next account that `flask preflight` sees be ours. What was sent to the old one stays there."""
    with transaction():
        forgotten = forget_account()
    console.print(f"{forgotten} is forgotten." if forgotten else "No account was remembered.")


@stripe_group.command("sync")
@click.argument("invoice", type=click.UUID)
@as_operator
def sync(invoice: UUID) -> None:
    """Send an invoice to Stripe again after what stopped it has been repaired."""
    with transaction():
        invoice_id = invoice_of(invoice).id
    billing_cycle.sync_again(invoice_id)
    console.print("Queued. Steps that Stripe has answered are not repeated.")


@stripe_group.command("reconcile")
@click.option(
    "--month", type=MONTH, help="The invoices of a month, and all that was made at Stripe in the month after."
)
@click.option("--since", type=MOMENT, help="Instead of a month: what was made at Stripe from this day on …")
@click.option("--until", type=MOMENT, help="… and before this one; by default until now.")
@as_operator
def reconcile(month: Month | None, since: datetime | None, until: datetime | None) -> None:
    """Compare every invoice with Stripe's, on both sides; exits with 1 if there are open differences.

    Only reads at Stripe. Safe to run at any time, also twice at once.
    """
    now = clock.now()
    if (month is None) == (since is None) or (month is not None and until is not None):
        raise click.UsageError("Say either --month, or --since and perhaps --until.")
    if month is not None:
        window = reconciling.Window.of_month(month, now=now)
    else:
        assert since is not None
        window = reconciling.Window(since, until or now + reconciling.A_SECOND)
    with transaction():
        run_id = reconciling.begin(window, now=now)
    _go_through(run_id)
    with transaction():
        run = db.session.get_one(Reconciliation, run_id, populate_existing=True)
        report = report_of(run)
        _print_report(run, report)
    sys.exit(1 if report.differences else 0)


@stripe_group.command("replay")
@click.argument("event_id", required=False)
@click.option("--since", type=MOMENT, help="Instead of one event: all that came in from this day or moment on.")
@as_operator
def replay(event_id: str | None, since: datetime | None) -> None:
    """Apply a stored event again: its invoice is read at Stripe once more. Safe to run twice."""
    if (event_id is None) == (since is None):
        raise click.UsageError("Say either an event's id, or --since.")
    if since is not None:
        console.print(f"{replaying.replay_since(since)} events are applied again.")
        return
    assert event_id is not None
    with transaction():
        event = replaying.replay(event_id)
    console.print(f"{event.event_id} ({event.type}) is applied again.")


@stripe_group.command("compare")
@click.option("--month", type=MONTH, required=True, help="The month that was billed, such as 2026-10.")
@click.option(
    "--file", "export", type=click.File(encoding="utf-8"), help="Exported invoices (JSON); else read at Stripe."
)
@click.option("--csv", "table_file", type=click.File("wb"), help="Also write the differences there.")
@as_operator
def compare(month: Month, export: TextIO | None, table_file: BinaryIO | None) -> None:
    """Compare what an existing set-up billed through Stripe with what the portal would bill, to the cent.

    Only reads; exits with 1 if anything differs. For the time before the switch.
    """
    try:
        documents = shadowing.read_export(export.read()) if export else list(shadowing.read_from_stripe(month))
    except (RetryLater, GiveUp) as reason:
        raise click.ClickException(str(reason)) from reason
    result = shadowing.compare_month(month, documents)
    if result.differences:
        table = Table(*shadowing.HEAD)
        for each in result.differences:
            table.add_row(*each.cells)
        print_table(table)
    if table_file is not None:
        rows = [each.cells for each in result.differences]
        table_file.write(csv_response("differences", shadowing.HEAD, rows).get_data())
    console.print(f"{len(documents)} invoices at Stripe, {result.customers} customers compared.")
    if result.other_words:
        console.print(f"{result.other_words} lines have the same amount under other words.")
    console.print(f"{len(result.differences)} differences.")
    sys.exit(1 if result.differences else 0)


def _go_through(run_id: int) -> None:
    """Read page after page, with patience, and say how far it is."""
    said, failures = 0, 0
    with console.status("Reading at Stripe …") as status:
        while True:
            try:
                if not reconciling.advance(run_id):
                    return
                failures = 0
            except RetryLater as wait:
                failures += 1
                if failures == TRIES:
                    raise click.ClickException(f"{wait} Nothing is lost: run it again later.") from wait
                time.sleep(wait.seconds or 1)
                continue
            except GiveUp as refusal:
                raise click.ClickException(str(refusal)) from refusal
            with transaction():
                run = db.session.get_one(Reconciliation, run_id, populate_existing=True)
            status.update(f"{run.invoices} invoices compared …")
            if not console.is_terminal and run.phase != Phase.DONE and run.invoices - said >= PROGRESS_EVERY:
                said = run.invoices
                console.print(f"{said} invoices compared …")


def _print_report(run: Reconciliation, report: Report) -> None:
    if report.differences:
        table = Table("Organization", "Invoice", "At Stripe", "Field", "Ours", "Theirs", "Since (UTC)", "State")
        for row in report.differences:
            table.add_row(
                row.organization.name if row.organization else "",
                (row.invoice.number or str(row.invoice.public_id)) if row.invoice else "",
                row.stripe_id or "",
                row.field,
                row.ours or "–",
                row.theirs or "–",
                f"{row.seen_since:%Y-%m-%d %H:%M}",
                row.state,
            )
        print_table(table)
    console.print(f"{run.invoices} invoices compared.")
    if run.adopted:
        console.print(f"{run.adopted} that the portal had forgotten were adopted.")
    if run.on_their_way:
        console.print(f"{run.on_their_way} are on their way to Stripe and are compared once they have arrived.")
    if report.unmanaged:
        console.print(f"{report.unmanaged} at Stripe are not ours (unmanaged); they are never touched.")
    console.print(report.sentence)
