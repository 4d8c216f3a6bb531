"""Shadow mode: what an existing set-up that pushes usage to Stripe billed for a month, beside what we would bill.

Nothing is written or sent. Invoices of one customer are added up; line by line the same words and amount are the same
line, then the same amount under other words; what is left differs. Amounts are in Stripe's units.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from portal.core.errors import InvalidInput
from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month
from portal.infra.db import transaction
from portal.invoicing.drafting import draft_of
from portal.invoicing.queries import invoice_for_month, items_of
from portal.organizations.models import Organization
from portal.organizations.queries import list_organizations
from portal.payments import gateway
from portal.payments.comparing import uuid_in
from portal.payments.journal import read_now
from portal.payments.stripe_units import stripe_text, to_stripe

HEAD = ("Organization", "What", "Description", "Ours", "Theirs", "Currency")
Written = tuple[str, int]


@dataclass(slots=True)
class Bill:
    """What one side asks of one customer for the month: the total, and lines of words and amount."""

    currency: str
    total: int = 0
    lines: Counter[Written] = field(default_factory=Counter)

    def add(self, description: str, amount: int) -> None:
        """One more line; lines of nothing are left out."""
        if amount:
            self.lines[description.strip(), amount] += 1


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not the same, for whom; None on the side that has nothing of it."""

    who: str
    what: str
    description: str
    ours: int | None
    theirs: int | None
    currency: str

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of a table or file."""
        ours, theirs = (
            "" if amount is None else stripe_text(amount, self.currency).partition(" ")[0]
            for amount in (self.ours, self.theirs)
        )
        return self.who, self.what, self.description, ours, theirs, self.currency


@dataclass(slots=True)
class Comparison:
    """The result: how many customers were compared, how many lines only had other words, and what differs."""

    customers: int = 0
    other_words: int = 0
    differences: list[Difference] = field(default_factory=list)


def read_export(text: str) -> list[dict[str, Any]]:
    """The invoices of an exported file: a JSON list of Stripe's objects, or its own list object with `data`.

    Raises InvalidInput, which names the invoice, for what is none.
    """
    try:
        # An amount with a decimal point is no amount of Stripe's, and stays visible as text.
        found = json.loads(text, parse_float=str)
    except ValueError:
        raise InvalidInput("The file is not JSON.", field="file") from None
    documents = found.get("data") if isinstance(found, dict) else found
    if not isinstance(documents, list):
        raise InvalidInput("The file holds no list of invoices.", field="file")
    for number, document in enumerate(documents, 1):
        _check(document, number)
    return documents


def read_from_stripe(month: Month) -> Iterator[dict[str, Any]]:
    """The invoices that were made at Stripe in the month after, with all their lines, without those that are ours."""
    after: str | None = None
    more = True
    while more:
        page, more = read_now(partial(gateway.page_of_invoices, month.end, month.next.end, after))
        for document in page:
            after = document["id"]
            if uuid_in(document, "invoice_id") is not None:
                continue
            if document["lines"]["has_more"]:
                document["lines"] = {"data": read_now(partial(gateway.read_lines, document["id"])), "has_more": False}
            yield document


def compare_month(month: Month, documents: Iterable[Mapping[str, Any]]) -> Comparison:
    """Compare every organization's month with these invoices, to the cent. Reads only."""
    theirs, names = _theirs_by_customer(documents)
    result = Comparison()
    after = ""
    while True:
        with transaction():
            organizations = list_organizations(after=after, limit=100)
            for organization in organizations:
                known = [organization.stripe_customer_id, str(organization.public_id)]
                _compare(result, organization.name, _ours(organization, month), _together(theirs, known))
        if not organizations:
            break
        after = f"{organizations[-1].name}|{organizations[-1].id}"
    for customer, bills in theirs.items():
        for bill in bills.values():
            _compare(result, f"{names[customer]} (no organization here)", None, {bill.currency: bill})
    result.differences.sort(key=lambda each: (each.who, each.what != "total", each.description))
    return result


