"""The catalog: what is metered and subscribed to, by product, and what it costs; one price, meter or plan of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from flask import Response, render_template, request

from portal.admin.staff import staff_blueprint
from portal.catalog.listing import (
    VERSION_CSV_HEAD,
    Entry,
    all_meters,
    all_plans,
    entry_of,
    list_prices,
    listed_currencies,
    meter_of,
    plan_of,
    prices_of,
    subscribers_of,
    version_csv_rows,
)
from portal.catalog.models import Meter, Plan
from portal.catalog.seconding import waiting_for
from portal.catalog.wording import terms_facts, tier_rows
from portal.core.errors import InvalidInput
from portal.infra import clock
from portal.infra.formats import quantity
from portal.infra.pages import csv_response, policy
from portal.invoicing.queries import COUNTED_UP_TO, lines_priced_by
from portal.simulating.queries import simulations_of

MOST_PRICES = 300
SIMULATIONS_SHOWN = 10
CSV_HEAD = (
    *("product", "kind", "code", "of", "price", "dimensions", "with_plan", "organization", "currency"),
    *("now", "since", "next", "next_from", "archived_on"),
)
bp = staff_blueprint("admin_catalog")


@dataclass(slots=True)
class Shelved:
    """A meter or plan with its prices in one currency."""

    of: Meter | Plan
    entries: list[Entry] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """Which of the two."""
        return _kind(self.of)


@bp.get("/catalog")
@policy("view the catalog")
def index() -> str:
    """What is sold, by product, with the list's prices in one currency."""
    currencies = listed_currencies()
    currency, search = _currency(currencies), _search()
    left, products = MOST_PRICES, dict[str, list[Shelved]]()
    shelves = _shelves(currency, search)
    for shelf in shelves:
        if left > 0:
            products.setdefault(shelf.of.product.name, []).append(Shelved(shelf.of, shelf.entries[:left]))
            left -= len(shelf.entries)
    return render_template(
        "admin/catalog/index.html",
        products=products,
        currency=currency,
        currencies=currencies,
        search=search,
        left_out=max(sum(len(shelf.entries) for shelf in shelves) - MOST_PRICES, 0),
        today=clock.now().date(),
    )


@bp.get("/catalog.csv")
@policy("view the catalog")
def as_csv() -> Response:
    """All prices that the same filter finds."""
    currency = _currency(listed_currencies())
    entries = [entry for shelf in _shelves(currency, _search()) for entry in shelf.entries]
    return csv_response(f"catalog-{currency}", CSV_HEAD, _csv_rows(entries))


@bp.get("/catalog/prices/<uuid:public_id>")
@policy("view the catalog")
def price(public_id: UUID) -> str:
    """One price: what it says now, its versions, whose it is, and how much rests on it."""
    entry, today = entry_of(public_id), clock.now().date()
    place = {"unit": entry.of.unit, "currency": entry.price.currency}
    return render_template(
        "admin/catalog/price.html",
        entry=entry,
        kind=_kind(entry.of),
        versions=[
            (each, terms_facts(each.terms, **place, interval=entry.interval), tier_rows(each.terms, **place))
            for each in reversed(entry.versions)
        ],
        lines=counted_lines(entry),
        asked=waiting_for(entry.price, now=clock.now()),
        simulations=simulations_of(entry.price, limit=SIMULATIONS_SHOWN),
        today=today,
    )


@bp.get("/catalog/prices/<uuid:public_id>.csv")
@policy("view the catalog")
def price_as_csv(public_id: UUID) -> Response:
    """All versions of one price, a row for each tier."""
    entry = entry_of(public_id)
    return csv_response(f"price-{public_id}", VERSION_CSV_HEAD, version_csv_rows(entry, with_notes=True))


@bp.get("/catalog/meters/<uuid:public_id>")
@policy("view the catalog")
def meter(public_id: UUID) -> str:
    """One meter with its prices: the list's in all currencies, and organizations' own."""
    return _page_of(meter_of(public_id))


@bp.get("/catalog/plans/<uuid:public_id>")
@policy("view the catalog")
def plan(public_id: UUID) -> str:
    """One plan with its prices and how many have it."""
    return _page_of(plan_of(public_id))


@bp.get("/catalog/<any(meters, plans):kind>/<uuid:public_id>.csv")
@policy("view the catalog")
def prices_as_csv(kind: str, public_id: UUID) -> Response:
    """All prices of a meter or plan."""
    found = meter_of(public_id) if kind == "meters" else plan_of(public_id)
    return csv_response(f"prices-{found.code}", CSV_HEAD, _csv_rows(prices_of(found, limit=None)))


def counted_lines(entry: Entry) -> str:
    """On how many lines of invoices a price stands, in words."""
    lines = lines_priced_by([each.version.id for each in entry.versions])
    if lines > COUNTED_UP_TO:
        return f"more than {quantity(COUNTED_UP_TO)} lines"
    return "1 line" if lines == 1 else f"{quantity(lines)} lines"


def _page_of(found: Meter | Plan) -> str:
    now = clock.now()
    entries = prices_of(found, limit=MOST_PRICES + 1)
    return render_template(
        "admin/catalog/sold.html",
        of=found,
        kind=_kind(found),
        entries=entries[:MOST_PRICES],
        has_more=len(entries) > MOST_PRICES,
        subscribers=subscribers_of(found, now) if isinstance(found, Plan) else None,
        today=now.date(),
    )


def _kind(of: Meter | Plan) -> str:
    return "meter" if isinstance(of, Meter) else "plan"


def _currency(known: list[str]) -> str:
    """The currency that the address asks for, by default the one with the most prices. Raises InvalidInput."""
    asked = request.args.get("currency")
    if asked and asked not in known:
        raise InvalidInput(f"Nothing has a price in “{asked[:20]}”.", field="currency")
    return asked or (known[0] if known else "USD")


def _search() -> str:
    return request.args.get("search", "").strip()[:100]


def _shelves(currency: str, search: str) -> list[Shelved]:
    """Meters and plans by product; with a search those that it finds, or those of their prices that it finds."""
    sold: list[Meter | Plan] = [*all_meters(), *all_plans()]
    shelves = {(_kind(each), each.id): Shelved(each) for each in sold}
    for entry in list_prices(currency):
        shelves[_kind(entry.of), entry.of.id].entries.append(entry)
    found = [shelf for shelf in shelves.values() if _narrowed(shelf, search.casefold())]
    return sorted(found, key=lambda shelf: (shelf.of.product.name, shelf.kind, shelf.of.name))


def _narrowed(shelf: Shelved, search: str) -> bool:
    """Whether a search finds a shelf; if it finds only some of its prices, the others are taken away."""
    if any(search in text.casefold() for text in (shelf.of.name, shelf.of.code, shelf.of.product.name)):
        return True
    shelf.entries = [each for each in shelf.entries if search in each.price.name.casefold()]
    return bool(shelf.entries)


def _csv_rows(entries: Iterable[Entry]) -> list[tuple[Any, ...]]:
    today = clock.now().date()
    rows = []
    for entry in entries:
        now, coming = entry.on(today), entry.next_after(today)
        rows.append(
            (
                entry.product.name,
                _kind(entry.of),
                entry.of.code,
                entry.of.name,
                entry.price.name,
                "; ".join(f"{name}={value}" for name, value in entry.price.match.items()),
                entry.for_plan and entry.for_plan.code,
                entry.organization and entry.organization.slug,
                entry.price.currency,
                now and now.sentence,
                now and now.valid_from,
                coming and coming.sentence,
                coming and coming.valid_from,
                entry.archived_on,
            )
        )
    return rows
