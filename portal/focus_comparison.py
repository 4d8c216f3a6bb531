"""Do the draft invoices come to what an imported bill says? Read from the drafts as the portal prices them.

A draft bills one line per price; lines and rows meet at the price's place in the list, and are then added up per
organization, month and SKU. Costs are rounded as an invoice does: once per line, so once per price.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from portal.catalog.queries import places_of_versions
from portal.core.exact import EXACT, ZERO
from portal.core.money import round_to_minor
from portal.core.periods import Month
from portal.core.statement import Line
from portal.infra.db import transaction
from portal.invoicing.drafting import draft_of
from portal.organizations.models import Organization
from portal.usage.sources.surveying import Charge, Place
from portal.usage.sources.treating import TOLERANCE, Kind

# The last decimal of the costs that providers write.
ROUNDING_OF_A_ROW = Decimal("1e-10")


class Bill(NamedTuple):
    """One organization's month."""

    account: str
    month: Month


@dataclass(slots=True)
class Sums:
    """What the rows of one price come to, by the file."""

    sku: str
    kind: Kind
    rows: int = 0
    quantity: Decimal = ZERO
    list_cost: Decimal = ZERO


@dataclass(slots=True)
class Expectations:
    """What the drafts must come to, added up row by row; grows with organizations and prices, not with rows.

    A row that stands in the file twice is stored once and counts twice here, so that the comparison shows it.
    """

    sums: dict[Bill, dict[Place, Sums]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, charge: Charge, place: Place) -> None:
        """Take a row into account that is stored at this place of the price list."""
        row, treated = charge.row, charge.treated
        sums = self.sums[Bill(row.account, row.month)].setdefault(place, Sums(row.sku, treated.kind))
        sums.rows += 1
        sums.quantity = EXACT.add(sums.quantity, treated.figure)
        sums.list_cost = EXACT.add(sums.list_cost, row.list_cost)


@dataclass(slots=True)
class Compared:
    """One SKU of one organization's month: what the file says and what the draft says."""

    organization: str
    account: str
    month: Month
    sku: str
    kind: Kind
    currency: str
    rows: int = 0
    quantity: Decimal = ZERO
    billed_quantity: Decimal = ZERO
    unrounded: Decimal = ZERO
    list_cost: Decimal = ZERO
    amount: int = 0
    list_amount: int = 0

    @property
    def difference(self) -> Decimal:
        """How far the draft's unrounded amount is from the list cost."""
        return EXACT.subtract(self.unrounded, self.list_cost)

    @property
    def agrees_unrounded(self) -> bool:
        """Whether the two are equal but for the tolerance."""
        return abs(self.difference) <= TOLERANCE

    @property
    def within_rounding(self) -> bool:
        """Whether many rows, each of them rounded by the file, add up to no more than this difference."""
        return self.agrees_unrounded or abs(self.difference) <= self.rows * ROUNDING_OF_A_ROW

    @property
    def agrees(self) -> bool:
        """Whether nothing but the file's own rounding is between the two, and nothing at all after rounding."""
        return self.within_rounding and self.amount == self.list_amount


def compare(expected: Expectations, organizations: Mapping[str, Organization]) -> list[Compared]:
    """Price every draft that the file touches and put it beside the file, largest differences first."""
    compared = []
    for bill, places in expected.sums.items():
        compared += _compare_bill(organizations[bill.account], bill, places)
    return sorted(
        compared,
        key=lambda each: (-abs(each.amount - each.list_amount), -abs(each.difference), each.account, each.sku),
    )


def _compare_bill(organization: Organization, bill: Bill, places: Mapping[Place, Sums]) -> list[Compared]:
    with transaction():
        draft = draft_of(organization, bill.month)
        lines = _lines_by_place(draft.statement.lines, organization.currency)
    skus: dict[tuple[str, str, Kind], Compared] = {}
    for place, sums in places.items():
        compared = skus.setdefault(
            (place.meter, sums.sku, sums.kind),
            Compared(organization.name, bill.account, bill.month, sums.sku, sums.kind, organization.currency),
        )
        compared.rows += sums.rows
        compared.quantity = EXACT.add(compared.quantity, sums.quantity)
        compared.list_cost = EXACT.add(compared.list_cost, sums.list_cost)
        compared.list_amount += round_to_minor(sums.list_cost, organization.currency)
        for line in lines.get(place, ()):
            compared.billed_quantity = EXACT.add(compared.billed_quantity, line.quantity)
            compared.unrounded = EXACT.add(compared.unrounded, line.unrounded)
            compared.amount += line.amount
    return list(skus.values())


def _lines_by_place(lines: tuple[Line, ...], currency: str) -> dict[Place, list[Line]]:
    known = places_of_versions([line.references["price_version_id"] for line in lines if line.series])
    found: dict[Place, list[Line]] = defaultdict(list)
    for line in lines:
        if line.series:
            meter, match = known[line.references["price_version_id"]]
            found[Place(meter, currency, tuple(sorted(match.items())))].append(line)
    return found
