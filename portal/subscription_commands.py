"""`flask subscriptions`: what organizations pay by the month or year, and how that changes."""

from datetime import datetime
from uuid import UUID

import click
from flask.cli import AppGroup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from portal.catalog import subscribing
from portal.catalog.models import Subscription
from portal.catalog.queries import subscriptions_of
from portal.infra import clock
from portal.infra.db import transaction
from portal.invoicing.queries import agreement_open_from
from portal.operator import as_operator
from portal.operator_console import MOMENT, locked_organization, organization_named, print_table

console = Console()

subscriptions_group = AppGroup("subscriptions", help="What organizations pay by the month or year.")
_at = click.option("--at", type=MOMENT, help="When; by default now.")
_at_period_end = click.option("--at-period-end", is_flag=True, help="When the current period (or trial) ends.")


@subscriptions_group.command("list")
@click.argument("organization")
@as_operator
def list_subscriptions(organization: str) -> None:
    """List the subscriptions of an organization with what was and will be changed, newest first."""
    table = Table("Subscription", "Plan", "Quantity", "From", "Trial until", "Until")
    with transaction():
        for each in subscriptions_of(organization_named(organization).id):
            table.add_row(
                Text(str(each.public_id)),
                Text(each.plan.code if each.label is None else f"{each.plan.code} ({each.label})"),
                f"{each.quantity:,}",
                _said(each.started_at),
                _said(each.trial_ends_at),
                _said(each.ended_at),
            )
            for change in each.changes:
                table.add_row(
                    Text(f"↳ {change.public_id}"),
                    Text(change.plan.code),
                    f"{change.quantity:,}",
                    _said(change.effective_at),
                )
    print_table(table)


@subscriptions_group.command("start")
@click.argument("organization")
@click.argument("plan")
@click.option("--at", type=MOMENT, help="From when; by default from now.")
@click.option("--quantity", type=int, default=1, show_default=True)
@click.option("--label", help="What it is for, such as the name of a server; the invoice shows it.")
@click.option("--trial-days", type=int, help="By default the plan's.")
@click.option("--align-to-month", is_flag=True, help="Charge by calendar months; the first one costs its share.")
@as_operator
def start(
    organization: str,
    plan: str,
    at: datetime | None,
    quantity: int,
    label: str | None,
    trial_days: int | None,
    align_to_month: bool,
) -> None:
    """Give an organization a plan (its code)."""
    with transaction():
        customer = locked_organization(organization)
        made = subscribing.subscribe(
            customer,
            subscribing.plan_named(plan),
            starts_at=at or clock.now(),
            open_from=agreement_open_from(customer.id, now=clock.now()),
            quantity=quantity,
            label=label,
            trial_days=trial_days,
            align_to_month=align_to_month,
        )
    console.print(f"{made.public_id} starts on {_said(made.started_at)}.", soft_wrap=True)


@subscriptions_group.command("change")
@click.argument("organization")
@click.argument("subscription", type=click.UUID)
@click.option("--plan", help="Code of the new plan.")
@click.option("--quantity", type=int, help="The new number of seats.")
@_at
@_at_period_end
@as_operator
def change(
    organization: str,
    subscription: UUID,
    plan: str | None,
    quantity: int | None,
    at: datetime | None,
    at_period_end: bool,
) -> None:
    """Change the plan or the number of seats of a subscription."""
    with transaction():
        found = _subscription(organization, subscription)
        now = clock.now()
        made = subscribing.change_subscription(
            found.id,
            plan=subscribing.plan_named(plan) if plan else None,
            quantity=quantity,
            at=_when(at, at_period_end, now),
            now=now,
            open_from=agreement_open_from(found.organization_id, now=clock.now()),
        )
    console.print(f"Changed from {_said(made.effective_at)}; the change is {made.public_id}.", soft_wrap=True)


@subscriptions_group.command("take-back")
@click.argument("organization")
@click.argument("subscription", type=click.UUID)
@click.argument("change", type=click.UUID)
@as_operator
def take_back(organization: str, subscription: UUID, change: UUID) -> None:
    """Take back a change that is still to come. Safe to run twice."""
    with transaction():
        found = _subscription(organization, subscription)
        taken = subscribing.take_back_change(found.id, change, now=clock.now())
    console.print(f"The change of {_said(taken.effective_at)} will not come.", soft_wrap=True)


@subscriptions_group.command("cancel")
@click.argument("organization")
@click.argument("subscription", type=click.UUID)
@click.option("--reason", required=True, help="Why; kept in the audit log.")
@_at
@_at_period_end
@as_operator
def cancel(organization: str, subscription: UUID, reason: str, at: datetime | None, at_period_end: bool) -> None:
    """End a subscription; what was paid for the time after it is given back. Safe to run twice at a period's end."""
    with transaction():
        found = _subscription(organization, subscription)
        now = clock.now()
        ended = subscribing.cancel_subscription(
            found.id,
            at=_when(at, at_period_end, now),
            now=now,
            open_from=agreement_open_from(found.organization_id, now=clock.now()),
            reason=reason,
        )
    console.print(f"The subscription ends on {_said(ended.ended_at)}.", soft_wrap=True)


@subscriptions_group.command("resume")
@click.argument("organization")
@click.argument("subscription", type=click.UUID)
@as_operator
def resume(organization: str, subscription: UUID) -> None:
    """Take back a cancellation that is still to come. Safe to run twice."""
    with transaction():
        subscribing.resume_subscription(_subscription(organization, subscription).id, now=clock.now())
    console.print("The subscription goes on.")


def _subscription(organization: str, public_id: UUID) -> Subscription:
    return subscribing.subscription_of(public_id, locked_organization(organization).id)


def _when(at: datetime | None, at_period_end: bool, now: datetime) -> datetime | None:
    """The verbs' moment: none stands for the end of the current period."""
    if at is not None and at_period_end:
        raise click.UsageError("Give either --at or --at-period-end.")
    return None if at_period_end else at or now


def _said(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"
