"""The commands: the same verbs as the pages, for operators and scripts. `flask --help` is the table of contents."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import click
from flask import Flask, current_app
from flask.cli import AppGroup, with_appcontext
from rich.console import Console
from rich.table import Column, Table

from portal.archive_commands import archive_usage, list_archives, restore_usage
from portal.audit_commands import audit_group
from portal.backup_commands import backup_group
from portal.catalog_commands import catalog_group
from portal.config import VARIABLES, settings_from_env
from portal.correction_commands import credit_note, write_off_invoice
from portal.coupon_commands import coupons_group
from portal.credit_commands import credits_group
from portal.import_commands import import_usage
from portal.infra.db import transaction
from portal.invoice_commands import invoice_group
from portal.listing_commands import list_invoices
from portal.operator import as_operator
from portal.operator_console import organization_named, print_table
from portal.organization_commands import organizations_group
from portal.people_commands import keys_group, users_group
from portal.preflight_commands import run_preflight
from portal.price_commands import price_group
from portal.run_commands import cancel_run, pause, resume, run_month, show_runs
from portal.stripe_commands import stripe_group
from portal.subscription_commands import subscriptions_group
from portal.tax_commands import tax_group
from portal.usage_commands import usage_group
from portal.waiting_commands import discard_usage, list_waiting
from portal.webhook_commands import webhooks_group

console = Console()


def register(app: Flask) -> None:
    """Add all commands to the application."""
    for command in (
        seed_demo,
        worker,
        clock,
        outbox_group,
        organizations_group,
        usage_group,
        catalog_group,
        price_group,
        subscriptions_group,
        coupons_group,
        credits_group,
        tax_group,
        invoice_group,
        billing,
        audit_group,
        backup_group,
        stripe_group,
        webhooks_group,
        config,
        run_preflight,
        users_group,
        keys_group,
    ):
        app.cli.add_command(command)
    for command in (import_usage, list_waiting, discard_usage, archive_usage, restore_usage, list_archives):
        usage_group.add_command(command)
    app.cli.commands["db"].add_command(roles)  # type: ignore[attr-defined]


@click.command()
@with_appcontext
def worker() -> None:
    """Run an RQ worker: does the work that the outbox holds."""
    from portal.infra.queue import worker_of
    from portal.payments import gateway

    gateway.preload()
    worker_of(current_app).work(logging_level="WARNING")


@click.command()
def clock() -> None:
    """Run the clock: recurring jobs and sweepers."""
    from portal.clock import run_clock

    run_clock(current_app._get_current_object())  # type: ignore[attr-defined]


@click.command("seed")
@click.option("--seed", "number", default=1, show_default=True, help="The same number gives the same demo.")
@click.option("--organizations", default=0, show_default=True, help="So many further organizations.")
@click.option("--events", default=0, show_default=True, help="So many more usage events, spread over those.")
@click.option("--big-month", default=0, show_default=True, help="So many further ones, with last month to review.")
@click.option("--anomalies", default=0, show_default=True, help="So many of those have something odd about them.")
@click.option("--credentials", type=click.Path(dir_okay=False), help="File for logins and API keys (mode 0600).")
@click.option("--even-in-production", is_flag=True, help="Without it, seeding refuses in production.")
@as_operator
def seed_demo(
    number: int,
    organizations: int,
    events: int,
    big_month: int,
    anomalies: int,
    credentials: str | None,
    even_in_production: bool,
) -> None:
    """Fill the database with a believable platform. Safe to run again: it adds what is missing."""
    from portal.seeding import Wishes, seed

    settings = current_app.config["SETTINGS"]
    if settings.is_production and not even_in_production:
        raise click.ClickException("This is production: demo data does not belong here (--even-in-production).")
    if organizations < 0 or events < 0 or (events and not organizations):
        raise click.UsageError("--events needs --organizations to spread them over; neither is below zero.")
    if not 0 <= anomalies <= big_month:
        raise click.UsageError("--anomalies are some of the organizations of --big-month.")
    path = Path(credentials) if credentials else None
    wishes = Wishes(number, organizations, events, big_month, anomalies, path)
    for sentence in seed(wishes, settings, now=datetime.now(UTC)):
        console.print(sentence)


outbox_group = AppGroup("outbox", help="Work that is waiting to be done.")


@outbox_group.command("drain")
@as_operator
def drain_outbox() -> None:
    """Do all due work here and now, without workers. Safe to run beside them."""
    from portal.infra import outbox

    console.print(f"{outbox.drain()} jobs were run.")


@outbox_group.command("sweep")
@as_operator
def sweep_outbox() -> None:
    """Ring for due work that nobody works on."""
    from portal.infra import outbox

    console.print(f"Rang for {outbox.sweep()} jobs.")


billing = AppGroup("billing", help="The books: drafts, finalizing, and the check that all is well.")


@billing.command("doctor")
@as_operator
def run_doctor() -> None:
    """Check the invariants of the books; exits with 1 if any is broken."""
    from portal import doctor
    from portal.usage.archived import archived_months

    with transaction():
        findings = doctor.examine()
        archived = archived_months()
    table = Table("", "Invariant", "Broken")
    for finding in findings:
        sign = "[red]✗[/]" if finding.broken else "[green]✓[/]"
        table.add_row(f"{sign} {finding.code}", finding.rule, "\n".join(finding.broken) or "-")
    console.print(table)
    broken = sum(bool(finding.broken) for finding in findings)
    console.print(f"{len(findings)} checks, {broken} broken.")
    if archived:
        console.print(
            f"The events of {len(archived):,} months are archived (flask usage archives). Their hours, largest and"
            " latest values and numbers of subjects cannot be counted again; everything else was.",
            soft_wrap=True,
        )
    sys.exit(1 if broken else 0)


@billing.command("open-drafts")
@click.option("--month", help="Like 2026-10; by default the current month.")
@as_operator
def open_drafts(month: str | None) -> None:
    """Give every organization its draft of a month. Safe to run twice."""
    from portal import billing_cycle
    from portal.core.periods import Month

    chosen = Month.parse(month) if month else Month.of(datetime.now(UTC))
    console.print(f"{billing_cycle.open_drafts(chosen)} drafts opened.")


@billing.command("finalize")
@click.argument("invoice", type=click.UUID)
@as_operator
def finalize(invoice: UUID) -> None:
    """Finalize one draft as it stands and queue its sync. A second run says who was faster."""
    from portal import billing_cycle
    from portal.invoicing.queries import invoice_of

    with transaction():
        invoice_id = invoice_of(invoice).id
    done = billing_cycle.finalize_as_it_stands(
        invoice_id, by="command line", now=datetime.now(UTC), settings=current_app.config["SETTINGS"]
    )
    console.print(f"{done.number or 'The invoice'} is {done.state}.")


@billing.command("void")
@click.argument("invoice", type=click.UUID)
@click.option("--reason", required=True, help="Why; kept in the audit log.")
@as_operator
def void(invoice: UUID, reason: str) -> None:
    """Void a finalized invoice that has not been paid, here and at Stripe."""
    from portal.invoicing.queries import invoice_of
    from portal.invoicing.voiding import void_invoice

    with transaction():
        done = void_invoice(invoice_of(invoice).id, reason=reason, now=datetime.now(UTC))
    console.print(f"{done.number} is {done.state}.")


@billing.command("totals")
@click.option("--organization", metavar="SLUG", help="Of one organization; without it of the platform.")
@click.option("--year", type=click.IntRange(2000, 2199), help="Of one year; without it of all.")
@as_operator
def print_totals(organization: str | None, year: int | None) -> None:
    """Print what was invoiced: every month, and the sum of every year, by currency."""
    from portal.invoicing.month_totals import SUMS_HEAD, by_currency, months_of, months_of_platform, written

    months = months_of(organization_named(organization).id) if organization else months_of_platform()
    table = Table("Month", "Currency", *(Column(name, justify="right") for name in SUMS_HEAD))
    for of_currency in by_currency([each for each in months if year in (None, each.month.year)]):
        for of_year in of_currency.years:
            for each in of_year.months:
                table.add_row(str(each.month), each.currency, *written(each.totals, each.currency))
            sums = written(of_year.totals, of_currency.currency)
            table.add_row(str(of_year.year), of_currency.currency, *sums, style="bold", end_section=True)
    if not table.row_count:
        console.print("Nothing has been invoiced.")
        return
    print_table(table)


for command in (list_invoices, run_month, show_runs, pause, resume, cancel_run, credit_note, write_off_invoice):
    billing.add_command(command)

config = AppGroup("config", help="Settings.")


@config.command("check")
def check_config() -> None:
    """List every setting and say what is wrong; values of secrets are not shown."""
    settings_from_env(os.environ)
    table = Table("Setting", "Set by", "What it is")
    for variable in VARIABLES.values():
        table.add_row(variable.name, "environment" if variable.name in os.environ else "default", variable.says)
    console.print(table)
    console.print("All settings can be used.")


@click.command("roles")
@with_appcontext
def roles() -> None:
    """Create the database roles that transactions take. Idempotent; run it as a role that may create roles."""
    from portal.infra.db import db
    from portal.infra.roles import ensure_roles

    with db.engine.begin() as connection:
        ensure_roles(connection)
    console.print("The roles portal_tenant, portal_staff and portal_system exist and can be taken.")
