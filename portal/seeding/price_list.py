"""What the demo's cloud sells. The figures follow a public cloud's price list of October 2025."""

from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from portal.catalog.publishing import ensure_meter, ensure_plan, publish_price
from portal.core.exact import plain
from portal.core.subscriptions import Interval

LISTED_FROM = date(2020, 1, 1)
EGRESS_RISE = date(2026, 9, 15)
# Prices in other currencies are the list's times a fixed factor, not a day's exchange rate.
CURRENCIES = {"USD": Decimal(1), "EUR": Decimal("0.92"), "JPY": Decimal(150)}


class ListedMeter(NamedTuple):
    """A meter of the price list."""

    code: str
    name: str
    product: str
    unit: str
    dimensions: tuple[str, ...]


METERS = (
    ListedMeter("machine_seconds", "Machine time", "Compute", "s", ("size", "app", "region")),
    ListedMeter("volume_gb_hours", "Volume storage", "Storage", "GB-hour", ("app", "region")),
    ListedMeter("snapshot_gb_hours", "Volume snapshots", "Storage", "GB-hour", ("app",)),
    ListedMeter("egress_gb", "Egress", "Network", "GB", ("region_group", "app")),
    ListedMeter("certificates", "Certificates", "Network", "certificate", ()),
)
MACHINE_SIZES = {
    "shared-cpu-1x-256MB": ("Machine · shared-cpu-1x 256 MB", "0.0000008"),
    "shared-cpu-2x-512MB": ("Machine · shared-cpu-2x 512 MB", "0.0000016"),
    "performance-1x-2GB": ("Machine · performance-1x 2 GB", "0.0000124"),
    "performance-2x-4GB": ("Machine · performance-2x 4 GB", "0.0000248"),
}
EGRESS = {
    "na_eu": ("Egress · North America and Europe", "0.02", "100"),
    "apac_sa": ("Egress · Asia Pacific, Oceania, South America", "0.04", "30"),
    "africa_india": ("Egress · Africa and India", "0.12", "10"),
}


class ListedPlan(NamedTuple):
    """A plan of the price list; `more` is what its price says besides the fee."""

    name: str
    product: str
    unit: str
    fee: str
    interval: Interval = Interval.MONTH
    credit_meters: tuple[str, ...] = ()
    more: dict[str, str] = {}


PLANS = {
    "support_standard": ListedPlan("Support · Standard", "Support", "month", "29"),
    "support_premium": ListedPlan("Support · Premium", "Support", "month", "199"),
    "dedicated_ipv4": ListedPlan("Dedicated IPv4 address", "Network", "address-month", "2"),
    "reserved_machines": ListedPlan(
        "Reserved machines", "Compute", "year", "36", Interval.YEAR, ("machine_seconds",), {"monthly_credit": "5"}
    ),
    "committed_spend": ListedPlan("Committed spend", "Support", "month", "0", more={"commitment": "600"}),
}


def publish_price_list() -> None:
    """Publish meters, plans and prices in all currencies. Idempotent."""
    meters = {each.code: ensure_meter(each.code, **_fields(each)) for each in METERS}
    plans = {
        code: ensure_plan(
            code,
            name=plan.name,
            product=plan.product,
            unit=plan.unit,
            interval=plan.interval,
            credit_meters=plan.credit_meters,
        )
        for code, plan in PLANS.items()
    }
    for currency, factor in CURRENCIES.items():

        def publish(name: str, terms: dict[str, Any], since: date = LISTED_FROM, **place: Any) -> None:
            publish_price(name=name, currency=currency, terms=terms, valid_from=since, open_from=None, **place)  # noqa: B023

        for size, (name, unit_amount) in MACHINE_SIZES.items():
            publish(name, _per_unit(unit_amount, factor), meter=meters["machine_seconds"], match={"size": size})
        for group, (name, unit_amount, free) in EGRESS.items():
            place: dict[str, Any] = {"meter": meters["egress_gb"], "match": {"region_group": group}}
            publish(name, _per_unit(unit_amount, factor, free=free), **place)
            # The price of the far regions rises by a tenth in the middle of a month.
            if group == "africa_india":
                risen = _per_unit(unit_amount, factor * Decimal("1.1"), free=free)
                publish(name, risen, EGRESS_RISE, note="Transit became dearer.", **place)
        publish("Volume storage", _per_unit("0.0002083333", factor), meter=meters["volume_gb_hours"])
        snapshots = _per_unit("0.0001111111", factor, free="7200")
        publish("Volume snapshots (first 10 GB free)", snapshots, meter=meters["snapshot_gb_hours"])
        publish("Certificates (first 10 free)", _certificates(factor), meter=meters["certificates"])
        for code, listed in PLANS.items():
            more = {name: _scaled(amount, factor) for name, amount in listed.more.items()}
            fee = {"model": "flat_fee", "unit_amount": _scaled(listed.fee, factor), **more}
            publish(listed.name, fee, plan=plans[code])


def _fields(meter: ListedMeter) -> dict[str, Any]:
    return {name: value for name, value in meter._asdict().items() if name != "code"}


def _scaled(unit_amount: str, factor: Decimal) -> str:
    return plain(Decimal(unit_amount) * factor)


def _per_unit(unit_amount: str, factor: Decimal, *, free: str = "0") -> dict[str, Any]:
    return {"model": "per_unit", "unit_amount": _scaled(unit_amount, factor), "free_quantity": free}


def _certificates(factor: Decimal) -> dict[str, Any]:
    tiers = [{"up_to": "10", "unit_amount": "0"}, {"up_to": None, "unit_amount": _scaled("0.10", factor)}]
    return {"model": "graduated", "tiers": tiers}
