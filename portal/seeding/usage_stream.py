"""The demo's usage: what each customer reports, slot by slot; the same for the same seed number, whenever asked."""

import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from portal.core.periods import Month
from portal.seeding.cast import Customer, Shape
from portal.seeding.price_list import EGRESS, MACHINE_SIZES

HOUR = timedelta(hours=1)
REGIONS = ("ord", "ams", "nrt", "gru")
# What share of a bill, in percent, goes where; and the dollars that one unit costs.
_COMPUTE, _STORAGE, _EGRESS = 62, 18, 20


class Slot(NamedTuple):
    """One stretch of time that is reported as one event per series."""

    start: datetime
    hours: int


def slots(month: Month, *, until: datetime, hours: int) -> Iterator[Slot]:
    """The slots of a month that have ended: of one hour for what people look at, of a day or more for the rest."""
    start = month.start
    while start < month.end and start + hours * HOUR <= until:
        yield Slot(start, hours)
        start += hours * HOUR


def events_of(customer: Customer, slot: Slot, *, month_index: int, seed: int) -> Iterator[dict[str, Any]]:
    """The events that a customer reports for a slot; `month_index` counts from the oldest month, for growth."""
    dollars_an_hour = Decimal(customer.scale) / 730 * _weather(customer, slot, month_index, seed) / 100
    if not dollars_an_hour:
        return
    sizes = list(MACHINE_SIZES)
    groups = list(EGRESS)
    weights = [_between(40, 160, seed, customer.slug, app) for app in customer.apps]
    for position, app in enumerate(customer.apps):
        swing = _between(85, 115, seed, customer.slug, app, f"{slot.start:%Y%m%d%H}")
        budget = dollars_an_hour * slot.hours * weights[position] * swing / (sum(weights) * 100)
        size = sizes[(position + customer.scale) % len(sizes)]
        group = groups[(position + customer.scale) % 7 % len(groups)]
        region = REGIONS[(position + customer.scale) % len(REGIONS)]
        seconds = budget * _COMPUTE / 100 / Decimal(MACHINE_SIZES[size][1])
        gb_hours = budget * _STORAGE / 100 / Decimal("0.0002083333")
        gigabytes = budget * _EGRESS / 100 / Decimal(EGRESS[group][1])
        yield event_of("machine_seconds", seconds, 0, slot, seed, {"size": size, "app": app, "region": region})
        yield event_of("volume_gb_hours", gb_hours, 3, slot, seed, {"app": app, "region": region})
        yield event_of("egress_gb", gigabytes, 6, slot, seed, {"region_group": group, "app": app})
    if slot.start.hour == 0:
        gb_hours = Decimal(24 * (4 + customer.scale // 25))
        yield event_of("snapshot_gb_hours", gb_hours, 3, slot, seed, {"app": customer.apps[0]})
        if slot.start.day == 1:
            yield event_of("certificates", Decimal(1 + customer.scale // 40), 0, slot, seed, {})


def event_of(
    meter: str, quantity: Decimal, decimals: int, slot: Slot, seed: int, properties: dict[str, str]
) -> dict[str, Any]:
    """One event of a slot; the same slot, meter and properties always give the same id."""
    where = "-".join(properties.values())
    return {
        "id": f"seed{seed}-{meter}-{where}-{slot.start:%Y%m%dT%H}-{slot.hours}h",
        "meter": meter,
        "quantity": round(quantity, decimals),
        "time": (slot.start + timedelta(minutes=30)).astimezone(UTC).isoformat(),
        "source": "demo",
        "properties": properties,
    }


def _weather(customer: Customer, slot: Slot, month_index: int, seed: int) -> int:
    """How much of its usual usage a customer has in a slot, in percent."""
    weekend = 80 if slot.start.weekday() >= 5 else 100
    base = weekend * _between(85, 115, seed, customer.slug, f"{slot.start:%Y%m%d}") // 100
    match customer.shape:
        case Shape.GROWING:
            return base * (40 + 6 * month_index) // 100
        case Shape.SPIKY:
            quiet = _between(0, 9, seed, customer.slug, "spike", f"{slot.start:%Y%m%d}")
            return base * (60 if quiet else 350) // 100
        case Shape.IDLE:
            return 0
        case _:
            return base


def _between(low: int, high: int, *key: object) -> int:
    """A whole number between two bounds that looks random and is always the same for the same key."""
    return low + zlib.crc32(":".join(map(str, key)).encode()) % (high - low + 1)
