"""The catalog as people read it: prices with all that is said about them, what they are of, and who has a plan."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import aliased, joinedload, selectinload

from portal.catalog.models import Meter, Plan, Price, PriceVersion, Product, Subscription, SubscriptionChange
from portal.catalog.wording import price_in_words, with_floors
from portal.core.errors import NotFound
from portal.core.exact import ZERO
from portal.core.pricing import Terms, Tier, terms_from_json
from portal.infra.db import db
from portal.organizations.models import Organization


@dataclass(frozen=True)
class ListedVersion:
    """One version of a price in words, and the last day on which it holds: None while nothing follows."""

    version: PriceVersion
    terms: Terms
    sentence: str
    last_day: date | None

    @property
    def valid_from(self) -> date:
        """The first day on which it holds."""
        return self.version.valid_from


@dataclass(frozen=True)
class Entry:
    """One price with what it is the price of, and whose it is."""

    price: Price
    product: Product
    meter: Meter | None
    plan: Plan | None
    for_plan: Plan | None
    organization: Organization | None

    @property
    def of(self) -> Meter | Plan:
        """The meter or plan."""
        found = self.meter or self.plan
        assert found is not None, "a price is one of a meter or a plan"
        return found

    @property
    def interval(self) -> str:
        """What it is asked for each: usage by the month, a plan by its interval."""
        return str(self.plan.interval) if self.plan else "month"

    @property
    def archived_on(self) -> date | None:
        """The first day on which it applies no more."""
        return self.price.archived_at.astimezone(UTC).date() if self.price.archived_at else None

    @cached_property
    def versions(self) -> tuple[ListedVersion, ...]:
        """All versions in words, oldest first."""
        versions = self.price.versions
        return tuple(
            self._in_words(version, later) for version, later in zip(versions, [*versions[1:], None], strict=True)
        )

    def _in_words(self, version: PriceVersion, later: PriceVersion | None) -> ListedVersion:
        terms = terms_from_json(version.terms)
        last_day = later.valid_from - timedelta(days=1) if later else None
        return ListedVersion(version, terms, self.sentence(terms), last_day)

    def sentence(self, terms: Terms) -> str:
        """These terms in words, for this price's unit and currency."""
        return price_in_words(terms, unit=self.of.unit, currency=self.price.currency, interval=self.interval)

    def on(self, today: date) -> ListedVersion | None:
        """The version that holds on a day; None before the first and once the price is archived."""
        if self.archived_on is not None and today >= self.archived_on:
            return None
        return next((each for each in reversed(self.versions) if each.valid_from <= today), None)

    def next_after(self, today: date) -> ListedVersion | None:
        """The version that comes next; None if none is announced."""
        if self.archived_on is not None:
            return None
        return next((each for each in self.versions if each.valid_from > today), None)

    def goes_before(self, other: "Entry", today: date) -> bool:
        """Whether this is an organization's own price that applies today to all that another one would apply to."""
        same = self.price.meter_id == other.price.meter_id and self.price.plan_id == other.price.plan_id
        covers = self.price.match.items() <= other.price.match.items()
        own = self.price.organization_id is not None and self.price.for_plan_id is None
        return own and other.price.organization_id is None and same and covers and self.on(today) is not None


VERSION_CSV_HEAD = (
    *("price", "currency", "valid_from", "valid_until", "model", "sentence"),
    *("above", "up_to", "unit_amount", "flat_amount", "note"),
)


def version_csv_rows(entry: Entry, *, with_notes: bool) -> list[tuple[Any, ...]]:
    """All versions of a price for a file, a row for each tier. Notes are for staff."""
    rows = []
    for each in entry.versions:
        place = (entry.price.name, entry.price.currency, each.valid_from, each.last_day, each.terms.model.value)
        note = each.version.note if with_notes else None
        tiers = with_floors(each.terms.tiers) or [(ZERO, Tier(None, each.terms.unit_amount))]
        rows += [
            (*place, each.sentence, floor, tier.up_to, tier.unit_amount, tier.flat_amount, note)
            for floor, tier in tiers
        ]
    return rows


def prices_for(organization_id: int, currency: str) -> list[Entry]:
    """What an organization can be billed by: the list's prices in its currency and its own, by product and name."""
    whose = or_(Price.organization_id.is_(None), Price.organization_id == organization_id)
    return _entries(Price.currency == currency, whose)


def list_prices(currency: str) -> list[Entry]:
    """The list's prices in a currency, archived ones too."""
    return _entries(Price.currency == currency, Price.organization_id.is_(None))


