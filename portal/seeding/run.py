"""Seeding, step by step, with progress."""

import hashlib
import json
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from sqlalchemy import func, select

from portal import billing_cycle
from portal.catalog.models import Meter
from portal.catalog.queries import meters_by_code
from portal.config import Settings
from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month, midnight
from portal.infra.db import db, transaction
from portal.invoicing.models import Invoice
from portal.invoicing.queries import items_of
from portal.organizations.models import Organization
from portal.organizations.registering import ensure_organization
from portal.payments.syncing import stripe_lines
from portal.seeding import agreements, history, people
from portal.seeding.cast import CUSTOMERS, PASSWORD, STAFF, Customer, Shape, more_customers
from portal.seeding.price_list import publish_price_list
from portal.seeding.usage_stream import events_of, slots
from portal.usage.events import Reader
from portal.usage.ingesting import ingest
from portal.usage.models import UsageDaily

CLOSED_MONTHS = 13
EVENTS_PER_TRANSACTION = 5_000
SANDBOX_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Wishes:
    """How large the demo is to be."""

    seed: int = 1
    organizations: int = 0
    events: int = 0
    credentials: Path | None = None


def seed(wishes: Wishes, settings: Settings, *, now: datetime) -> list[str]:
    """Fill the database; return sentences that say what there is now. Idempotent."""
    customers = [*CUSTOMERS, *more_customers(wishes.organizations)]
    with _progress() as progress:
        organizations = _register(customers, now, progress)
        new_events = _report_usage(customers, organizations, wishes, now, progress)
        closed = _close_months(organizations, history.Closing(settings, now), progress)
        billing_cycle.open_drafts(Month.of(now))
        with transaction():
            for customer in CUSTOMERS:
                agreements.set_first_budget(organizations[customer.slug], now=now)
    told = _tell_sandbox(settings)
    if wishes.credentials:
        people.write_credentials(wishes.credentials, settings, now=now)
    return [
        f"{len(customers)} organizations, {new_events:,} new usage events, {closed} months closed now.",
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
                stripe_customer_id=customer.stripe_customer_id or _stripe_id("cus_seed", customer.slug),
                created_at=midnight(_since(customer, now)),
            )
            agreements.agree(customer, organization, _first_month(customer, now), now=now)
            if customer in CUSTOMERS:
                people.add_people(customer, organization)
        organizations[customer.slug] = organization
        progress.advance(task)
    return organizations


def _first_month(customer: Customer, now: datetime) -> Month:
    """The first month with usage: all customers came when the portal did, but for the brand new one."""
    this = Month.of(now)
    return this if customer.shape is Shape.BRAND_NEW else this.plus(-CLOSED_MONTHS - 1)


def _since(customer: Customer, now: datetime) -> date:
    return customer.since or _first_month(customer, now).first_day


def _report_usage(
    customers: list[Customer], organizations: dict[str, Organization], wishes: Wishes, now: datetime, progress: Progress
) -> int:
    """Ingest what is missing up to now; months that are final get nothing more."""
    oldest = Month.of(now).plus(-CLOSED_MONTHS - 1)
    months = [oldest.plus(index) for index in range(CLOSED_MONTHS + 2)]
    task = progress.add_task("Usage, by organization", total=len(customers))
    new = 0
    extra = wishes.events // max(wishes.organizations, 1) if wishes.events else 0
    for customer in customers:
        organization = organizations[customer.slug]
        with transaction():
            closed = _closed_months(organization.id)
            reported_up_to = _reported_up_to(organization.id)
        stream: Iterator[dict[str, Any]] = (
            event
            for index, month in enumerate(months)
            if month not in closed and month >= _first_month(customer, now)
            for slot in slots(month, until=now, hourly=month == months[-1])
            if reported_up_to is None or slot.start >= reported_up_to
            for event in events_of(customer, slot, month_index=index, seed=wishes.seed)
        )
        new += _ingest_all(organization.id, stream, now)
        if extra and customer not in CUSTOMERS:
            new += _ingest_all(organization.id, _extra_events(extra, months[-1], now, wishes.seed), now)
        progress.advance(task)
    return new


