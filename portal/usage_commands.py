"""`flask usage`: usage from files and from Prometheus."""

import sys

import click
from flask import current_app
from flask.cli import AppGroup
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.formats import moment
from portal.operator import as_operator
from portal.operator_console import print_table
from portal.organizations.queries import ids_by_slug, list_organizations
from portal.usage.heard import LOOKED_AROUND, heard_sources
from portal.usage.sources.pull_files import PullFile, read_pull_file
from portal.usage.sources.pulling import pull, pull_states

console = Console()

usage_group = AppGroup("usage", help="Usage from files and from Prometheus.")
pull_group = AppGroup("pull", help="Usage that other systems keep.")
usage_group.add_command(pull_group)


@pull_group.command("prometheus")
@click.option("--file", help="What to pull (YAML; docs/usage_sources.md). [setting PROMETHEUS_PULLS]")
@click.option("--query", "only", help="Pull this query only.")
@as_operator
def pull_prometheus(file: str | None, only: str | None) -> None:
    """Pull every query up to now, less the lag. Safe to run twice and beside the clock, which does it every minute.

    Exits with 1 if a query failed; its watermark stays, so the next run begins there.
    """
    pulls = _pull_file(file)
    if only is not None and only not in [query.name for query in pulls.queries]:
        raise click.UsageError(f"The file has no query {only}.")
    failed = 0
    for pulled in pull(pulls, now=clock.now(), only=only):
        upto = f"up to {moment(pulled.watermark)}" if pulled.watermark else "nothing pulled yet"
        there = f", {pulled.there_already:,} were there already" if pulled.there_already else ""
        note = f" ({pulled.note})" if pulled.note else ""
        console.print(Text(f"{pulled.name}: {pulled.stored:,} events stored{there}, {upto}{note}."), soft_wrap=True)
        if pulled.error:
            failed += 1
            console.print(Text(f"{pulled.name}: {pulled.error}", style="red"), soft_wrap=True)
    if failed:
        sys.exit(1)


@usage_group.command("pulls")
@as_operator
def list_pulls() -> None:
    """How far every query of Prometheus has been pulled, and what came of its last run."""
    states = pull_states()
    table = Table("Query", "Watermark", "Last run", Column("Events", justify="right"), "Error", "Note")
    for state in states:
        table.add_row(
            Text(state.name),
            moment(state.watermark) if state.watermark else "",
            moment(state.last_run_at),
            f"{state.last_count:,}",
            Text(state.last_error or "", style="red"),
            Text(state.last_note or ""),
        )
    if states:
        print_table(table)
    else:
        console.print("Nothing has been pulled yet.")


@usage_group.command("sources")
@click.option("--organization", "slug", help="One organization's (slug or id). [all]")
@as_operator
def list_sources(slug: str | None) -> None:
    """Up to when usage of each source is complete, and the gaps of the last 31 days."""
    now = clock.now()
    with transaction():
        if slug is None:
            named = {each.slug: each.id for each in list_organizations(limit=None)}
        else:
            named = ids_by_slug({slug})
            if slug not in named:
                raise click.UsageError(f"There is no active organization {slug}.")
            named = {slug: named[slug]}
        heard = [
            (name, each)
            for name, organization_id in named.items()
            for each in heard_sources(organization_id, now - LOOKED_AROUND, now)
        ]
    events = Column("Events", justify="right")
    table = Table("Organization", "Source", "Complete up to", "Last heard of", events, "Gaps")
    for name, each in heard:
        gaps = "\n".join(f"{moment(gap.start)} to {moment(gap.end)}" for gap in each.gaps)
        table.add_row(
            Text(name),
            Text(each.source),
            moment(each.complete_up_to),
            moment(each.heard_at),
            f"{each.events:,}",
            Text(gaps, style="yellow"),
        )
    if heard:
        print_table(table)
    else:
        console.print("No source has been heard of yet.")


def _pull_file(path: str | None) -> PullFile:
    """The file of an option, or of the setting. Raises a usage error without either, InvalidInput if it is wrong."""
    named = path or current_app.config["SETTINGS"].prometheus_pulls
    if named is None:
        raise click.UsageError("Say what to pull: --file, or the setting PROMETHEUS_PULLS.")
    return read_pull_file(named)
