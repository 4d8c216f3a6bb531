"""Rating what final invoices bill by a price again, with a draft of its terms, by the rules that made their lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import select, text

from portal.catalog.models import Meter, Price, PriceVersion
from portal.catalog.pricebook import ListedPrice, Pricebook, Version
from portal.core.periods import Month
from portal.core.pricing import terms_from_json
from portal.infra.db import db
from portal.invoicing.usage_lines import usage_lines
from portal.simulating.models import PriceSimulation
from portal.usage.queries import SeriesQuantity

# The lines of one invoice and price: a month that a new version has cut has several. The id is asked for in both
# tables, because a join in its order would else begin with the first line of all.
_BILLED = """
    FROM invoices AS i
    JOIN invoice_items AS l ON l.invoice_id = i.id AND l.kind = 'usage' AND l.price_version_id = ANY(:versions)
    WHERE i.state = 'finalized' AND i.period_start = ANY(:months) AND i.finalized_at <= :as_of
      AND i.id > :after AND l.invoice_id > :after
      AND (CAST(:organizations AS bigint[]) IS NULL OR i.organization_id = ANY(:organizations))
"""
_COUNT = text(f"SELECT count(DISTINCT i.id) {_BILLED}")
_READ = text(f"""
    SELECT i.id, i.organization_id, i.period_start, sum(l.quantity) AS quantity,
           CAST(sum(CAST(l.derivation ->> 'events' AS bigint)) AS bigint) AS events,
           CAST(sum(l.amount) AS bigint) AS amount
    {_BILLED}
    GROUP BY i.id ORDER BY i.id LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class Billed:
    """What one final invoice bills by a price: the quantity and events of the whole month, the amount after rounding.

    The amount is in minor units, before coupons, credits and tax.
    """

    invoice_id: int
    organization_id: int
    month: Month
    quantity: Decimal
    events: int
    amount: int


def count_billed(simulation: PriceSimulation) -> int:
    """How many final invoices bill something by the price."""
    return db.session.scalar(_COUNT, _values(simulation, after=0)) or 0


def read_billed(simulation: PriceSimulation, *, limit: int) -> list[Billed]:
    """The next of these invoices, after the last one that was rated."""
    values = _values(simulation, after=simulation.last_invoice_id) | {"limit": limit}
    return [
        Billed(row.id, row.organization_id, Month.of(row.period_start), row.quantity, row.events, row.amount)
        for row in db.session.execute(_READ, values)
    ]


def _values(simulation: PriceSimulation, *, after: int) -> dict[str, Any]:
    versions = db.session.scalars(select(PriceVersion.id).where(PriceVersion.price_id == simulation.price_id))
    return {
        "versions": list(versions),
        "months": simulation.months,
        "as_of": simulation.as_of,
        "organizations": simulation.organization_ids,
        "after": after,
    }


def meter_of_price(price: Price) -> Meter:
    """The meter of a price of one."""
    return db.session.get_one(Meter, price.meter_id)


def rate_again(
    billed: Sequence[Billed], price: Price, meter: Meter, terms: Mapping[str, Any]
) -> list[tuple[Billed, int]]:
    """What each would have come to if these terms had held in the whole month, in minor units, rounded once."""
    books = {month: _book_of(price, meter, terms, month.first_day) for month in {each.month for each in billed}}
    rated = []
    for each in billed:
        [line], _ = usage_lines([_used(each, meter)], books[each.month], each.month, price.currency)
        rated.append((each, line.amount))
    return rated


def _book_of(price: Price, meter: Meter, document: Mapping[str, Any], valid_from: date) -> Pricebook:
    """A price list with nothing but the draft, for everybody: whom the price applied to, the invoices have decided."""
    listed = ListedPrice(
        id=price.id,
        name=price.name,
        code=meter.code,
        unit=meter.unit,
        meter_id=meter.id,
        plan_id=None,
        product=meter.product.name,
        own=False,
        for_plan_id=None,
        match={},
        archived_on=None,
        off_sale=(),
        versions=(Version(0, valid_from, terms_from_json(dict(document)), document),),
    )
    return Pricebook([listed], {})


def _used(billed: Billed, meter: Meter) -> SeriesQuantity:
    return SeriesQuantity(
        series_id=0,
        meter_id=meter.id,
        meter_code=meter.code,
        meter_name=meter.name,
        aggregation=meter.counting.aggregation,
        product=meter.product.name,
        unit=meter.unit,
        dimensions={},
        segment_start=billed.month.first_day,
        quantity=billed.quantity,
        events=billed.events,
    )
