"""`flask preflight`: the last look before a release takes traffic."""

import sys
from datetime import UTC, datetime

import click
from flask import current_app
from flask.cli import with_appcontext
from rich.table import Table

from portal.operator_console import print_table
from portal.preflight import Standing, examine

SIGNS = {Standing.FINE: "[green]✓[/]", Standing.ODD: "[yellow]![/]", Standing.WRONG: "[red]✗[/]"}


@click.command("preflight")
@click.option("--strict", is_flag=True, help="Also exit with 1 for what works but should be looked at.")
@with_appcontext
def run_preflight(strict: bool) -> None:
    """Look at the database, Redis, Stripe and the mail server; exits with 1 if anything must be mended first."""
    table = Table("", "What", "How it was found")
    found = list(examine(current_app.config["SETTINGS"], now=lambda: datetime.now(UTC)))
    for finding in found:
        table.add_row(SIGNS[finding.standing], finding.subject, finding.says)
    print_table(table)
    wrong = sum(finding.standing is Standing.WRONG for finding in found)
    odd = sum(finding.standing is Standing.ODD for finding in found)
    click.echo(f"{len(found)} looked at, {wrong} wrong, {odd} to be looked at.")
    sys.exit(1 if wrong or (strict and odd) else 0)
