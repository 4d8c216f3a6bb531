"""What differs between two catalogs, in one line for each change, and what a file does not name. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from portal.catalog.files import Catalog, CouponEntry, MeterEntry, PlanEntry, PriceEntry, ProductEntry, VersionEntry
from portal.core.quantities import Aggregation, Counting
from portal.core.sentences import counting_in_words, percent, price_sentence
from portal.core.terms import Terms
from portal.infra.formats import day, quantity, unit_amount

# Of each section: the fields that can change.
_FIELDS: dict[str, tuple[str, ...]] = {
    "products": (),
    "meters": ("name", "product", "unit", "dimensions"),
    "plans": ("name", "product", "unit", "trial_days", "credit_meters"),
    "prices": ("name",),
    "coupons": ("name", "stacks", "redeem_by"),
}


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: + new, ~ changed, − archived."""

    sign: Literal["+", "~", "−"]
    text: str


def renamed_products(before: Catalog, desired: Catalog) -> dict[str, str]:
    """The products that a file gives another name, by their old ones."""
    return {
        each.formerly: each.name
        for each in desired.products.values()
        if each.formerly in before.products and each.name not in before.products
    }


def with_products_renamed(catalog: Catalog, renamed: Mapping[str, str]) -> Catalog:
    """A catalog in which products have new names, so that their meters, plans and coupons do not differ by that."""

    def name(old: str) -> str:
        return renamed.get(old, old)

    return replace(
        catalog,
        products={name(old): replace(each, name=name(old)) for old, each in catalog.products.items()},
        meters={code: replace(each, product=name(each.product)) for code, each in catalog.meters.items()},
        plans={code: replace(each, product=name(each.product)) for code, each in catalog.plans.items()},
        coupons={
            code: replace(each, products=tuple(sorted(map(name, each.products))))
            for code, each in catalog.coupons.items()
        },
    )


def differences(before: Catalog, after: Catalog) -> Iterator[Change]:
    """One line for each change, in the order of a file's sections."""
    for section, names in _FIELDS.items():
        old_entries = getattr(before, section)
        for key, entry in getattr(after, section).items():
            old = old_entries.get(key)
            label = price_label(entry) if section == "prices" else f"{section[:-1]} {key}"
            if old is not None:
                yield from _changed(old, entry, names, label)
            elif section != "prices":
                yield Change("+", label + _described(entry))
            if section == "prices":
                yield from _published(old, entry, label, after)
            was_archived = old is not None and old.archived
            if entry.archived and not was_archived:
                yield Change("−", f"{label} is archived")
            elif was_archived and not entry.archived:
                yield Change("~", f"{label} is on sale again")


def _changed(old: Any, new: Any, names: tuple[str, ...], label: str) -> Iterator[Change]:
    pairs = [(name, getattr(old, name), getattr(new, name)) for name in names]
    texts = [f"{name.replace('_', ' ')} {_value(a)} → {_value(b)}" for name, a, b in pairs if a != b]
    if texts:
        yield Change("~", f"{label}: {', '.join(texts)}")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    if isinstance(value, date):
        return day(value)
    return "none" if value is None else str(value)


def _described(entry: ProductEntry | MeterEntry | PlanEntry | CouponEntry) -> str:
    """What stands behind the label of something new."""
    match entry:
        case MeterEntry():
            by = f", by {', '.join(entry.dimensions)}" if entry.dimensions else ""
            counting = Counting(entry.aggregation, entry.subject, entry.per)
            how = "" if entry.aggregation is Aggregation.SUM else f", {counting_in_words(counting)}"
            return f": {entry.name}, {entry.product}, in {entry.unit}{by}{how}"
        case PlanEntry():
            trial = f", {entry.trial_days} days of trial" if entry.trial_days else ""
            credit = f", credit for {', '.join(entry.credit_meters)}" if entry.credit_meters else ""
            return f": {entry.name}, {entry.product}, by the {entry.interval}{trial}{credit}"
        case CouponEntry():
            return f": {entry.name}, {coupon_sentence(entry)}"
        case _:
            return ""


def _published(old: PriceEntry | None, entry: PriceEntry, label: str, catalog: Catalog) -> Iterator[Change]:
    """A line for every version that is new: a price's first one, or what it changes."""
    known = {version.valid_from for version in old.versions} if old else set()
    before: VersionEntry | None = None
    for version in entry.versions:
        if version.valid_from not in known:
            sentence = f"{terms_sentence(entry, version.terms, catalog)}, from {day(version.valid_from)}"
            if before is None:
                yield Change("+", f"{label}: {sentence}")
            else:
                yield Change("~", f"{label}: {terms_sentence(entry, before.terms, catalog)} → {sentence}")
        before = version


def price_label(entry: PriceEntry) -> str:
    """A price by its name, and what tells it from others of that name."""
    place = entry.place
    only = [place.currency]
    if place.organization:
        only.append(f"for {place.organization}")
    if place.for_plan:
        only.append(f"with {place.for_plan}")
    return f"price {entry.name} ({', '.join(only)})"


def terms_sentence(entry: PriceEntry, terms: Terms, catalog: Catalog) -> str:
    """What a price is, in words: "$0.02 per GB"."""
    place = entry.place
    plan = catalog.plans[place.plan] if place.plan else None
    unit = plan.unit if plan else catalog.meters[place.meter or ""].unit

    def money(value: Decimal) -> str:
        return unit_amount(value, place.currency)

    return price_sentence(
        terms, unit=unit, money=money, number=quantity, period=plan.interval.value if plan else "month"
    )


def coupon_sentence(entry: CouponEntry) -> str:
    """What a coupon takes off, in words: "10% off for 3 months, of Compute"."""
    if entry.percent is not None:
        worth = percent(entry.percent)
    else:
        worth = unit_amount(entry.amount or Decimal(0), entry.currency or "")
    months = "" if entry.months is None else f" for {entry.months} month{'' if entry.months == 1 else 's'}"
    products = f", of {', '.join(entry.products)}" if entry.products else ""
    return f"{worth} off{months}{products}"


def staying(before: Catalog, desired: Catalog) -> str:
    """A sentence about what the file does not name, or "": it stays as it is."""
    counts = {name: len(set(getattr(before, name)) - set(getattr(desired, name))) for name in _FIELDS}
    counts["price versions"] = sum(
        len({each.valid_from for each in entry.versions} - {each.valid_from for each in desired.prices[place].versions})
        for place, entry in before.prices.items()
        if place in desired.prices
    )
    parts = [f"{count} {name if count > 1 else name[:-1]}" for name, count in counts.items() if count]
    if not parts:
        return ""
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    one = sum(counts.values()) == 1
    return f"{listed} {'is' if one else 'are'} not in the file; {'it stays' if one else 'they stay'}."
