"""`flask usage archive`, `restore` and `archives`: events of old months leave the table for files, and come back."""

import sys
from pathlib import Path

import click
from flask import current_app, g
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from sqlalchemy import exists, func, select

from portal.core.errors import NotReady, PortalError
from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month
from portal.infra import clock
from portal.infra.db import db, transaction
from portal.infra.formats import moment
from portal.invoicing.models import Invoice
from portal.operator import as_operator
from portal.operator_console import MONTH, print_table
from portal.organizations.models import Organization
from portal.usage.archived import ArchiveState, UsageArchive
from portal.usage.archiving import archive_month
from portal.usage.models import UsageDaily
from portal.usage.restoring import restore_file

MOST_NAMED = 5
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
console = Console()


@click.command("archive")
@click.option("--month", type=MONTH, help="The month, like 2026-01.")
@click.option("--before", type=MONTH, help="All months before this one that are not archived yet, oldest first.")
@click.option("--to", "folder", type=FOLDER, required=True, help="The folder that the files go to.")
@as_operator
def archive_usage(month: Month | None, before: Month | None, folder: Path) -> None:
    """Move the events of old months into files, one a month, and delete them from the table.

    Only months whose invoices are all final, and that are ARCHIVE_AFTER_MONTHS old. Nothing is deleted before the file
    was read back and found to say what the table says. An interrupted run is gone on with by running it again. Figures
    stay as they are: they come from the daily rollups. Exits with 1 if a month could not be archived.
    """
    if (month is None) == (before is None):
        raise click.UsageError("Say which: --month, or --before for several.")
    months = [month] if month else _months_before(before) if before else []
    if not months:
        console.print(f"There is no usage before {before} that is not archived.")
    refused = 0
    for each in months:
        try:
            with transaction():
                _check(each)
            events = archive_month(each, folder, by=g.actor.name, now=clock.now(), tell=_tell)
            _tell(f"{events:,} events of {each} are archived.")
        except PortalError as error:
            refused += 1
            console.print(Text(error.sentence, style="red"), soft_wrap=True)
    if refused:
        sys.exit(1)


def _tell(sentence: str) -> None:
    console.print(Text(sentence), soft_wrap=True)


def _months_before(before: Month) -> list[Month]:
    """The months with usage before this one whose events are not all archived."""
    first_day = func.date_trunc("month", UsageDaily.day)
    done = select(UsageArchive.month).where(UsageArchive.state.in_([ArchiveState.DROPPED, ArchiveState.RESTORING]))
    query = (
        select(first_day)
        .where(UsageDaily.day < before.first_day, first_day.not_in(done))
        .group_by(first_day)
        .having(func.sum(UsageDaily.events) > 0)
        .order_by(first_day)
    )
    with transaction() as session:
        return [Month.of(day) for day in session.scalars(query)]


def _check(month: Month) -> None:
    """Refuse a month that is too young, or of which somebody's invoice may still change. Raises NotReady."""
    least = current_app.config["SETTINGS"].archive_after_months
    earliest = month.plus(least + 1)
    if Month.of(clock.now()) < earliest:
        raise NotReady(f"{month} can be archived from {earliest} on (ARCHIVE_AFTER_MONTHS is {least}).")
    used = exists().where(
        UsageDaily.organization_id == Invoice.organization_id,
        UsageDaily.day.between(month.first_day, month.last_day),
    )
    query = (
        select(Organization.slug)
        .join(Invoice, Invoice.organization_id == Organization.id)
        .where(Invoice.period_start == month.first_day, used)
        .where(Invoice.state.in_([InvoiceState.DRAFT, InvoiceState.SCHEDULED]))
        .order_by(Organization.slug)
    )
    slugs = list(db.session.scalars(query))
    if slugs:
        more = f" and {len(slugs) - MOST_NAMED:,} more" if len(slugs) > MOST_NAMED else ""
        raise NotReady(f"Not every invoice of {month} is final: {', '.join(slugs[:MOST_NAMED])}{more}.")


@click.command("restore")
@click.argument("file", type=FILE)
@as_operator
def restore_usage(file: Path) -> None:
    """Put the events of an archived month back from its FILE, which stays. Safe to run again after an interruption."""
    _tell(f"{restore_file(file, tell=_tell):,} events are back in the table.")


@click.command("archives")
@as_operator
def list_archives() -> None:
    """List the archived months, and how far each archive is."""
    with transaction() as session:
        archives = list(session.scalars(select(UsageArchive).order_by(UsageArchive.month)))
    if not archives:
        console.print("No month is archived.")
        return
    table = Table("Month", "State", Column("Events", justify="right"), "File", "SHA-256", "Begun (UTC)", "By")
    for each in archives:
        table.add_row(
            str(Month.of(each.month)),
            each.state,
            "" if each.rows is None else f"{each.rows:,}",
            Text(each.file_name),
            each.sha256 or "",
            moment(each.archived_at),
            Text(each.archived_by),
        )
    print_table(table)
