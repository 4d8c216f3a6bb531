"""Bringing the catalog to what a document says, by the verbs of the other modules, in one transaction or not at all.

Nothing is ever deleted: what the document does not name stays as it is.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any

from sqlalchemy import select

from portal.catalog.comparing import Change, differences, renamed_products, staying, with_products_renamed
from portal.catalog.coupons import create_coupon
from portal.catalog.fields import Problems
from portal.catalog.files import (
    Catalog,
    CatalogRefused,
    CouponEntry,
    MeterEntry,
    PlanEntry,
    PriceEntry,
    ProductEntry,
    VersionEntry,
    read_catalog,
)
from portal.catalog.locking import lock_prices
from portal.catalog.models import Coupon, Meter, Plan, Price, Product
from portal.catalog.publishing import (
    archive,
    ensure_meter,
    ensure_plan,
    ensure_product,
    publish_price,
    rename_price,
    rename_product,
    restore,
    update_coupon,
    update_meter,
    update_plan,
)
from portal.catalog.stored import catalog_of, stored_catalog, stored_rows
from portal.core.errors import InvalidInput
from portal.core.money import round_to_minor
from portal.core.quantities import Counting
from portal.core.terms import terms_to_json
from portal.infra.db import db
from portal.organizations.models import Organization

# The first open day of a currency's list prices, or of one organization (invoicing.queries.open_from).
OpenFrom = Callable[[str, int | None], date | None]


@dataclass(frozen=True, slots=True)
class Applied:
    """What a document changed (or would have), and a sentence about what it does not name, or ""."""

    changes: tuple[Change, ...]
    staying: str


def apply_catalog(
    document: Any,
    *,
    open_from: OpenFrom,
    used_meters: Callable[[], Collection[int]],
    now: datetime,
    dry_run: bool = False,
) -> Applied:
    """Do what a document says. Idempotent: a second time there is nothing to change.

    `used_meters` are the ids of meters with usage; they are asked for only if a unit changes. A dry run does the same
    and takes all of it back. Two who apply at once wait for each other, and for whoever finalizes. Raises
    CatalogRefused with everything that does not fit; nothing is stored then.
    """
    desired, problems = read_catalog(document)
    lock_prices()
    with db.session.begin_nested() as savepoint:
        work = _Applying(desired, problems, open_from, used_meters, now)
        before = with_products_renamed(work.before, renamed_products(work.before, desired))
        work.everything()
        if problems:
            raise CatalogRefused(problems)
        changes = (*work.renamings, *differences(before, stored_catalog()))
        if dry_run:
            savepoint.rollback()
    return Applied(changes, staying(before, desired))


class _Applying:
    """One document on its way into the database: entry by entry, noting what is refused and going on."""

    def __init__(
        self,
        desired: Catalog,
        problems: Problems,
        open_from: OpenFrom,
        used_meters: Callable[[], Collection[int]],
        now: datetime,
    ) -> None:
        self._desired, self._problems, self._now = desired, problems, now
        self._open_from, self._used_meters = cache(open_from), used_meters
        self._rows = stored_rows()
        self._organizations = ids_of(
            price.place.organization for price in desired.prices.values() if price.place.organization is not None
        )
        self.before = catalog_of(self._rows)
        self.renamings: list[Change] = []

    def everything(self) -> None:
        """Each section after those that it refers to; what is as it should be is left alone."""
        desired, before = self._desired, self.before
        for product in desired.products.values():
            self._product(product)
        for meter in desired.meters.values():
            if before.meters.get(meter.code) != meter:
                self._meter(meter)
        self._problems.dropped |= {("meters", code) for code in set(desired.meters) - set(self._rows.meters)}
        for plan in desired.plans.values():
            if before.plans.get(plan.code) != plan:
                self._plan(plan)
        self._problems.dropped |= {("plans", code) for code in set(desired.plans) - set(self._rows.plans)}
        for price in desired.prices.values():
            if before.prices.get(price.place) != price:
                self._price(price)
        for coupon in desired.coupons.values():
            if before.coupons.get(coupon.code) != coupon:
                self._coupon(coupon)

    def _product(self, entry: ProductEntry) -> None:
        rows = self._rows.products
        if entry.formerly in self._desired.products or (entry.formerly in rows and entry.name in rows):
            self._problems.add(f"{entry.path}.formerly", f"“{entry.formerly}” and “{entry.name}” are two products.")
            return
        if entry.formerly in rows:
            rows[entry.name] = rows.pop(entry.formerly)
            rename_product(rows[entry.name], entry.name)
            self.renamings.append(Change("~", f"product {entry.formerly}: name → {entry.name}"))
        elif entry.name not in rows:
            rows[entry.name] = ensure_product(entry.name)
        self._put_on_sale(rows[entry.name], entry.archived)

    def _meter(self, entry: MeterEntry) -> None:
        rows = self._rows.meters
        product = self._find("products", entry.product, f"{entry.path}.product")
        if product is None:
            return
        with self._problems.at(entry.path):
            said: dict[str, Any] = {
                "name": entry.name,
                "unit": entry.unit,
                "dimensions": entry.dimensions,
                "counting": Counting(entry.aggregation, entry.subject, entry.per),
            }
            row = rows.get(entry.code)
            if row is None:
                rows[entry.code] = row = ensure_meter(entry.code, product=product.name, **said)
            else:
                used = entry.unit != row.unit and row.id in self._used_meters()
                update_meter(row, product=product, has_usage=used, **said)
            self._put_on_sale(row, entry.archived)

    def _plan(self, entry: PlanEntry) -> None:
        rows = self._rows.plans
        product = self._find("products", entry.product, f"{entry.path}.product")
        meters = [
            self._find("meters", code, f"{entry.path}.credit_meters[{index}]")
            for index, code in enumerate(entry.credit_meters)
        ]
        if product is None or None in meters:
            return
        said: dict[str, Any] = {
            "name": entry.name,
            "unit": entry.unit,
            "interval": entry.interval,
            "trial_days": entry.trial_days,
            "credit_meters": entry.credit_meters,
        }
        with self._problems.at(entry.path):
            row = rows.get(entry.code)
            if row is None:
                rows[entry.code] = row = ensure_plan(entry.code, product=product.name, **said)
            else:
                update_plan(row, product=product, **said)
            self._put_on_sale(row, entry.archived)

    def _price(self, entry: PriceEntry) -> None:
        place = self._place(entry)
        row = self._rows.prices.get(entry.place)
        if place is None:
            return
        open_from = self._open_from(entry.place.currency, place["organization_id"])
        if row is not None and not entry.archived:
            restore(row, open_from=open_from)
        for version in entry.versions:
            try:
                published = publish_price(
                    name=entry.name,
                    terms=terms_to_json(version.terms),
                    valid_from=version.valid_from,
                    open_from=open_from,
                    note=version.note,
                    **place,
                )
            except InvalidInput as refused:
                self._problems.add(_path_of(refused.field, entry, version), refused.sentence)
                if refused.field == "match":
                    return
                continue
            if version.note not in (None, published.note):
                self._problems.add(f"{version.path}.note", "It was published with another note; versions never change.")
            row = row or db.session.get_one(Price, published.price_id)
        if row is not None:
            rename_price(row, entry.name)
            if entry.archived:
                archive(row, now=self._now)

    def _place(self, entry: PriceEntry) -> dict[str, Any] | None:
        """What `publish_price` takes for the place of a price; None if something that it names is not there."""
        said, path = entry.place, entry.path
        rows = {
            name: self._find(section, code, f"{path}.{name}")
            for name, section, code in (
                ("meter", "meters", said.meter),
                ("plan", "plans", said.plan),
                ("for_plan", "plans", said.for_plan),
            )
            if code is not None
        }
        organization_id = None if said.organization is None else self._organizations.get(said.organization)
        nobody = said.organization is not None and organization_id is None
        if nobody:
            self._problems.add(f"{path}.organization", f"There is no organization “{said.organization}”.")
        if nobody or None in rows.values():
            return None
        return {"currency": said.currency, "match": dict(said.match), "organization_id": organization_id, **rows}

    def _coupon(self, entry: CouponEntry) -> None:
        row = self._rows.coupons.get(entry.code)
        given: dict[str, Any] = {"name": entry.name, "stacks": entry.stacks, "redeem_by": entry.redeem_by}
        fixed: dict[str, Any] = {
            "percent": entry.percent,
            "amount": None
            if entry.amount is None or entry.currency is None
            else round_to_minor(entry.amount, entry.currency),
            "currency": entry.currency,
            "products": list(entry.products),
            "months": entry.months,
        }
        with self._problems.at(entry.path):
            if row is None:
                row = create_coupon(entry.code, **given, **fixed)
            else:
                update_coupon(row, **given, **fixed)
            self._put_on_sale(row, entry.archived)

    def _find(self, section: str, key: str, path: str) -> Any:
        """The row of something that is named; None, and a problem unless its own entry has one, if there is none."""
        row = getattr(self._rows, section).get(key)
        if row is None and (section, key) not in self._problems.dropped:
            self._problems.add(path, f"There is no {section[:-1]} “{key}”; the file or the database has to have it.")
        return row

    def _put_on_sale(self, row: Product | Meter | Plan | Coupon, archived: bool) -> None:
        if archived:
            archive(row, now=self._now)
        else:
            restore(row, open_from=None)


def ids_of(slugs: Iterable[str]) -> dict[str, int]:
    """The inner ids of organizations, whatever their status, by their slugs."""
    query = select(Organization.slug, Organization.id).where(Organization.slug.in_(set(slugs)))
    return {row.slug: row.id for row in db.session.execute(query)}


def _path_of(field: str | None, entry: PriceEntry, version: VersionEntry) -> str:
    """Where in the file the field stands that `publish_price` names."""
    if field == "match":
        return f"{entry.path}.match"
    if field == "valid_from":
        return f"{version.path}.valid_from"
    return f"{version.path}.terms" if field in (None, "terms") else f"{version.path}.terms.{field}"