def _closed_months(organization_id: int) -> set[Month]:
    rows = db.session.scalars(
        select(Invoice.period_start).where(
            Invoice.organization_id == organization_id, Invoice.state != InvoiceState.DRAFT
        )
    )
    return {Month.of(day) for day in rows}


def _reported_up_to(organization_id: int) -> datetime | None:
    """From where on usage may be missing: two days before the last one, in case an earlier seed was interrupted."""
    last = db.session.scalar(select(func.max(UsageDaily.day)).where(UsageDaily.organization_id == organization_id))
    return midnight(last - timedelta(days=2)) if last else None


def _extra_events(count: int, month: Month, now: datetime, seed: int) -> Iterator[dict[str, Any]]:
    """Many small events of the current month, evenly spread, for demos of a wanted size."""
    step = (now - month.start) / count
    properties = {"size": "shared-cpu-1x-256MB", "app": "app", "region": "ord"}
    for number in range(count):
        yield {
            "id": f"seed{seed}-extra-{month}-{number}",
            "meter": "machine_seconds",
            "quantity": 60,
            "time": (month.start + number * step).astimezone(UTC).isoformat(),
            "source": "demo",
            "properties": properties,
        }


def _ingest_all(organization_id: int, events: Iterable[dict[str, Any]], now: datetime) -> int:
    new = 0
    with transaction():
        meters: dict[str, Meter] = meters_by_code()
    reader = Reader(meters, now=now, organization_id=organization_id, organizations={})
    read = (reader.read(event) for event in events)
    for heard_at, waiting in groupby(read, lambda record: _heard_at(record.occurred_at, now)):
        while batch := list(islice(waiting, EVENTS_PER_TRANSACTION)):
            with transaction():
                new += sum(outcome == "accepted" for outcome in ingest(batch, now=heard_at))
    return new


def _heard_at(occurred_at: datetime, now: datetime) -> datetime:
    """When usage was heard of: on its day in the current month, so that days can be compared; else in its month."""
    month = Month.of(occurred_at)
    end = midnight(occurred_at.date() + timedelta(days=1)) if month == Month.of(now) else month.end
    return min(end - timedelta(seconds=1), now)


def _close_months(organizations: dict[str, Organization], closing: history.Closing, progress: Progress) -> int:
    """Close the past, month by month as it happened; the last month stays in review for half of the customers."""
    this = Month.of(closing.today)
    history.add_original_invoices(organizations["fly"], closing)
    months = [this.plus(-index) for index in range(CLOSED_MONTHS + 1, 0, -1)]
    task = progress.add_task("Invoices, by month", total=len(months))
    closed = 0
    for month in months:
        for customer in CUSTOMERS:
            organization = organizations[customer.slug]
            if month < _first_month(customer, closing.today):
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


def _stripe_id(prefix: str, text: str) -> str:
    return prefix + hashlib.sha256(text.encode()).hexdigest()[:14]


def _tell_sandbox(settings: Settings) -> str:
    """Teach the sandbox what it does not know of the seeded history, so that pay links work and both sides agree."""
    base = settings.stripe_api_base
    if not base:
        return "No sandbox is set (STRIPE_API_BASE), so pay links of seeded invoices do not work."
    try:
        known = {invoice["id"] for invoice in _sandbox(f"{base}/_ctl/ledger")["invoices"]}
        with transaction() as session:
            query = select(Invoice).where(Invoice.stripe_id.startswith("in_seed")).order_by(Invoice.id)
            missing = [each for each in session.scalars(query) if each.stripe_id not in known]
            document = history.as_sandbox_takes_it([(each, stripe_lines(each, items_of(each.id))) for each in missing])
        if missing:
            _sandbox(f"{base}/_ctl/load", document)
    except OSError as error:
        return (
            f"The sandbox at {base} did not answer ({error}). Start it with “flask stripe sandbox” and seed again,"
            " so that pay links of seeded invoices work."
        )
    return f"The sandbox learned {len(missing)} invoices of the history."


def _sandbox(address: str, document: dict[str, Any] | None = None) -> Any:
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(address, data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=SANDBOX_TIMEOUT_SECONDS) as answer:  # nosec B310
        return json.load(answer)
