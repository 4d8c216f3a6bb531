"""What each line of a month adds to its total, live or as it was made final, and the usage that each line bills."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Protocol, TypeVar

from sqlalchemy import func, select

from portal.catalog.models import Meter, Plan, Price, PriceVersion, Product
from portal.catalog.pricebook import Pricebook, pricebook_for
from portal.catalog.queries import contract_of, subscriptions_between
from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month
from portal.core.statement import TAKEN_OFF_OR_ADDED, LineKind
from portal.infra.db import db
from portal.invoicing.billed import billable
from portal.invoicing.draft_facts import Facts
from portal.invoicing.drafting import draft_of
from portal.invoicing.models import Invoice
from portal.invoicing.queries import invoice_for_month, items_of
from portal.organizations.models import Organization
from portal.usage.queries import SeriesQuantity, Source, usage_by_series


class _Summed(Protocol):
    """A live or a stored line, as far as sums look at it."""

    @property
    def kind(self) -> str: ...
    @property
    def amount(self) -> int: ...
    @property
    def discount(self) -> int: ...
    @property
    def credited(self) -> int: ...
    @property
    def tax(self) -> int: ...
    @property
    def derivation(self) -> dict[str, Any]: ...


L = TypeVar("L", bound=_Summed)


@dataclass(frozen=True, slots=True)
class Amounts:
    """Minor units before tax, and the tax."""

    net: int = 0
    tax: int = 0

    @property
    def whole(self) -> int:
        """With the tax."""
        return self.net + self.tax

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(self.net + other.net, self.tax + other.tax)


@dataclass(frozen=True, slots=True)
class CostLine:
    """What one line adds to the total, after all that was taken off it. Usage has a meter and a price version too."""

    amounts: Amounts
    product: str = ""
    meter: str = ""
    usage_version_id: int | None = None


@dataclass(frozen=True, slots=True)
class Bill:
    """The lines of a month and what they add up to, in minor units; `is_final` if they never change any more.

    `frozen_invoice_id` is the invoice that bills frozen usage. `has_unpriced`: some usage is in no line. `facts` are
    those of a draft.
    """

    organization: Organization
    month: Month
    currency: str
    lines: tuple[CostLine, ...]
    total: Amounts
    invoice: Invoice | None
    frozen_invoice_id: int | None
    has_unpriced: bool
    facts: Facts | None = None

    @property
    def is_final(self) -> bool:
        """Whether the month has its final invoice."""
        return self.invoice is not None and self.invoice.state == InvoiceState.FINALIZED


@dataclass(frozen=True, slots=True)
class Segment:
    """A series' usage from its first segment day to `last_day`, and the price version whose line bills it."""

    version_id: int
    series: SeriesQuantity
    last_day: date


def bill_of(organization: Organization, month: Month) -> Bill:
    """The month's final invoice, or its draft as it stands; a void invoice does not count."""
    invoice = invoice_for_month(organization.id, month)
    frozen_id = invoice.id if invoice is not None and invoice.state != InvoiceState.DRAFT else None
    if invoice is not None and invoice.state == InvoiceState.FINALIZED:
        bill = Bill(
            organization,
            month,
            invoice.currency,
            _lines_of_invoice(invoice),
            Amounts(invoice.total - invoice.tax, invoice.tax),
            invoice,
            frozen_id,
            has_unpriced=False,
        )
    else:
        draft = draft_of(organization, month, frozen_invoice_id=frozen_id)
        statement = draft.statement
        lines = [
            CostLine(
                amounts,
                line.product,
                line.meter,
                line.references["price_version_id"] if line.kind is LineKind.USAGE else None,
            )
            for line, amounts in _counted(statement.lines, inclusive=statement.tax_terms.inclusive)
        ]
        bill = Bill(
            organization,
            month,
            statement.currency,
            tuple(lines),
            Amounts(statement.total - statement.tax, statement.tax),
            invoice,
            frozen_id,
            has_unpriced=bool(draft.unpriced),
            facts=draft.facts,
        )
    assert sum((line.amounts for line in bill.lines), Amounts()) == bill.total, "the lines do not add up to the total"
    return bill


def _lines_of_invoice(invoice: Invoice) -> tuple[CostLine, ...]:
    items = items_of(invoice.id)
    places = _places({item.price_version_id for item in items if item.price_version_id is not None})
    inclusive = bool(invoice.tax_details and invoice.tax_details["included"])
    lines = []
    for item, amounts in _counted(items, inclusive=inclusive):
        meter, product = places.get(item.price_version_id, ("", item.derivation.get("product", "")))
        version_id = item.price_version_id if item.kind == LineKind.USAGE else None
        lines.append(CostLine(amounts, product, meter, version_id))
    return tuple(lines)


def _places(version_ids: Iterable[int]) -> Mapping[int | None, tuple[str, str]]:
    """The meter's code ("" of a plan) and the product of each price version."""
    rows = db.session.execute(
        select(PriceVersion.id, func.coalesce(Meter.code, ""), Product.name)
        .join(Price, Price.id == PriceVersion.price_id)
        .outerjoin(Meter, Meter.id == Price.meter_id)
        .outerjoin(Plan, Plan.id == Price.plan_id)
        .join(Product, Product.id == func.coalesce(Meter.product_id, Plan.product_id))
        .where(PriceVersion.id.in_(version_ids))
    )
    return {row[0]: (row[1], row[2]) for row in rows}


def _counted(lines: Sequence[L], *, inclusive: bool) -> Iterator[tuple[L, Amounts]]:
    """The lines that are charged, each with what was taken off it and its tax, and what rounding the tax has moved.

    What was taken off, and the tax, have lines of their own too; these say the same again.
    """
    for line in lines:
        if line.kind not in TAKEN_OFF_OR_ADDED:
            left = line.amount - line.discount - line.credited
            yield line, Amounts(left - line.tax if inclusive else left, line.tax)
        elif line.kind == LineKind.TAX and "percent" not in line.derivation:
            yield line, Amounts(line.amount)


def source_of(bill: Bill) -> Source:
    """The usage that a bill bills of its own month."""
    if bill.facts is not None:
        return bill.facts.bill.own
    return billable(bill.organization.id, bill.month, frozen_invoice_id=bill.frozen_invoice_id).own


def segments_of(bill: Bill) -> list[Segment]:
    """The priced usage of a bill, cut and priced as its lines were; a few queries, however much there is."""
    month = bill.month
    pricebook = bill.facts.pricebook if bill.facts is not None else _pricebook_of(bill)
    starts = [month.first_day, *pricebook.change_days(month.first_day, month.last_day)]
    ends = [day - timedelta(days=1) for day in [*starts[1:], month.next.first_day]]
    last_days = dict(zip(starts, ends, strict=True))
    if bill.facts is not None:
        used = bill.facts.used
    else:
        used = usage_by_series(bill.organization.id, month, cuts=starts[1:], source=source_of(bill))
    segments = []
    for series in used:
        price = pricebook.price_of_series(series.meter_id, series.dimensions, series.segment_start)
        version = price.version_on(series.segment_start) if price else None
        if version is not None:
            segments.append(Segment(version.id, series, last_days[series.segment_start]))
    return segments


def _pricebook_of(bill: Bill) -> Pricebook:
    subscriptions = subscriptions_between(bill.organization.id, bill.month.start, bill.month.end)
    return pricebook_for(bill.organization.id, bill.currency, map(contract_of, subscriptions))
