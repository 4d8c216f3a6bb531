"""Commands about organizations: registering them, listing them, and whether one is served."""

import click
from flask.cli import AppGroup
from rich.table import Table

from portal.core.periods import Month
from portal.infra.db import transaction
from portal.operator import as_operator
from portal.operator_console import MONTH, organization_named, print_table
from portal.organizations.suspending import STATUSES

organizations_group = AppGroup("organizations", help="Who is billed.")


@organizations_group.command("create")
@click.argument("slug")
@click.option("--name", required=True, help="What pages and invoices call it.")
@click.option("--currency", default="USD", show_default=True, help="All its prices and invoices are in it, for ever.")
@click.option("--billing-email", metavar="ADDRESS", help="Where mails about invoices go besides its owners.")
@click.option("--charge-automatically", is_flag=True, help="Charge its payment method; without it invoices are sent.")
@as_operator
def create_organization(
    slug: str, name: str, currency: str, billing_email: str | None, charge_automatically: bool
) -> None:
    """Register an organization under a short name, which the API, files and commands call it by."""
    from portal.organizations.registering import register_organization

    with transaction():
        organization = register_organization(
            slug,
            name=name,
            currency=currency,
            billing_email=billing_email,
            collection_method="charge_automatically" if charge_automatically else "send_invoice",
        )
        click.echo(f"{organization.name} is registered as {organization.slug} ({organization.public_id}).")


@organizations_group.command("list")
@click.option("--search", default="", metavar="TEXT", help="A part of the name or short name, or a Stripe customer.")
@as_operator
def list_all(search: str) -> None:
    """List organizations by name."""
    from portal.organizations.queries import list_organizations

    table = Table("Short name", "Name", "Currency", "Status", "Paid", "Stripe customer")
    for each in list_organizations(search=search, limit=None):
        table.add_row(
            each.slug,
            each.name,
            each.currency,
            each.status,
            each.collection_method.replace("_", " "),
            each.stripe_customer_id or "",
        )
    print_table(table)


@organizations_group.command("status")
@click.argument("slug")
@click.argument("status", type=click.Choice(list(STATUSES)))
@click.option("--reason", required=True, help="Why; kept in the audit log.")
@as_operator
def change_status(slug: str, status: str, reason: str) -> None:
    """Suspend an organization, close it, or serve it again; what it has used is billed in any case."""
    from portal.organizations.registering import organization_by_slug
    from portal.organizations.suspending import set_status

    with transaction():
        organization = organization_by_slug(slug)
        if organization is None:
            raise click.ClickException(f"There is no organization “{slug}”.")
        set_status(organization.id, status, reason=reason)
    click.echo(f"{slug} is {status}. {STATUSES[status]}")


@organizations_group.command("link")
@click.argument("slug")
@click.argument("payer")
@click.option("--from", "first_month", type=MONTH, required=True, help="The first month, like 2026-11.")
@as_operator
def link(slug: str, payer: str, first_month: Month) -> None:
    """Let PAYER pay for an organization from a month on: as a section of its own invoice."""
    from portal.invoicing.linking import link_to_payer

    with transaction():
        linked, pays = organization_named(slug), organization_named(payer)
        link_to_payer(linked.id, pays.id, first_month=first_month)
    click.echo(f"{payer} pays for {slug} from {first_month} on.")


@organizations_group.command("unlink")
@click.argument("slug")
@click.option("--from", "end_month", type=MONTH, required=True, help="The first month that it pays for itself again.")
@as_operator
def unlink(slug: str, end_month: Month) -> None:
    """Let an organization pay for itself again from a month on."""
    from portal.invoicing.linking import end_link

    with transaction():
        end_link(organization_named(slug).id, end_month=end_month)
    click.echo(f"{slug} pays for itself from {end_month} on.")
