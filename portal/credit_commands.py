"""`flask credits`: credit that organizations were given or have paid for."""

from datetime import date
from decimal import Decimal
from uuid import UUID

import click
from flask import g
from flask.cli import AppGroup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from portal.core.errors import NotFound
from portal.core.money import major_text
from portal.infra import clock
from portal.infra.db import transaction
from portal.invoicing import crediting
from portal.operator import as_operator
from portal.operator_console import DAY, DECIMAL, locked_organization, organization_named, print_table, to_minor

console = Console()

credits_group = AppGroup("credits", help="Credit that organizations were given or have paid for.")


@credits_group.command("grant")
@click.argument("organization")
@click.argument("amount", type=DECIMAL)
@click.option(
    "--kind",
    type=click.Choice(["promotional", "prepaid"]),
    required=True,
    help="Promotional credit is used before tax, prepaid credit pays what is due after it.",
)
@click.option("--name", required=True, help="What the invoice says.")
@click.option("--reason", required=True, help="Why; kept in the audit log.")
@click.option("--expires-on", type=DAY, help="The last day of the last month that it pays; by default never.")
@click.option("--rank", type=int, default=0, show_default=True, help="A lower rank is used first.")
@as_operator
def grant(
    organization: str,
    amount: Decimal,
    kind: crediting.GrantKind,
    name: str,
    reason: str,
    expires_on: date | None,
    rank: int,
) -> None:
    """Give an organization credit: AMOUNT in the major unit of its currency, such as 12.50."""
    with transaction():
        customer = locked_organization(organization)
        made = crediting.grant_credit(
            customer.id,
            kind=kind,
            name=name,
            amount=to_minor(amount, customer.currency),
            reason=reason,
            by=g.actor.name,
            today=clock.now().date(),
            expires_on=expires_on,
            rank=rank,
        )
    console.print(f"{major_text(made.amount, customer.currency)} {customer.currency} were granted: {made.public_id}")


@credits_group.command("list")
@click.argument("organization")
@as_operator
def list_grants(organization: str) -> None:
    """List the credit of an organization and what is left of it, newest first."""
    with transaction():
        customer = organization_named(organization)
        table = Table("Grant", "Kind", "Name", f"Granted, {customer.currency}", "Left", "Expires on", "Rank")
        for each, left in crediting.grants_of(customer.id):
            table.add_row(
                str(each.public_id),
                each.kind,
                Text(each.name),
                major_text(each.amount, customer.currency),
                major_text(left, customer.currency),
                str(each.expires_on or "never"),
                str(each.rank),
            )
    print_table(table)


@credits_group.command("withdraw")
@click.argument("organization")
@click.argument("grant", type=click.UUID)
@click.option("--reason", required=True, help="Why; kept in the audit log.")
@as_operator
def withdraw(organization: str, grant: UUID, reason: str) -> None:
    """Take back what is left of a grant. Safe to run twice."""
    with transaction():
        customer = locked_organization(organization)
        found = next((each.id for each, _ in crediting.grants_of(customer.id) if each.public_id == grant), None)
        if found is None:
            raise NotFound("There is no such credit of this organization.")
        taken = crediting.withdraw_credit(found, reason=reason)
    console.print(f"{major_text(taken, customer.currency)} {customer.currency} were withdrawn.")
