"""`flask usage waiting` and `flask usage discard`: usage of meters that do not exist."""

import click
from flask import g
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from portal.core.exact import plain
from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.formats import moment
from portal.operator import as_operator
from portal.operator_console import organization_named, print_table
from portal.usage.discarding import discard_waiting
from portal.usage.waiting_queries import waiting_usage

console = Console()


@click.command("waiting")
@as_operator
def list_waiting() -> None:
    """List usage that waits for a meter, by organization and meter code, the most events first."""
    with transaction():
        waiting = waiting_usage()
    if not waiting:
        console.print("No event waits for a meter.")
        return
    events, quantity = Column("Events", justify="right"), Column("Quantity", justify="right")
    table = Table("Organization", "Meter", events, quantity, "First (UTC)", "Last (UTC)", "Why it is not taken")
    for each in waiting:
        table.add_row(
            Text(each.slug),
            Text(each.meter),
            f"{each.events:,}",
            "" if each.quantity is None else plain(each.quantity),
            moment(each.first_at),
            moment(each.last_at),
            Text(each.reason or "There is no such meter."),
        )
    print_table(table)
    console.print(f"{sum(each.events for each in waiting):,} events wait for a meter.")


@click.command("discard")
@click.option("--organization", required=True, help="Slug.")
@click.option("--meter", required=True, help="The meter's code, as the events have it.")
@click.option("--reason", required=True, help="Why; kept in the audit log.")
@as_operator
def discard_usage(organization: str, meter: str, reason: str) -> None:
    """Discard an organization's usage that waits for a meter. It stays stored; a page of the staff takes it back."""
    with transaction():
        organization_id = organization_named(organization).id
        events = discard_waiting(organization_id, meter, reason=reason, by=g.actor.name, now=clock.now())
    console.print(f"{events:,} events of {organization} for “{meter}” are discarded.", highlight=False)
