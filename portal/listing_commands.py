"""`flask billing invoices`: the list of invoices, with the ids that other commands take."""

import click
from rich.table import Column, Table

from portal.core.lifecycle import InvoiceState
from portal.core.money import major_text
from portal.core.periods import Month
from portal.infra.db import transaction
from portal.invoicing import queries
from portal.invoicing.draft_totals import draft_totals_of
from portal.operator import as_operator
from portal.operator_console import MONTH, organization_named, print_table

STATES = [each.value for each in InvoiceState]


@click.command("invoices")
@click.option("--organization", metavar="SLUG", help="Of one organization; without it of all.")
@click.option("--month", type=MONTH, help="Like 2026-10; without it of all months.")
@click.option(
    "--state", type=click.Choice([each.value for each in InvoiceState]), help="In one state; without it in any."
)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@as_operator
def list_invoices(organization: str | None, month: Month | None, state: str | None, limit: int) -> None:
    """List invoices, the newest month first; totals of drafts are as of a moment ago."""
    with transaction():
        of = organization_named(organization).id if organization else None
        found = queries.list_invoices(
            month=month, state=InvoiceState(state) if state else None, organization_id=of, limit=limit
        )
        totals = draft_totals_of(found)
        table = Table(
            "Invoice", "Organization", "Month", "State", "Number", Column("Total", justify="right"), "Payment"
        )
        for each in found:
            draft = totals.get(each.id)
            total = draft.total if draft else each.total
            table.add_row(
                str(each.public_id),
                each.organization.slug,
                str(each.month),
                each.state,
                each.number or "",
                "" if total is None else f"{each.currency} {major_text(total, each.currency)}",
                each.payment_word,
            )
    print_table(table)
