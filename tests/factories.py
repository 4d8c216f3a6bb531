"""Makes what tests need: organizations, prices, usage, drafts, final invoices; all by the portal's own verbs.

Every function wants an application context that acts as somebody: `with acting(app): …`, or the fixture `books`.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from flask import Flask, current_app, g
from sqlalchemy.orm import joinedload

from portal import billing_cycle
from portal.catalog.models import Meter, Plan, PriceVersion, Subscription
from portal.catalog.publishing import SUMMED, ensure_meter, ensure_plan, publish_price
from portal.core.errors import PortalError
from portal.core.periods import Month, midnight
from portal.core.quantities import Counting
from portal.infra.audit import Actor
from portal.infra.db import SYSTEM, Scope, act_as, db, transaction
from portal.invoicing.finalizing import finalize
from portal.invoicing.jobs import terms_of
from portal.invoicing.linked_drafts import whole_draft_of
from portal.invoicing.models import Invoice, OneOffItem
from portal.invoicing.one_off_items import add_item
from portal.invoicing.queries import open_draft
from portal.invoicing.terms import Terms
from portal.organizations.models import Organization
from portal.usage.events import Reader
from portal.usage.ingesting import Outcome, ingest

MONTH = Month(2026, 10)
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
_numbers = count(1)


@contextmanager
def acting(app: Flask, scope: Scope = SYSTEM, *, name: str = "the test") -> Iterator[None]:
    """A context of its own, acting as the system unless another scope is given."""
    with app.app_context():
        act_as(scope)
        g.actor = Actor("test", name)
        yield


def make_organization(slug: str = "acme", *, currency: str = "USD", **more: Any) -> Organization:
    """A customer."""
    with transaction() as session:
        organization = Organization(slug=slug, name=slug.title(), currency=currency, **more)
        session.add(organization)
    return organization


def make_meter(
    code: str = "machine_seconds", *, dimensions: tuple[str, ...] = ("region",), counting: Counting = SUMMED
) -> Meter:
    """A meter, found again by its code."""
    name = code.replace("_", " ")
    with transaction():
        return ensure_meter(code, name=name, product="Compute", unit="second", dimensions=dimensions, counting=counting)


def make_price(meter: Meter, terms: dict[str, Any] | str = "0.01", **more: Any) -> PriceVersion:
    """A price of a meter, by default from the year's first day; a text is a price per unit."""
    document = {"model": "per_unit", "unit_amount": terms} if isinstance(terms, str) else terms
    values = {
        "name": f"Price of {meter.code}",
        "currency": "USD",
        "valid_from": date(2026, 1, 1),
        "open_from": None,
        **more,
    }
    with transaction():
        return publish_price(meter=meter, terms=document, **values)


def make_plan(
    code: str = "support",
    *,
    fee: str = "29",
    currency: str = "USD",
    terms: dict[str, Any] | None = None,
    of_plan: dict[str, Any] | None = None,
    **more: Any,
) -> Plan:
    """A plan with a fee, by default a monthly one; `of_plan` is what else the plan says, `terms` what its price."""
    with transaction():
        plan = ensure_plan(code, name=code.title(), unit="month", **(of_plan or {}))
        values = {"name": code.title(), "valid_from": date(2026, 1, 1), "open_from": None, **more}
        document = {"model": "flat_fee", "unit_amount": fee, **(terms or {})}
        publish_price(plan=plan, currency=currency, terms=document, **values)
    return plan


def subscribe(organization: Organization, plan: Plan, started_at: datetime, **more: Any) -> Subscription:
    """An organization's plan from a moment on; by default its periods are calendar months."""
    with transaction() as session:
        subscription = Subscription(
            organization_id=organization.id,
            plan_id=plan.id,
            started_at=started_at,
            **{"quantity": 1, "anchor_at": Month.of(started_at).start, **more},
        )
        session.add(subscription)
    return subscription


