"""A FOCUS bill becomes organizations, meters, price versions, usage events, one-off items and draft invoices.

The file is read twice (usage.sources.surveying): once to see what is in it, so that all of it can be put on sale,
and once to store it, a thousand rows a transaction. Everything is found again by the names that the file gives it,
so a second run, also after an interruption, stores nothing twice.

A sub account is an organization; its id is the slug. A SKU of a provider in a unit is a meter; a SkuPriceId is a
price of it, and a list price a version of that from the first day of the month in which it is first met. A charge
whose SkuPriceId is empty, or has another list price in the same month, is priced by its list price (dimension
list_unit_price).
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID, uuid5

from sqlalchemy import select

from portal.catalog.models import Meter, PriceVersion
from portal.catalog.publishing import ensure_meter, publish_price
from portal.catalog.queries import list_version_on, meters_by_code
from portal.core.errors import InvalidInput, PortalError
from portal.core.exact import plain
from portal.core.money import round_to_minor
from portal.core.periods import Month
from portal.core.pricing import Model, Terms, terms_from_json
from portal.focus_comparison import Expectations
from portal.infra.db import db, transaction
from portal.invoicing.models import OneOffItem
from portal.invoicing.one_off_items import add_item
from portal.invoicing.queries import open_draft
from portal.organizations.models import Organization
from portal.organizations.queries import ids_by_slug
from portal.organizations.registering import ensure_organization
from portal.usage.events import Reader
from portal.usage.ingesting import ingest
from portal.usage.outcomes import REASONS, Outcome
from portal.usage.queries import meters_used_since
from portal.usage.sources.files import SourceFile
from portal.usage.sources.focus import NEEDED, FocusRow
from portal.usage.sources.naming import RowLog
from portal.usage.sources.rows import CsvTable
from portal.usage.sources.storing import batches
from portal.usage.sources.surveying import Charge, Place, Survey, charges, place_of
from portal.usage.sources.treating import DIMENSIONS, Kind, event_of

_ITEMS = UUID("5f4ff2c1-7f5c-4a6f-9a3e-6d1d0f0f2b11")


@dataclass(slots=True)
class Groundwork:
    """What the rows of the file refer to, now that it exists."""

    organizations: dict[str, Organization]
    list_prices: dict[tuple[Month, Place], Decimal | None]


@dataclass(slots=True)
class Stored:
    """What became of the rows, and what the drafts must now come to."""

    events: Counter[Outcome] = field(default_factory=Counter)
    items: Counter[Outcome] = field(default_factory=Counter)
    expected: Expectations = field(default_factory=Expectations)


def lay_groundwork(survey: Survey) -> Groundwork:
    """Make the organizations, meters, price versions and drafts that the file needs and that are not there yet."""
    with transaction():
        for account, (name, currency) in survey.accounts.items():
            ensure_organization(account, name=name, currency=currency)
        active = ids_by_slug(set(survey.accounts))
        organizations = {
            account: ensure_organization(account, name=name, currency=currency)
            for account, (name, currency) in survey.accounts.items()
            if account in active
        }
        meters = {
            code: ensure_meter(code, name=texts.name, product=texts.product, unit=texts.unit, dimensions=DIMENSIONS)
            for code, texts in survey.meters.items()
        }
        list_prices = {
            (month, place): _publish(month, place, tuple(prices), meters[place.meter], survey.names[place])
            for (month, place), prices in sorted(survey.prices.items(), key=lambda each: each[0])
        }
        for account, month in survey.months:
            if account in organizations:
                open_draft(organizations[account], month)
    return Groundwork(organizations, list_prices)


def _publish(month: Month, place: Place, prices: Sequence[Decimal], meter: Meter, name: str) -> Decimal | None:
    """See that a month's prices of a place are in the list; returns which one the place itself has.

    The others stand beside it, told apart by the list price. A new version never takes over usage that is stored
    already, and a version of another kind, which somebody made by hand, stays.
    """
    day = month.first_day
    version = list_version_on(meter, place.currency, dict(place.match), day)
    held = _unit_price(version) if version else None
    if version is None or (_outdated(version, held, prices, day) and meter.id not in meters_used_since(day)):
        held = prices[0]
        publish_price(
            name=name,
            currency=place.currency,
            terms={"model": Model.PER_UNIT, "unit_amount": plain(held)},
            valid_from=day,
            # Nothing at this place has been billed yet, so no final invoice can change by it.
            open_from=None,
            meter=meter,
            match=dict(place.match),
            note="list price of an imported bill",
        )
    for price in prices:
        beside = place.with_price(price)
        if price != held and beside != place:
            _publish(month, beside, (price,), meter, f"{name} at {plain(price)}")
    return held


def _outdated(version: PriceVersion, held: Decimal | None, prices: Sequence[Decimal], day: date) -> bool:
    """Whether a later version may take over: a plain list price from before the month that no row of it has."""
    return held is not None and held not in prices and version.valid_from < day


def _unit_price(version: PriceVersion) -> Decimal | None:
    terms = terms_from_json(version.terms)
    return terms.unit_amount if terms == Terms(Model.PER_UNIT, terms.unit_amount) else None


def store_rows(
    file: SourceFile,
    groundwork: Groundwork,
    *,
    source: str,
    latest: datetime,
    now: datetime,
    rejects: RowLog,
    reached: Callable[[int], None],
) -> Stored:
    """Read the file again and store its charges; rows that the survey refused have been named by it."""
    stored = Stored()
    with transaction():
        reader = Reader(
            meters_by_code(),
            now=now,
            organization_id=None,
            organizations={account: each.id for account, each in groundwork.organizations.items()},
        )
    batch_of_rows = _Batch(groundwork, reader, source, now, rejects, stored)
    with file.lines() as lines:
        for batch in batches(charges(CsvTable(lines, NEEDED).rows(), latest=latest, refuse=lambda *_: None)):
            with transaction():
                batch_of_rows.store(batch)
            reached(batch[-1].number)
    return stored


@dataclass(slots=True)
class _Batch:
    """Stores one batch after the other in the transaction of its caller."""

    groundwork: Groundwork
    reader: Reader
    source: str
    now: datetime
    rejects: RowLog
    stored: Stored

    def store(self, batch: Sequence[Charge]) -> None:
        billable = [charge for charge in batch if self._has_payer(charge)]
        self._store_events([charge for charge in billable if charge.treated.kind is not Kind.ITEM])
        self._store_items([charge for charge in billable if charge.treated.kind is Kind.ITEM])

    def _has_payer(self, charge: Charge) -> bool:
        row = charge.row
        organization = self.groundwork.organizations.get(row.account)
        if organization is None:
            return self._refuse(charge, "SubAccountId", f"The organization “{row.account}” is not active.")
        if organization.currency != row.currency:
            sentence = f"“{row.account}” is billed in {organization.currency}, not in {row.currency}."
            return self._refuse(charge, "BillingCurrency", sentence)
        return True

    def _refuse(self, charge: Charge, field_name: str, sentence: str) -> bool:
        self.rejects.add(charge.number, charge.row.row_id, field_name, sentence, charge.raw)
        return False

    def _store_events(self, usage: Sequence[Charge]) -> None:
        readable = []
        for charge in usage:
            place = self._place(charge)
            try:
                document = event_of(charge.row, charge.treated, dict(place.match), self.source)
                readable.append((charge, place, self.reader.read(document)))
            except InvalidInput as error:
                self._refuse(charge, error.field or "", error.sentence)
        outcomes = ingest([record for _, _, record in readable], now=self.now)
        for (charge, place, _), outcome in zip(readable, outcomes, strict=True):
            self.stored.events[outcome] += 1
            if outcome is Outcome.CONFLICT:
                self._refuse(charge, "Id", REASONS[outcome])
            else:
                self.stored.expected.add(charge, place)

    def _place(self, charge: Charge) -> Place:
        """The place of the price that bills this row: the price id's own, or the one beside it."""
        row, place = charge.row, place_of(charge.row, charge.treated)
        assert row.list_unit_price is not None, row
        if self.groundwork.list_prices[row.month, place] == row.list_unit_price:
            return place
        return place.with_price(row.list_unit_price)

    def _store_items(self, items: Sequence[Charge]) -> None:
        tokens = {charge.number: uuid5(_ITEMS, f"{self.source}\0{charge.row.identity}") for charge in items}
        known = _items_by_token(set(tokens.values()))
        for charge in items:
            token = tokens[charge.number]
            try:
                item = known.get(token) or self._add_item(charge, token)
            except PortalError as error:
                self._refuse(charge, error.field or "", error.sentence)
                continue
            outcome = Outcome.ACCEPTED
            if token in known:
                same = item.amount == round_to_minor(charge.treated.figure, charge.row.currency)
                outcome = Outcome.DUPLICATE if same else Outcome.CONFLICT
            if outcome is Outcome.CONFLICT:
                self._refuse(charge, "ListCost", "An item for this row with another amount is there; it stays.")
            known[token] = item
            self.stored.items[outcome] += 1

    def _add_item(self, charge: Charge, token: UUID) -> OneOffItem:
        row, amount = charge.row, charge.treated.figure
        invoice = open_draft(self.groundwork.organizations[row.account], row.month)
        return add_item(
            invoice.id,
            kind="credit" if amount < 0 else "charge",
            description=_item_name(row),
            quantity=Decimal(1),
            unit_amount=abs(amount),
            internal_reason=f"Imported from {self.source}, row {row.row_id}: {'; '.join(charge.treated.reasons)}",
            form_token=token,
            created_by_id=None,
        )


def _item_name(row: FocusRow) -> str:
    return row.description if row.category == "Usage" else f"{row.category}: {row.description}"


def _items_by_token(tokens: Collection[UUID]) -> dict[UUID, OneOffItem]:
    if not tokens:
        return {}
    found = db.session.scalars(select(OneOffItem).where(OneOffItem.form_token.in_(tokens)))
    return {item.form_token: item for item in found}
