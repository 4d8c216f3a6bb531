"""The catalog as a plain document (of a YAML file, say): reading it, with everything that is wrong in it, and writing.

Pure. What refers to something by its code or name is checked against the database by applying.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from decimal import Decimal
from typing import Any

from portal.catalog.fields import Fields, Problems
from portal.catalog.subscribing import LONGEST_TRIAL_DAYS
from portal.core.errors import InvalidInput
from portal.core.exact import plain
from portal.core.money import exponent_of, round_to_minor, to_major
from portal.core.quantities import Aggregation
from portal.core.subscriptions import Interval
from portal.core.terms import Terms, terms_to_json

_COUNTING = ("aggregation", "subject", "per")
_PLACE_OF_METER = ("match", "for_plan")


@dataclass(frozen=True, slots=True)
class ProductEntry:
    """A product; `formerly` is the name under which it is found and gets this one."""

    name: str
    formerly: str | None = field(default=None, compare=False)
    archived: bool = False
    path: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class MeterEntry:
    """A meter, with its product's name."""

    code: str
    name: str
    product: str
    unit: str
    dimensions: tuple[str, ...] = ()
    aggregation: Aggregation = Aggregation.SUM
    subject: str | None = None
    per: str | None = None
    archived: bool = False
    path: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """A plan, with its product's name and its credit meters' codes."""

    code: str
    name: str
    product: str
    unit: str
    interval: Interval = Interval.MONTH
    trial_days: int = 0
    credit_meters: tuple[str, ...] = ()
    archived: bool = False
    path: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Place:
    """What makes a price this price: of a meter (where dimensions match) or a plan, in a currency, for whom."""

    currency: str
    meter: str | None = None
    plan: str | None = None
    match: tuple[tuple[str, str], ...] = ()
    organization: str | None = None
    for_plan: str | None = None


@dataclass(frozen=True, slots=True)
class VersionEntry:
    """The terms from a day on."""

    valid_from: date
    terms: Terms
    note: str | None = None
    path: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """A price with its versions, oldest first."""

    name: str
    place: Place
    versions: tuple[VersionEntry, ...]
    archived: bool = False
    path: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class CouponEntry:
    """A coupon; the amount is in the currency's major unit."""

    code: str
    name: str
    percent: Decimal | None = None
    amount: Decimal | None = None
    currency: str | None = None
    months: int | None = None
    products: tuple[str, ...] = ()
    stacks: bool = True
    redeem_by: date | None = None
    archived: bool = False
    path: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Catalog:
    """All that is sold, each thing under what it is found by, in the order of the file."""

    products: dict[str, ProductEntry] = field(default_factory=dict)
    meters: dict[str, MeterEntry] = field(default_factory=dict)
    plans: dict[str, PlanEntry] = field(default_factory=dict)
    prices: dict[Place, PriceEntry] = field(default_factory=dict)
    coupons: dict[str, CouponEntry] = field(default_factory=dict)


class CatalogRefused(InvalidInput):
    """A catalog document with things that do not fit: `problems` has all of them, each with its path as field."""

    def __init__(self, problems: Sequence[InvalidInput]) -> None:
        self.problems = tuple(problems)
        things = "1 thing does" if len(problems) == 1 else f"{len(problems)} things do"
        lines = [f"{each.field or 'the file'}: {each.sentence}" for each in problems]
        super().__init__(
            "\n".join([f"{things} not fit; nothing was stored.", *lines]), field=problems[0].field if problems else None
        )


def read_catalog(document: Any) -> tuple[Catalog, Problems]:
    """The catalog that a document says, without what does not fit, and what does not."""
    problems, catalog = Problems(), Catalog()
    sections = {"products": _product, "meters": _meter, "plans": _plan, "prices": _price, "coupons": _coupon}
    if not isinstance(document, Mapping):
        problems.add("", f"The file is a mapping of {', '.join(sections)}.")
        return catalog, problems
    for name in sorted(set(document) - set(sections)):
        problems.add(name, f"There is no section “{name}”; there are {', '.join(sections)}.")
    for name, read in sections.items():
        entries: dict[Any, Any] = getattr(catalog, name)
        for path, code, content in _items(document.get(name), name, problems):
            before = len(problems)
            key, entry = read(Fields(content, path, problems), code)
            if len(problems) > before:
                problems.dropped.add((name, key))
            elif key in entries:
                problems.add(path, f"{entries[key].path} is the same one.")
            else:
                entries[key] = entry
    return catalog, problems


