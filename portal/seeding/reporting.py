"""Reporting the demo's usage, each event heard of when it would have been."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from typing import Any

from rich.progress import Progress
from sqlalchemy import func, select

from portal.catalog.queries import meters_by_code
from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month, midnight
from portal.infra.db import db, transaction
from portal.invoicing.models import Invoice
from portal.organizations.models import Organization
from portal.seeding import oddities
from portal.seeding.cast import Customer, Oddity, Shape
from portal.seeding.usage_stream import Slot, events_of, slots
from portal.usage.events import Reader
from portal.usage.ingesting import ingest
from portal.usage.models import UsageDaily

CLOSED_MONTHS = 13
EVENTS_PER_TRANSACTION = 5_000
# An event, and when it was heard of.
Heard = tuple[datetime, dict[str, Any]]


def first_month(customer: Customer, now: datetime) -> Month:
    """The first month with usage: most customers came when the portal did, the brand new one in this month."""
    this = Month.of(now)
    if customer.shape is Shape.BRAND_NEW:
        return this
    return this.plus(-CLOSED_MONTHS - 1 if customer.months is None else -customer.months)


def report_usage(
    customers: list[Customer],
    organizations: dict[str, Organization],
    *,
    seed: int,
    extra: int,
    now: datetime,
    progress: Progress,
) -> int:
    """Ingest what is missing up to now; months that are final get nothing more. Returns how many events were new.

    `extra` is how many small events of this month are wanted of each customer beyond the cast.
    """
    this = Month.of(now)
    oldest = this.plus(-CLOSED_MONTHS - 1)
    months = [oldest.plus(index) for index in range(CLOSED_MONTHS + 2)]
    task = progress.add_task("Usage, by organization", total=len(customers))
    new = 0
    for customer in customers:
        organization = organizations[customer.slug]
        with transaction():
            closed = _closed_months(organization.id)
            reported_up_to = _reported_up_to(organization.id)
        stream = (
            (heard_at(customer, slot, now), event)
            for index, month in enumerate(months)
            if month not in closed and month >= first_month(customer, now)
            for slot in slots(month, until=now, hours=_hours_of_slots(customer, month, this))
            if reported_up_to is None or slot.start >= reported_up_to
            for event in events_of_slot(customer, slot, month_index=index, seed=seed, last=this.previous)
        )
        reader = reader_for(now, organization_id=organization.id)
        new += ingest_heard(reader, stream)
        if extra and customer.slug.startswith("org-"):
            new += ingest_heard(reader, _extra_events(extra, this, now, seed))
        progress.advance(task)
    return new


def _hours_of_slots(customer: Customer, month: Month, this: Month) -> int:
    """Hours for what people look at: this month of the cast; and of who is silent for a day, the months around it."""
    if customer.oddity is Oddity.GAP:
        return 1 if month >= this.plus(-2) else 24
    return 1 if month == this and customer.oddity is None else 24


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


def events_of_slot(
    customer: Customer, slot: Slot, *, month_index: int, seed: int, last: Month
) -> Iterator[dict[str, Any]]:
    """What a customer reports for a slot, odd as it may be."""
    usual = events_of(customer, slot, month_index=month_index, seed=seed)
    return oddities.reported(customer, slot, usual, last=last, seed=seed)


def _extra_events(count: int, month: Month, now: datetime, seed: int) -> Iterator[Heard]:
    """Many small events of the current month, evenly spread, for demos of a wanted size."""
    step = (now - month.start) / count
    properties = {"size": "shared-cpu-1x-256MB", "app": "app", "region": "ord"}
    for number in range(count):
        at = month.start + number * step
        yield (
            min(midnight(at.date() + timedelta(days=1)) - timedelta(seconds=1), now),
            {
                "id": f"seed{seed}-extra-{month}-{number}",
                "meter": "machine_seconds",
                "quantity": 60,
                "time": at.astimezone(UTC).isoformat(),
                "source": "demo",
                "properties": properties,
            },
        )


def reader_for(
    now: datetime, *, organization_id: int | None = None, organizations: Mapping[str, int] | None = None
) -> Reader:
    """Reads the events of one organization, or of those that they name."""
    with transaction():
        return Reader(meters_by_code(), now=now, organization_id=organization_id, organizations=organizations or {})


def ingest_heard(reader: Reader, events: Iterable[Heard]) -> int:
    """Ingest events, many in a transaction, each when it was heard of; returns how many were new."""
    new = 0
    for moment, heard in groupby(events, lambda each: each[0]):
        while batch := [reader.read(event) for _, event in islice(heard, EVENTS_PER_TRANSACTION)]:
            with transaction():
                new += sum(outcome == "accepted" for outcome in ingest(batch, now=moment))
    return new


def heard_at(customer: Customer, slot: Slot, now: datetime) -> datetime:
    """When usage was heard of: on its day in the current month, so that days can be compared; else in its month."""
    month = Month.of(slot.start)
    if oddities.is_heard_late(customer, slot.start, last=Month.of(now).previous):
        return min(month.end + timedelta(hours=20), now)
    end = midnight(slot.start.date() + timedelta(days=1)) if month == Month.of(now) else month.end
    return min(end - timedelta(seconds=1), now)
