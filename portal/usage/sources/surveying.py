"""The first reading of a FOCUS file: who and what is in it, so that it all exists before the first event is stored.

What is kept grows with the number of accounts, SKUs and prices of the file, not with its rows.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from portal.core.errors import InvalidInput
from portal.core.periods import Month
from portal.usage.sources.focus import NEEDED, FocusRow, read_row
from portal.usage.sources.naming import RowLog
from portal.usage.sources.rejecting import CsvRejects
from portal.usage.sources.rows import CsvTable, Row
from portal.usage.sources.treating import Kind, Treated, base_match, price_match, treat

Match = tuple[tuple[str, str], ...]


class Charge(NamedTuple):
    """One readable row of the file, what it becomes, and the text that it was."""

    number: int
    row: FocusRow
    treated: Treated
    raw: str


class Place(NamedTuple):
    """A place in the price list: what a price version hangs on."""

    meter: str
    currency: str
    match: Match

    def with_price(self, price: Decimal) -> "Place":
        """The place of a price that goes beside the one that the price id already has."""
        return self._replace(match=tuple(sorted({**dict(self.match), **price_match(price)}.items())))


class MeterTexts(NamedTuple):
    """How a SKU calls itself where it is first met."""

    name: str
    product: str
    unit: str


@dataclass(slots=True)
class Survey:
    """What a file holds. Prices are in the order of the file (a dict of None is an ordered set)."""

    accounts: dict[str, tuple[str, str]] = field(default_factory=dict)
    meters: dict[str, MeterTexts] = field(default_factory=dict)
    prices: dict[tuple[Month, Place], dict[Decimal, None]] = field(default_factory=dict)
    names: dict[Place, str] = field(default_factory=dict)
    months: dict[tuple[str, Month], None] = field(default_factory=dict)
    kinds: Counter[Kind] = field(default_factory=Counter)
    rejected: int = 0

    def add(self, charge: Charge) -> None:
        """Take one row into account."""
        row, treated = charge.row, charge.treated
        self.accounts.setdefault(row.account, (row.account_name, row.currency))
        self.months.setdefault((row.account, row.month))
        self.kinds[treated.kind] += 1
        if treated.kind is Kind.ITEM:
            return
        assert row.list_unit_price is not None, row
        self.meters.setdefault(
            row.meter_code, MeterTexts(row.description, row.properties.get("service", row.provider), row.unit)
        )
        place = place_of(row, treated)
        self.prices.setdefault((row.month, place), {}).setdefault(row.list_unit_price)
        by_consumed = " (by consumed quantity)" if treated.kind is Kind.CONSUMED else ""
        self.names.setdefault(place, row.description + by_consumed)


def place_of(row: FocusRow, treated: Treated) -> Place:
    """Where the row's price stands in the list."""
    return Place(row.meter_code, row.currency, tuple(sorted(base_match(row, treated).items())))


def charges(rows: Iterable[Row], *, latest: datetime, refuse: Callable[[Row, InvalidInput], None]) -> Iterator[Charge]:
    """The readable rows, one at a time; the others go to `refuse`."""
    for row in rows:
        try:
            if isinstance(row.content, InvalidInput):
                raise row.content
            read = read_row(row.content, latest=latest)
        except InvalidInput as error:
            refuse(row, error)
        else:
            yield Charge(row.number, read, treat(read), row.raw)


def survey(
    lines: Iterable[str], *, latest: datetime, specials: RowLog, rejects: CsvRejects, reached: Callable[[int], None]
) -> Survey:
    """Read the whole file once; name what is rejected and what is treated specially."""
    found, table = Survey(), CsvTable(lines, NEEDED)
    rejects.header = table.header

    def refuse(row: Row, error: InvalidInput) -> None:
        found.rejected += 1
        row_id = row.content.get("Id", "") if isinstance(row.content, dict) else ""
        rejects.add(row.number, row_id, error.field or "", error.sentence, row.raw)

    for charge in charges(table.rows(), latest=latest, refuse=refuse):
        found.add(charge)
        if charge.treated.reasons:
            specials.add(charge.number, charge.row.row_id, charge.treated.kind, "; ".join(charge.treated.reasons))
        reached(charge.number)
    return found