def own_prices(organization_id: int) -> list[Entry]:
    """The prices that were agreed with one organization, archived ones too."""
    return _entries(Price.organization_id == organization_id)


def prices_of(row: Meter | Plan, *, limit: int | None) -> list[Entry]:
    """The prices of a meter or plan in all currencies: the list's first, then organizations' own."""
    column = Price.meter_id if isinstance(row, Meter) else Price.plan_id
    return _entries(column == row.id, limit=limit)


def entry_of(public_id: UUID, *, visible_to: int | None = None) -> Entry:
    """One price; with `visible_to` only what that organization may see. Raises NotFound, also for another's."""
    conditions = [Price.public_id == public_id]
    if visible_to is not None:
        conditions.append(or_(Price.organization_id.is_(None), Price.organization_id == visible_to))
    found = _entries(*conditions)
    if not found:
        raise NotFound("There is no such price.")
    return found[0]


def _entries(*conditions: ColumnElement[bool], limit: int | None = None) -> list[Entry]:
    """Prices with all that is said about them, in two queries: the list's first, by product, what they are of, name."""
    for_plan = aliased(Plan)
    rows = db.session.execute(
        select(Price, Product, Meter, Plan, for_plan, Organization)
        .outerjoin(Meter, Meter.id == Price.meter_id)
        .outerjoin(Plan, Plan.id == Price.plan_id)
        .join(Product, Product.id == func.coalesce(Meter.product_id, Plan.product_id))
        .outerjoin(for_plan, for_plan.id == Price.for_plan_id)
        .outerjoin(Organization, Organization.id == Price.organization_id)
        .where(*conditions)
        .options(selectinload(Price.versions))
        .order_by(
            Price.organization_id.is_not(None),
            Product.name,
            func.coalesce(Meter.name, Plan.name),
            Price.name,
            Price.currency,
            Price.id,
        )
        .limit(limit)
    )
    return [Entry(*row) for row in rows]


def listed_currencies() -> list[str]:
    """The currencies of the price list; the one with the most prices first."""
    query = select(Price.currency).where(Price.organization_id.is_(None)).group_by(Price.currency)
    return list(db.session.scalars(query.order_by(func.count().desc(), Price.currency)))


def all_meters() -> list[Meter]:
    """All meters with their products, by name, archived ones too."""
    return list(db.session.scalars(select(Meter).options(joinedload(Meter.product)).order_by(Meter.name, Meter.id)))


def all_plans() -> list[Plan]:
    """All plans with their products, by name, archived ones too."""
    return list(db.session.scalars(select(Plan).options(joinedload(Plan.product)).order_by(Plan.name, Plan.id)))


def meter_of(public_id: UUID) -> Meter:
    """The meter with this public id. Raises NotFound."""
    found = db.session.scalar(select(Meter).where(Meter.public_id == public_id).options(joinedload(Meter.product)))
    if found is None:
        raise NotFound("There is no such meter.")
    return found


def plan_of(public_id: UUID) -> Plan:
    """The plan with this public id. Raises NotFound."""
    found = db.session.scalar(select(Plan).where(Plan.public_id == public_id).options(joinedload(Plan.product)))
    if found is None:
        raise NotFound("There is no such plan.")
    return found


@dataclass(frozen=True, slots=True)
class Subscribers:
    """How many organizations have a plan, by how many subscriptions, of how many seats."""

    organizations: int
    subscriptions: int
    seats: int


def subscribers_of(plan: Plan, now: datetime) -> Subscribers:
    """Who has a plan at a moment, after all changes up to then."""
    change = (
        select(SubscriptionChange.plan_id, SubscriptionChange.quantity)
        .where(
            SubscriptionChange.subscription_id == Subscription.id,
            SubscriptionChange.removed_at.is_(None),
            SubscriptionChange.effective_at <= now,
        )
        .order_by(SubscriptionChange.effective_at.desc())
        .limit(1)
        .lateral()
    )
    row = db.session.execute(
        select(
            func.count(Subscription.organization_id.distinct()),
            func.count(),
            func.coalesce(func.sum(func.coalesce(change.c.quantity, Subscription.quantity)), 0),
        )
        .select_from(Subscription)
        .outerjoin(change, db.true())
        .where(
            Subscription.started_at <= now,
            or_(Subscription.ended_at.is_(None), Subscription.ended_at > now),
            func.coalesce(change.c.plan_id, Subscription.plan_id) == plan.id,
        )
    ).one()
    return Subscribers(row[0], row[1], int(row[2]))
