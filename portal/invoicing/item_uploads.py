"""Many one-off items from a CSV file: every row is checked before anything is stored, and a row is added once.

Each row has a reference of the uploader's own. Together with the organization it is the row's identity: the same
reference in the same or another file adds nothing again.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID, uuid5

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from portal.catalog.queries import product_names
from portal.catalog.tax_rates import tax_codes
from portal.core.errors import InvalidInput
from portal.core.lifecycle import InvoiceState
from portal.core.numbers import read_number
from portal.core.periods import Month
from portal.infra.db import db
from portal.invoicing.models import Invoice, OneOffItem
from portal.invoicing.one_off_items import add_item, amount_of
from portal.organizations.queries import ids_by_slug

REQUIRED = ("reference", "organization", "month", "type", "description", "quantity", "unit_price", "currency")
OPTIONAL = ("service_from", "service_to", "product", "reason", "tax_code")
HEAD = (*REQUIRED, *OPTIONAL)
EXAMPLE = (
    (
        "2026-11-001",
        "acme",
        "2026-11",
        "charge",
        "Migration assistance",
        "4",
        "150.00",
        "USD",
        "",
        "",
        "",
        "T-1001",
        "",
    ),
    (
        *("2026-11-002", "acme", "2026-11", "credit", "Outage", "1", "25", "USD"),
        *("2026-11-03", "2026-11-04", "", "T-1", "exempt"),
    ),
)
MOST_ROWS, MOST_CHARACTERS, LONGEST_REFERENCE, LONGEST_TEXT = 500, 100_000, 80, 200
_NAMESPACE = UUID("5f0c6f5e-0a63-4a0e-9d37-6f2f1f6f3a11")


@dataclass(frozen=True, slots=True)
class Planned:
    """A row that can be added: what the verb takes, and what it comes to in minor units."""

    invoice: Invoice
    kind: str
    description: str
    quantity: Decimal
    unit_amount: Decimal
    amount: int
    reason: str | None
    service_period: tuple[date, date] | None
    product: str | None
    tax_code: str | None
    token: UUID


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: its line, its cells by name, and either a plan, or that it was added before, or why not."""

    line: int
    cells: dict[str, str]
    planned: Planned | None = None
    already: bool = False
    problem: str | None = None


def rows_of(text: str) -> list[Row]:
    """Check every row of a file against the drafts as they are. Stores nothing.

    Raises InvalidInput if it is no such file at all: too large, or without the named columns.
    """
    found = _cells_of(text)
    ids = ids_by_slug({cells["organization"] for _, cells in found})
    drafts = _invoices_of(ids.values())
    # One reference may stand for one item of each organization.
    times = Counter((cells["organization"], cells["reference"]) for _, cells in found)
    added = _added([_token(ids.get(cells["organization"], 0), cells["reference"]) for _, cells in found])
    products, codes = set(product_names()), {"", *tax_codes()}
    rows = []
    for line, cells in found:
        try:
            if times[cells["organization"], cells["reference"]] > 1:
                raise InvalidInput(f"The reference “{cells['reference']}” stands in more than one row.")
            planned = _planned(cells, ids, drafts, products, codes)
        except (InvalidInput, ValueError) as error:
            rows.append(Row(line, cells, problem=error.sentence if isinstance(error, InvalidInput) else str(error)))
            continue
        before = added.get(planned.token)
        if before is None and planned.invoice.state != InvoiceState.DRAFT:
            rows.append(Row(line, cells, problem=f"The invoice of {planned.invoice.month} is no draft any more."))
        elif before is None:
            rows.append(Row(line, cells, planned=planned))
        elif all(getattr(before, name) == getattr(planned, name) for name in ("amount", "description", "tax_code")):
            rows.append(Row(line, cells, already=True))
        else:
            rows.append(Row(line, cells, problem="This reference was used for another item, which stays as it is."))
    return rows


def add_rows(text: str, *, created_by_id: int | None) -> list[Row]:
    """Check a file again and add the rows that are good, in one transaction of the caller's; returns all its rows.

    Idempotent: what was added before is found again. Raises InvalidInput as `rows_of` does, InvalidTransition if a
    draft is finalized at this very moment (then nothing is added).
    """
    rows = rows_of(text)
    plans = [row.planned for row in rows if row.planned]
    # In one order, so that two uploads never wait for each other.
    for planned in sorted(plans, key=lambda each: each.invoice.id):
        add_item(
            planned.invoice.id,
            kind=planned.kind,
            description=planned.description,
            quantity=planned.quantity,
            unit_amount=planned.unit_amount,
            service_period=planned.service_period,
            product=planned.product,
            tax_code=planned.tax_code,
            internal_reason=planned.reason,
            form_token=planned.token,
            created_by_id=created_by_id,
        )
    return rows


