"""`flask tax`: tax rates, and how organizations are taxed."""

from datetime import date
from decimal import Decimal

import click
from flask.cli import AppGroup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from portal.catalog.locking import lock_prices
from portal.catalog.tax_rates import add_tax_rate, product_named, tax_rates_for
from portal.core.exact import plain
from portal.core.taxes import TaxRounding, TaxTreatment
from portal.infra.db import transaction
from portal.invoicing.queries import open_from
from portal.operator import as_operator
from portal.operator_console import DAY, DECIMAL, locked_organization, organization_named, print_table
from portal.organizations.taxing import set_tax_terms

console = Console()

tax_group = AppGroup("tax", help="Tax rates, and how organizations are taxed.")


@tax_group.command("rate")
@click.argument("percent", type=DECIMAL)
@click.option("--from", "valid_from", type=DAY, required=True, help="The first day of the rate.")
@click.option("--organization", help="Slug; without it the rate is everybody's.")
@click.option("--product", help="Name; without it the rate is of everything.")
@as_operator
def rate(percent: Decimal, valid_from: date, organization: str | None, product: str | None) -> None:
    """Add a tax rate from a day on. Safe to run twice."""
    with transaction():
        lock_prices()
        organization_id = locked_organization(organization).id if organization else None
        made = add_tax_rate(
            percent,
            valid_from=valid_from,
            organization_id=organization_id,
            product=product_named(product) if product else None,
            open_from=open_from(organization_id=organization_id),
        )
    console.print(f"{plain(made.percent)}% from {made.valid_from}.")


@tax_group.command("treatment")
@click.argument("organization")
@click.argument("treatment", type=click.Choice([each.value for each in TaxTreatment]))
@click.option("--rounding", type=click.Choice([each.value for each in TaxRounding]), help="By default as it is.")
@click.option("--inclusive/--exclusive", default=None, help="Whether prices include tax; by default as it is.")
@click.option("--tax-id", help="The customer's; by default as it is.")
@as_operator
def treatment(
    organization: str, treatment: str, rounding: str | None, inclusive: bool | None, tax_id: str | None
) -> None:
    """Set whether and how an organization is taxed, from the invoices on that are not final yet."""
    with transaction():
        customer = locked_organization(organization)
        set_tax_terms(
            customer.id,
            treatment=TaxTreatment(treatment),
            rounding=TaxRounding(rounding or customer.tax_rounding),
            prices_include_tax=customer.prices_include_tax if inclusive is None else inclusive,
            tax_id=customer.tax_id if tax_id is None else tax_id,
        )
    included = "included in" if customer.prices_include_tax else "added to"
    console.print(
        f"{customer.name}: {customer.tax_treatment}, tax {included} prices, rounded by {customer.tax_rounding}.",
        soft_wrap=True,
        markup=False,
    )


@tax_group.command("list")
@click.argument("organization")
@as_operator
def list_rates(organization: str) -> None:
    """List the tax rates that apply to an organization, everybody's too, oldest first."""
    table = Table("From", "Percent", "Of", "Whose")
    with transaction():
        for each in tax_rates_for(organization_named(organization).id):
            table.add_row(
                str(each.valid_from),
                plain(each.percent),
                Text(each.product.name if each.product else "everything"),
                "everybody's" if each.organization_id is None else "its own",
            )
    print_table(table)