def use(
    organization: Organization,
    meter: Meter,
    quantity: str | int,
    *,
    at: datetime | date = date(2026, 10, 10),
    event_id: str | None = None,
    correction: bool = False,
    amends: str | None = None,
    now: datetime = NOW,
    **properties: str,
) -> Outcome:
    """One event of usage, in a transaction of its own."""
    moment = at if isinstance(at, datetime) else midnight(at)
    reader = Reader({meter.code: meter}, now=now, organization_id=organization.id, organizations={})
    document = {
        "id": event_id or f"event-{next(_numbers)}",
        "meter": meter.code,
        "quantity": str(quantity),
        "time": moment.isoformat(),
        "properties": properties,
        "correction": correction,
        **({"amends": amends} if amends else {}),
    }
    with transaction():
        return ingest([reader.read(document)], now=now)[0]


def cancel_usage(organization: Organization, event_id: str, *, now: datetime = NOW) -> Outcome:
    """Take one event back, in a transaction of its own."""
    reader = Reader({}, now=now, organization_id=organization.id, organizations={})
    with transaction():
        return ingest([reader.read({"id": f"event-{next(_numbers)}", "cancels": event_id})], now=now)[0]


def make_draft(organization: Organization, month: Month = MONTH) -> Invoice:
    """The organization's draft of a month."""
    with transaction():
        return open_draft(organization, month)


def add(invoice: Invoice, amount: str, description: str = "Work", *, token: UUID | None = None) -> OneOffItem:
    """A one-off item on a draft; a negative amount is a credit."""
    value = Decimal(amount)
    with transaction():
        return add_item(
            invoice.id,
            kind="credit" if value < 0 else "charge",
            description=description,
            quantity=Decimal(1),
            unit_amount=abs(value),
            internal_reason="goodwill" if value < 0 else None,
            form_token=token or uuid4(),
            created_by_id=None,
        )


def fingerprint_of(invoice: Invoice) -> str:
    """What an admin who looks at the draft now has seen."""
    with transaction():
        return whole_draft_of(invoice.organization, invoice.month).fingerprint


def terms(*, hold_seconds: int = 0) -> Terms:
    """What finalizing takes from the settings."""
    base = terms_of(current_app.config["SETTINGS"])
    return Terms(base.seller, hold_seconds, base.days_until_due)


def finalize_now(invoice: Invoice, *, hold_seconds: int = 0, now: datetime = NOW, by: str = "Ada") -> Invoice:
    """Finalize a draft as it stands; with a hold it is only scheduled."""
    fingerprint = fingerprint_of(invoice)
    with transaction():
        return finalize(invoice.id, fingerprint=fingerprint, by=by, now=now, terms=terms(hold_seconds=hold_seconds))


def make_final(organization: Organization, *amounts: str, month: Month = MONTH, now: datetime = NOW) -> Invoice:
    """A final invoice with one line for every amount, queued for the sync."""
    invoice = make_draft(organization, month)
    with transaction():
        for number, amount in enumerate(amounts, 1):
            value = Decimal(amount)
            add_item(
                invoice.id,
                kind="credit" if value < 0 else "charge",
                description=f"Item {number:04d}",
                quantity=Decimal(1),
                unit_amount=abs(value),
                internal_reason="goodwill" if value < 0 else None,
                form_token=uuid4(),
                created_by_id=None,
            )
    return billing_cycle.finalize_as_it_stands(invoice.id, by="Ada", now=now, settings=current_app.config["SETTINGS"])


def reload(invoice: Invoice) -> Invoice:
    """The invoice as the database has it now."""
    with transaction() as session:
        return session.get_one(Invoice, invoice.id, populate_existing=True, options=[joinedload(Invoice.organization)])


def sql(statement: str, **values: Any) -> list[Any]:
    """Rows of a statement, in a transaction of its own."""
    with transaction() as session:
        result = session.execute(db.text(statement), values)
        return list(result) if result.returns_rows else []


def at_once(app: Flask, *works: Callable[[], object]) -> list[object]:
    """Run functions at the same moment, each in a thread with a context of its own; return results or refusals."""
    barrier = threading.Barrier(len(works))
    results: list[object] = [None] * len(works)

    def run(index: int, function: Callable[[], object]) -> None:
        with acting(app, name=f"thread {index}"):
            barrier.wait(10)
            try:
                results[index] = function()
            except PortalError as refusal:
                results[index] = refusal

    threads = [threading.Thread(target=run, args=(i, function)) for i, function in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return results