def sums_of(rows: Sequence[Row]) -> list[tuple[str, str, int, int]]:
    """By currency and organization: how many rows can be added, and what they come to in minor units."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for planned in (row.planned for row in rows if row.planned):
        key = (planned.invoice.currency, planned.invoice.organization.name)
        count, amount = sums.get(key, (0, 0))
        sums[key] = (count + 1, amount + planned.amount)
    return [(*key, *value) for key, value in sorted(sums.items())]


def _cells_of(text: str) -> list[tuple[int, dict[str, str]]]:
    if len(text) > MOST_CHARACTERS:
        raise InvalidInput(f"A file has at most {MOST_CHARACTERS:,} characters; split it.", field="file")
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    missing = [name for name in REQUIRED if name not in (reader.fieldnames or ())]
    if missing:
        raise InvalidInput(f"The first line names the columns; missing: {', '.join(missing)}.", field="file")
    try:
        found = [
            (reader.line_num, {name: " ".join((cells.get(name) or "").split()) for name in HEAD})
            for cells in reader
            if any(cells.get(name) for name in HEAD)
        ]
    except csv.Error as error:
        raise InvalidInput(f"This is not a CSV file: {error}.", field="file") from None
    if not found:
        raise InvalidInput("The file has no rows below its first line.", field="file")
    if len(found) > MOST_ROWS:
        raise InvalidInput(f"A file has at most {MOST_ROWS} rows, this one {len(found)}; split it.", field="file")
    return found


def _planned(
    cells: dict[str, str],
    ids: dict[str, int],
    invoices: dict[tuple[int, Month], Invoice],
    products: set[str],
    codes: set[str],
) -> Planned:
    """What a row asks for. Raises InvalidInput, ValueError with a sentence."""
    if not 0 < len(cells["reference"]) <= LONGEST_REFERENCE:
        raise InvalidInput(f"A reference has 1 to {LONGEST_REFERENCE} characters.")
    organization_id = ids.get(cells["organization"])
    if organization_id is None:
        raise InvalidInput(f"There is no active organization “{cells['organization'][:40]}”.")
    month = Month.parse(cells["month"])
    invoice = invoices.get((organization_id, month))
    if invoice is None:
        raise InvalidInput(f"The organization has no draft of {month}.")
    if cells["currency"] != invoice.currency:
        raise InvalidInput(f"The organization is billed in {invoice.currency}, not “{cells['currency'][:10]}”.")
    if cells["type"] not in ("charge", "credit"):
        raise InvalidInput("The type is charge or credit.")
    if not 0 < len(cells["description"]) <= LONGEST_TEXT:
        raise InvalidInput(f"A description has 1 to {LONGEST_TEXT} characters.")
    if cells["type"] == "credit" and not cells["reason"]:
        raise InvalidInput("A credit needs a reason, for the audit log.")
    if cells["product"] and cells["product"] not in products:
        raise InvalidInput(f"There is no product “{cells['product'][:40]}”.")
    if cells["tax_code"] not in codes:
        raise InvalidInput(f"There is no tax code “{cells['tax_code'][:40]}”.")
    quantity, unit_amount = read_number(cells["quantity"]), read_number(cells["unit_price"])
    return Planned(
        invoice=invoice,
        kind=cells["type"],
        description=cells["description"],
        quantity=quantity,
        unit_amount=unit_amount,
        amount=amount_of(cells["type"], quantity, unit_amount, invoice.currency),
        reason=cells["reason"] or None,
        service_period=_period(cells["service_from"], cells["service_to"]),
        product=cells["product"] or None,
        tax_code=cells["tax_code"] or None,
        token=_token(organization_id, cells["reference"]),
    )


def _period(first: str, last: str) -> tuple[date, date] | None:
    if not first and not last:
        return None
    try:
        period = date.fromisoformat(first), date.fromisoformat(last)
    except ValueError:
        raise InvalidInput("A service period has two days, written like 2026-11-03.") from None
    if period[0] > period[1]:
        raise InvalidInput("The service period ends on its first day or later.")
    return period


def _token(organization_id: int, reference: str) -> UUID:
    return uuid5(_NAMESPACE, f"{organization_id} {reference}")


def _invoices_of(organization_ids: Iterable[int]) -> dict[tuple[int, Month], Invoice]:
    query = (
        select(Invoice)
        .where(Invoice.organization_id.in_(set(organization_ids)), Invoice.state != InvoiceState.VOID)
        .options(joinedload(Invoice.organization))
    )
    return {(each.organization_id, each.month): each for each in db.session.scalars(query)}


def _added(tokens: Sequence[UUID]) -> dict[UUID, OneOffItem]:
    query = select(OneOffItem).where(OneOffItem.form_token.in_(tokens))
    return {each.form_token: each for each in db.session.scalars(query)}