def _items(section: Any, name: str, problems: Problems) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Each entry of a section: its path, its code ("" in a list) and what it says."""
    listed = name in ("products", "prices")
    if section is None:
        return
    found: list[tuple[str, str, Any]]
    if listed and isinstance(section, list):
        found = [(f"{name}[{index}]", "", content) for index, content in enumerate(section)]
    elif not listed and isinstance(section, Mapping):
        found = [(f"{name}.{code}", code, content) for code, content in section.items()]
    else:
        problems.add(name, f"“{name}” is a {'list' if listed else 'mapping by code'}.")
        return
    for path, code, content in found:
        if not listed and (not code.isprintable() or code != code.strip() or not code):
            problems.add(path, "A code is a text without space around it.")
        elif name == "products" and isinstance(content, str):
            yield path, code, {"name": content}
        elif isinstance(content, Mapping):
            yield path, code, content
        else:
            problems.add(path, "Fields and their values belong here.")
            problems.dropped.add((name, code))


def _product(given: Fields, _code: str) -> tuple[str, ProductEntry]:
    given.only("A product", "name", "formerly", "archived")
    name = given.text("name")
    return name, ProductEntry(name, given.optional("formerly"), given.flag("archived"), given.path)


def _meter(given: Fields, code: str) -> tuple[str, MeterEntry]:
    given.only("A meter", "name", "product", "unit", "dimensions", *_COUNTING, "archived")
    return code, MeterEntry(
        code,
        given.text("name"),
        given.text("product"),
        given.text("unit"),
        given.texts("dimensions"),
        given.aggregation("aggregation"),
        given.optional("subject"),
        given.optional("per"),
        given.flag("archived"),
        given.path,
    )


def _plan(given: Fields, code: str) -> tuple[str, PlanEntry]:
    given.only("A plan", "name", "product", "unit", "interval", "trial_days", "credit_meters", "archived")
    return code, PlanEntry(
        code,
        given.text("name"),
        given.text("product"),
        given.text("unit"),
        given.interval("interval"),
        _trial_days(given),
        given.texts("credit_meters"),
        given.flag("archived"),
        given.path,
    )


def _trial_days(given: Fields) -> int:
    days = given.count("trial_days") or 0
    if days > LONGEST_TRIAL_DAYS:
        given.refuse("trial_days", f"A trial has 0 to {LONGEST_TRIAL_DAYS} days.")
    return days


def _price(given: Fields, _code: str) -> tuple[Place, PriceEntry]:
    given.only(
        *("A price", "name", "meter", "plan", "match", "currency"),
        *("organization", "for_plan", "versions", "archived"),
    )
    if given.has("meter") == given.has("plan"):
        given.refuse("meter", "A price is that of a meter or of a plan.")
    elif given.has("plan"):
        for name in _PLACE_OF_METER:
            if given.has(name):
                given.refuse(name, f"Only the price of a meter has a “{name}”.")
    place = Place(
        given.currency("currency") or "",
        given.optional("meter"),
        given.optional("plan"),
        given.pairs("match"),
        given.optional("organization"),
        given.optional("for_plan"),
    )
    versions: dict[date, VersionEntry] = {}
    for each in given.entries("versions"):
        version = _version(each)
        if version is not None and version.valid_from in versions:
            each.refuse("valid_from", f"{versions[version.valid_from].path} begins on the same day.")
        elif version is not None:
            versions[version.valid_from] = version
    in_order = tuple(versions[day] for day in sorted(versions))
    return place, PriceEntry(given.text("name"), place, in_order, given.flag("archived"), given.path)


def _version(given: Fields) -> VersionEntry | None:
    given.only("A version of a price", "valid_from", "terms", "note")
    valid_from, terms, note = given.day("valid_from", needed=True), given.terms("terms"), given.optional("note")
    return None if valid_from is None or terms is None else VersionEntry(valid_from, terms, note, given.path)


def _coupon(given: Fields, code: str) -> tuple[str, CouponEntry]:
    given.only(
        *("A coupon", "name", "percent", "amount", "currency", "months"),
        *("products", "stacks", "redeem_by", "archived"),
    )
    amount, currency = given.number("amount"), given.currency("currency", needed=False)
    if given.has("amount") != given.has("currency"):
        given.refuse("currency", "An amount has a currency, and a percentage has none.")
    elif amount is not None and currency is not None and to_major(round_to_minor(amount, currency), currency) != amount:
        given.refuse("amount", f"{currency} has {exponent_of(currency)} decimals.")
    return code, CouponEntry(
        code,
        given.text("name"),
        given.number("percent"),
        amount,
        currency,
        given.count("months"),
        tuple(sorted(set(given.texts("products")))),
        given.flag("stacks", True),
        given.day("redeem_by"),
        given.flag("archived"),
        given.path,
    )


def document_of(catalog: Catalog) -> dict[str, Any]:
    """The document that says a catalog: what is the default is left out, and numbers are texts."""
    return {
        "products": [
            _said(each, "name", "archived") if each.archived else each.name for each in catalog.products.values()
        ],
        "meters": {
            code: _said(each, "name", "product", "unit", "dimensions", *_COUNTING, "archived")
            for code, each in catalog.meters.items()
        },
        "plans": {
            code: _said(each, "name", "product", "unit", "interval", "trial_days", "credit_meters", "archived")
            for code, each in catalog.plans.items()
        },
        "prices": [_said_price(each) for each in catalog.prices.values()],
        "coupons": {
            code: _said(
                each,
                *("name", "percent", "amount", "currency", "months", "products", "stacks", "redeem_by", "archived"),
            )
            for code, each in catalog.coupons.items()
        },
    }


def _said(entry: Any, *names: str) -> dict[str, Any]:
    """The fields of an entry that are not their defaults."""
    defaults = {each.name: each.default for each in fields(entry)}
    return {name: _plain(getattr(entry, name)) for name in names if getattr(entry, name) != defaults[name]}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Interval | Aggregation) else value


def _said_price(entry: PriceEntry) -> dict[str, Any]:
    place = entry.place
    said = {"name": entry.name, **_said(place, "meter", "plan")}
    if place.match:
        said["match"] = dict(place.match)
    said |= _said(place, "currency", "organization", "for_plan")
    said["versions"] = [_said_version(version) for version in entry.versions]
    return said | _said(entry, "archived")


def _said_version(version: VersionEntry) -> dict[str, Any]:
    terms = terms_to_json(version.terms)
    return {"valid_from": version.valid_from.isoformat(), "terms": _shorter(terms), **_said(version, "note")}


def _shorter(terms: dict[str, Any]) -> dict[str, Any]:
    """Terms without what an absent field says too."""
    absent = {"free_quantity": "0", "flat_amount": "0", "package_size": "1", "zero_usage_charges_first_flat": False}
    short = {name: value for name, value in terms.items() if name not in absent or value != absent[name]}
    if "tiers" in short:
        short["tiers"] = [_shorter(tier) for tier in short["tiers"]]
    return short