def _theirs_by_customer(
    documents: Iterable[Mapping[str, Any]],
) -> tuple[dict[str, dict[str, Bill]], dict[str, str]]:
    """By our mark on the customer, or else by the customer's id: a bill for every currency; and their names."""
    bills: dict[str, dict[str, Bill]] = {}
    names: dict[str, str] = {}
    for document in documents:
        if document["status"] == "void":
            continue
        customer = document["customer"]
        expanded: Mapping[str, Any] = customer if isinstance(customer, Mapping) else {"id": customer}
        key = str(uuid_in(expanded, "organization_id") or expanded["id"])
        names[key] = document.get("customer_name") or expanded["id"]
        currency = document["currency"].upper()
        bill = bills.setdefault(key, {}).setdefault(currency, Bill(currency))
        bill.total += document["total"]
        for line in document["lines"]["data"]:
            bill.add(line.get("description") or "", line["amount"])
        for off in document.get("total_discount_amounts") or ():
            bill.add("Discount", -off["amount"])
        for tax in document.get("total_taxes") or document.get("total_tax_amounts") or ():
            if tax.get("tax_behavior") == "exclusive" or tax.get("inclusive") is False:
                bill.add("Tax", tax["amount"])
    return bills, names


def _together(theirs: dict[str, dict[str, Bill]], keys: Sequence[str | None]) -> dict[str, Bill]:
    """Take out what is under any of these keys, added up."""
    found: dict[str, Bill] = {}
    for key in keys:
        for currency, bill in theirs.pop(key or "", {}).items():
            whole = found.setdefault(currency, Bill(currency))
            whole.total += bill.total
            whole.lines += bill.lines
    return found


def _ours(organization: Organization, month: Month) -> Bill | None:
    """What we bill: the final invoice, or the draft as it stands; None if there is nothing to bill."""
    currency = organization.currency
    invoice = invoice_for_month(organization.id, month)
    if invoice is not None and invoice.state != InvoiceState.DRAFT:
        lines = [(item.description, item.amount) for item in items_of(invoice.id)]
        total = invoice.total
    else:
        statement = draft_of(organization, month).statement
        lines = [(line.description, line.amount) for line in statement.lines]
        total = statement.total
    bill = Bill(currency, to_stripe(total, currency))
    for description, amount in lines:
        bill.add(description, to_stripe(amount, currency))
    return bill if bill.total or bill.lines else None


def _compare(result: Comparison, who: str, ours: Bill | None, theirs: Mapping[str, Bill]) -> None:
    mine = {} if ours is None else {ours.currency: ours}
    currencies = sorted(mine.keys() | theirs.keys())
    result.customers += bool(currencies)
    for currency in currencies:
        nothing = Bill(currency)
        found, reworded = compare_bills(who, mine.get(currency, nothing), theirs.get(currency, nothing))
        result.differences += found
        result.other_words += reworded


def compare_bills(who: str, ours: Bill, theirs: Bill) -> tuple[list[Difference], int]:
    """What differs between two bills of one currency, and how many lines are the same but for their words."""
    found = []
    if ours.total != theirs.total:
        found.append(Difference(who, "total", "", ours.total, theirs.total, ours.currency))
    mine, yours = sorted((ours.lines - theirs.lines).elements()), sorted((theirs.lines - ours.lines).elements())
    reworded = _pair(mine, yours, part=1)
    changed = _pair(mine, yours, part=0)
    found += [
        Difference(who, "line", description, amount, other, ours.currency)
        for (description, amount), (_, other) in changed
    ]
    found += [Difference(who, "line", description, amount, None, ours.currency) for description, amount in mine]
    found += [Difference(who, "line", description, None, amount, ours.currency) for description, amount in yours]
    return found, len(reworded)


def _pair(mine: list[Written], yours: list[Written], *, part: int) -> list[tuple[Written, Written]]:
    """Take out the lines that have the same words (part 0) or the same amount (part 1), two by two."""
    pairs = []
    for line in list(mine):
        other = next((each for each in yours if each[part] == line[part]), None)
        if other is not None:
            mine.remove(line)
            yours.remove(other)
            pairs.append((line, other))
    return pairs


def _check(document: Any, number: int) -> None:
    """Raise InvalidInput unless this is an invoice with its customer, and whole amounts."""
    name = document.get("id") if isinstance(document, dict) else None
    if not isinstance(name, str):
        raise InvalidInput(f"Entry {number} of the file is not an invoice of Stripe's.", field="file")
    lines = (document.get("lines") or {}).get("data")
    if not isinstance(lines, list) or (document.get("lines") or {}).get("has_more"):
        raise InvalidInput(f"{name} does not hold all its lines; export them too.", field="file")
    for needed in ("customer", "currency", "status"):
        if not document.get(needed):
            raise InvalidInput(f"{name} has no {needed}.", field="file")
    for part in (document | {"amount": document.get("total")}, *lines):
        if type(part.get("amount")) is not int:
            raise InvalidInput(f"{name} has an amount that is not whole: {part.get('amount')}.", field="file")
