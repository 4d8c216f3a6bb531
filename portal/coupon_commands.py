"""`flask coupons`: discounts that organizations are given."""

from datetime import date
from decimal import Decimal
from uuid import UUID

import click
from flask.cli import AppGroup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from portal.catalog import coupons
from portal.catalog.models import Coupon
from portal.core.errors import InvalidInput
from portal.core.exact import plain
from portal.core.money import major_text
from portal.core.periods import Month
from portal.infra import clock
from portal.infra.db import transaction
from portal.invoicing.queries import agreement_open_from
from portal.operator import as_operator
from portal.operator_console import DAY, DECIMAL, MONTH, locked_organization, organization_named, print_table, to_minor

console = Console()

coupons_group = AppGroup("coupons", help="Discounts that organizations are given.")


@coupons_group.command("create")
@click.argument("code")
@click.option("--name", required=True, help="What the invoice says.")
@click.option("--percent", type=DECIMAL, help="Such as 12.5; or give --amount.")
@click.option("--amount", type=DECIMAL, help="In the major unit, such as 12.50, with --currency; or give --percent.")
@click.option("--currency", help="ISO 4217 code of the amount.")
@click.option("--product", "products", multiple=True, help="Only lines of this product; can be given again.")
@click.option("--months", type=int, help="How many months it lasts; by default for ever.")
@click.option("--alone", is_flag=True, help="It never stands beside another coupon.")
@click.option("--redeem-by", type=DAY, help="The last day on which it can be redeemed.")
@as_operator
def create(
    code: str,
    name: str,
    percent: Decimal | None,
    amount: Decimal | None,
    currency: str | None,
    products: tuple[str, ...],
    months: int | None,
    alone: bool,
    redeem_by: date | None,
) -> None:
    """Make a coupon of a percentage or of an amount."""
    if amount is not None and currency is None:
        raise InvalidInput("An amount has a currency; give --currency.", field="currency")
    with transaction():
        made = coupons.create_coupon(
            code,
            name=name,
            percent=percent,
            amount=None if amount is None or currency is None else to_minor(amount, currency),
            currency=currency,
            products=products,
            months=months,
            stacks=not alone,
            redeem_by=redeem_by,
        )
    console.print(f"“{made.code}” can be redeemed.", markup=False)


@coupons_group.command("list")
@click.argument("organization", required=False)
@as_operator
def list_coupons(organization: str | None) -> None:
    """List all coupons, or with an organization those that it was given, newest first."""
    with transaction():
        print_table(_all_coupons() if organization is None else _coupons_of(organization))


def _all_coupons() -> Table:
    table = Table("Code", "Name", "Worth", "Of", "Months", "Alone", "Redeem by")
    for each in coupons.list_coupons():
        table.add_row(
            Text(each.code),
            Text(each.name),
            _worth(each),
            Text(", ".join(each.products) or "everything"),
            "for ever" if each.months is None else str(each.months),
            "" if each.stacks else "yes",
            "archived" if each.archived_at else str(each.redeem_by or ""),
        )
    return table


def _coupons_of(organization: str) -> Table:
    table = Table("Redemption", "Code", "Worth", "From", "Until")
    for each in coupons.redemptions_of(organization_named(organization).id):
        last = "" if each.last_month is None else str(Month.of(each.last_month))
        table.add_row(
            str(each.public_id), Text(each.coupon.code), _worth(each.coupon), str(Month.of(each.first_month)), last
        )
    return table


@coupons_group.command("redeem")
@click.argument("organization")
@click.argument("code")
@click.option("--from", "first_month", type=MONTH, help="Like 2026-11; by default the current month.")
@as_operator
def redeem(organization: str, code: str, first_month: Month | None) -> None:
    """Give an organization a coupon."""
    with transaction():
        customer = locked_organization(organization)
        today = clock.now().date()
        given = coupons.redeem(
            customer,
            code,
            first_month=first_month or Month.of(today),
            today=today,
            open_from=agreement_open_from(customer.id, now=clock.now()),
        )
    console.print(f"It lowers the invoices from {Month.of(given.first_month)} on.")


@coupons_group.command("end")
@click.argument("organization")
@click.argument("redemption", type=click.UUID)
@click.option("--last-month", type=MONTH, required=True, help="The last month whose invoice it lowers.")
@as_operator
def end(organization: str, redemption: UUID, last_month: Month) -> None:
    """End a coupon of an organization. Safe to run twice."""
    with transaction():
        customer = locked_organization(organization)
        coupons.end_redemption(
            coupons.redemption_of(redemption, customer.id).id,
            last_month=last_month,
            open_from=agreement_open_from(customer.id, now=clock.now()),
        )
    console.print(f"It lowers no invoice after that of {last_month}.")


def _worth(coupon: Coupon) -> str:
    if coupon.percent is not None:
        return f"{plain(coupon.percent)}%"
    assert coupon.amount is not None
    assert coupon.currency is not None
    return f"{major_text(coupon.amount, coupon.currency)} {coupon.currency}"
