"""Seeding, step by step, with progress."""

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from portal import billing_cycle
from portal.config import Settings
from portal.core.periods import Month, midnight
from portal.infra.db import transaction
from portal.organizations.models import Organization
from portal.organizations.registering import ensure_organization
from portal.seeding import agreements, big_month, history, oddities, people
from portal.seeding.cast import CUSTOMERS, ODD_CUSTOMERS, PASSWORD, STAFF, Customer, more_customers
from portal.seeding.price_list import publish_price_list
from portal.seeding.reporting import CLOSED_MONTHS, first_month, report_usage
from portal.seeding.teaching import tell_sandbox
from portal.usage.folding import fold_by_clock


@dataclass(frozen=True, slots=True)
class Wishes:
    """How large the demo is to be; `big_month` organizations have one closed month, and `anomalies` of them are odd."""

    seed: int = 1
    organizations: int = 0
    events: int = 0
    big_month: int = 0
    anomalies: int = 0
    credentials: Path | None = None


def seed(wishes: Wishes, settings: Settings, *, now: datetime) -> list[str]:
    """Fill the database; return sentences that say what there is now. Idempotent."""
    customers = [*CUSTOMERS, *ODD_CUSTOMERS, *more_customers(wishes.organizations)]
    closing = history.Closing(settings, now)
    extra = wishes.events // max(wishes.organizations, 1)
    with _progress() as progress:
        organizations = _register(customers, now, progress)
        new_events = report_usage(customers, organizations, seed=wishes.seed, extra=extra, now=now, progress=progress)
        closed = _close_months(organizations, closing, progress)
        _plant(organizations, wishes.seed, Month.of(now).previous)
        if wishes.big_month:
            closed += big_month.make(wishes.big_month, wishes.anomalies, seed=wishes.seed, closing=closing)
        fold_by_clock()
        billing_cycle.open_drafts(Month.of(now))
        with transaction():
            for customer in CUSTOMERS:
                agreements.set_first_budget(organizations[customer.slug], now=now)
    told = tell_sandbox(settings)
    if wishes.credentials:
        people.write_credentials(wishes.credentials, settings, now=now)
    count = len(customers) + wishes.big_month
    return [
        f"{count:,} organizations, {new_events:,} new usage events, {closed} months closed now.",
        told,
        f"Everybody's password is “{PASSWORD}”: {STAFF[0][0]}, {people.login_of(CUSTOMERS[0])} and more.",
    ]


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:<24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


def _register(customers: list[Customer], now: datetime, progress: Progress) -> dict[str, Organization]:
    task = progress.add_task("Catalog and customers", total=len(customers))
    with transaction():
        publish_price_list()
        agreements.make_coupons()
        people.add_staff()
    organizations = {}
    for customer in customers:
        with transaction():
            organization = ensure_organization(
                customer.slug,
                name=customer.name,
                currency=customer.currency,
                legal_name=customer.name if customer.tax_id else f"{customer.name}, Inc.",
                address=customer.address,
                tax_id=customer.tax_id,
                billing_email=f"billing@{customer.slug}.example",
                stripe_customer_id=customer.id_at_stripe,
                created_at=midnight(_since(customer, now)),
                **oddities.details_of(customer),
            )
            agreements.agree(customer, organization, first_month(customer, now), now=now)
            oddities.change_price(customer, organization, Month.of(now).previous)
            if customer in CUSTOMERS:
                people.add_people(customer, organization)
        organizations[customer.slug] = organization
        progress.advance(task)
    return organizations


def _since(customer: Customer, now: datetime) -> date:
    return customer.since or first_month(customer, now).first_day


def _close_months(organizations: dict[str, Organization], closing: history.Closing, progress: Progress) -> int:
    """Close the past, month by month as it happened; the last month stays in review for half of the customers."""
    this = Month.of(closing.today)
    history.add_original_invoices(organizations["fly"], closing)
    months = [this.plus(-index) for index in range(CLOSED_MONTHS + 1, 0, -1)]
    task = progress.add_task("Invoices, by month", total=len(months))
    closed = 0
    for month in months:
        for customer in (*CUSTOMERS, *ODD_CUSTOMERS):
            organization = organizations[customer.slug]
            if month < first_month(customer, closing.today):
                continue
            if month == this.previous and customer.in_review:
                with transaction():
                    history.open_as_of(organization, month)
            else:
                closed += history.close_month(customer, organization, month, closing)
        progress.advance(task)
    for slug, organization in organizations.items():
        if slug.startswith("org-"):
            with transaction():
                history.open_as_of(organization, this.previous)
    return closed


def _plant(organizations: dict[str, Organization], seed: int, last: Month) -> None:
    """What of the odd customers' last month comes after the months before are closed."""
    for customer in ODD_CUSTOMERS:
        oddities.report_late(customer, organizations[customer.slug], last, seed=seed)
        oddities.add_items(customer, organizations[customer.slug], last)
