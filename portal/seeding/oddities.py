"""What makes the last month of some customers odd, so that the demo's review has something to find for every reason."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from portal.catalog.publishing import publish_price
from portal.catalog.queries import meters_by_code
from portal.core.lifecycle import InvoiceState
from portal.core.money import to_major
from portal.core.periods import Month
from portal.core.taxes import TaxTreatment
from portal.infra.db import transaction
from portal.invoicing.drafting import draft_of
from portal.invoicing.one_off_items import add_item
from portal.invoicing.queries import open_draft
from portal.organizations.models import Organization
from portal.seeding.cast import Customer, Oddity
from portal.seeding.usage_stream import Slot, event_of
from portal.usage.events import Reader
from portal.usage.ingesting import ingest

CHANGED_PRICE = {"model": "per_unit", "unit_amount": "0.00023"}
UNKNOWN_SIZE = {"size": "gpu-1x-24GB", "app": "app", "region": "ord"}
_FACTORS = {Oddity.JUMP: Decimal(4), Oddity.DROP: Decimal("0.25"), Oddity.SILENT: Decimal(0)}
_LATE_DAYS = timedelta(days=7)
_SILENT_FROM, _SILENT_FOR = timedelta(days=9, hours=3), timedelta(hours=31)


def details_of(customer: Customer) -> dict[str, Any]:
    """What is odd about a customer itself, as it is registered."""
    match customer.oddity:
        case Oddity.NO_TAX_ID:
            return {"tax_treatment": TaxTreatment.REVERSE_CHARGE}
        case Oddity.NO_PAYMENT_METHOD:
            return {"collection_method": "charge_automatically"}
    return {}


def change_price(customer: Customer, organization: Organization, last: Month) -> None:
    """Give a customer a price of its own from the middle of its odd month on. Idempotent."""
    if customer.oddity is Oddity.PRICE_CHANGE:
        publish_price(
            name="Volume storage",
            currency=customer.currency,
            terms=CHANGED_PRICE,
            valid_from=last.first_day + timedelta(days=14),
            open_from=None,
            meter=meters_by_code()["volume_gb_hours"],
            organization_id=organization.id,
        )


def reported(
    customer: Customer, slot: Slot, events: Iterable[dict[str, Any]], *, last: Month, seed: int
) -> Iterator[dict[str, Any]]:
    """The events of a slot, as an odd customer reports them."""
    is_odd = last.start <= slot.start < last.end
    since = slot.start - last.start
    if customer.oddity is Oddity.GAP and is_odd and _SILENT_FROM <= since < _SILENT_FROM + _SILENT_FOR:
        return
    factor = _FACTORS.get(customer.oddity, Decimal(1)) if is_odd and customer.oddity else Decimal(1)
    for event in events:
        is_new = customer.oddity is Oddity.NEW_METER and event["meter"] == "egress_gb"
        if factor and not (is_new and slot.start < last.start):
            yield event | {"quantity": event["quantity"] * factor}
    if customer.oddity is Oddity.UNPRICED and slot.start == last.start:
        yield event_of("machine_seconds", Decimal(36_000), 0, slot, seed, UNKNOWN_SIZE)


def is_heard_late(customer: Customer, occurred_at: datetime, *, last: Month) -> bool:
    """Whether a customer's usage is heard of only after its month, which is the last one, has ended."""
    return customer.oddity is Oddity.LATE_SHARE and last.end - _LATE_DAYS <= occurred_at < last.end


def report_late(customer: Customer, organization: Organization, last: Month, *, seed: int) -> None:
    """Usage of a month that is final by now, heard of in the last one. Idempotent."""
    if customer.oddity is not Oddity.LATE_USAGE:
        return
    heard_at = last.start + timedelta(days=12)
    slot = Slot(last.previous.start + timedelta(days=19, hours=5), 0)
    document = event_of("volume_gb_hours", Decimal(60_000), 0, slot, seed, {"app": "app", "region": "ord"})
    with transaction():
        meters = meters_by_code()
        reader = Reader(meters, now=heard_at, organization_id=organization.id, organizations={})
        ingest([reader.read(document)], now=heard_at)


def add_items(customer: Customer, organization: Organization, month: Month) -> None:
    """What staff have put on the draft of an odd month: a large charge, or a credit of all or more. Idempotent."""
    wanted = {
        Oddity.LARGE_ITEM: ("charge", "Migration of the archive", 185_000),
        Oddity.NEGATIVE: ("credit", "Credit for the outage in the region", 2_500),
        Oddity.ZERO: ("credit", "Month free of charge, as agreed", 0),
    }
    if customer.oddity not in wanted:
        return
    kind, description, amount = wanted[customer.oddity]
    with transaction():
        invoice = open_draft(organization, month)
        if invoice.state != InvoiceState.DRAFT:
            return
        token = uuid5(NAMESPACE_URL, f"seed:{customer.slug}:{month}:odd")
        if kind == "credit":
            amount += draft_of(organization, month).statement.total
        add_item(
            invoice.id,
            kind=kind,
            description=description,
            quantity=Decimal(1),
            unit_amount=to_major(amount, organization.currency),
            internal_reason="Part of the demo" if kind == "credit" else None,
            form_token=token,
            created_by_id=None,
        )
