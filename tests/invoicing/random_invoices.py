"""Invoices out of a random number, as the portal would have frozen them; made in memory, no server is asked."""

import random
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

from portal.catalog.pricebook import ListedPrice, Pricebook, Version
from portal.core.commitments import CreditGrant
from portal.core.exact import EXACT
from portal.core.keys import content_hash
from portal.core.lifecycle import InvoiceState
from portal.core.money import LARGEST_AMOUNT, exponent_of, round_to_minor
from portal.core.periods import Month
from portal.core.pricing import terms_from_json
from portal.core.quantities import Aggregation
from portal.core.statement import Line, LineKind, Reduction, Statement, compose, tax_facts
from portal.core.taxes import TaxRate, TaxRounding, TaxTerms, TaxTreatment
from portal.invoicing.documents import Seller, document_of
from portal.invoicing.models import Invoice, InvoiceItem
from portal.invoicing.usage_lines import usage_lines
from portal.organizations.models import Organization
from portal.usage.queries import SeriesQuantity

MONTH = Month(2026, 10)
SELLER = Seller("Example Cloud, Inc.", "1 Example Street, Springfield", "XX123456789")
PRODUCTS = ("Compute", "Network", "Storage", "GPUs & more")
UNITS = ("second", "GB", "GB-month", "request")
NAMES = ("Machine", "Egress · Europe", "Volume snapshots, kept", "*_`#bold`_*", "Größe “XL” → ½", "$x = #eval(1)")
CUT = date(2026, 10, 11)
TIERS = [
    {"up_to": "100", "unit_amount": "0.0312"},
    {"up_to": "5000", "unit_amount": "0.0275", "flat_amount": "4.5"},
    {"up_to": None, "unit_amount": "0.019"},
]
TERMS: tuple[dict[str, Any], ...] = (
    {"model": "per_unit", "unit_amount": "0.0000022565"},
    {"model": "per_unit", "unit_amount": "1.5", "free_quantity": "10", "discount_percent": "12.5"},
    {"model": "per_unit", "unit_amount": "0.02", "minimum": "5", "maximum": "900"},
    {"model": "graduated", "tiers": TIERS, "free_quantity": "16"},
    {"model": "graduated", "tiers": TIERS, "zero_usage_charges_first_flat": True, "minimum": "3"},
    {"model": "volume", "tiers": TIERS},
    {"model": "package", "unit_amount": "3", "package_size": "100", "free_quantity": "10"},
    {"model": "percentage", "rate_percent": "2.9", "fee_per_event": "0.3"},
    {
        "model": "graduated_percentage",
        "tiers": [{"up_to": "1000", "rate_percent": "2.9"}, {"up_to": None, "rate_percent": "2.4"}],
    },
)


def random_invoice(seed: int, *, most_lines: int = 40) -> Invoice:
    """A final invoice of up to so many usage lines, with everything that an invoice can have; the same for a seed."""
    dice = random.Random(seed)
    while True:
        statement = _statement(dice, most_lines)
        if not statement.is_too_large:
            return _invoice(seed, statement)
        most_lines = max(most_lines // 2, 1)


def _statement(dice: random.Random, most_lines: int) -> Statement:
    currency = dice.choice(("USD", "USD", "EUR", "JPY", "KWD"))
    count = dice.randint(1, most_lines)
    prices = [_price(dice, number) for number in range(1, count + 1)]
    used = [series for price in prices for series in _series(dice, price)]
    lines, unpriced = usage_lines(used, Pricebook(prices, {}), MONTH, currency)
    assert not unpriced
    lines += [_one_off(dice, number, currency) for number in range(dice.choice((0, 0, 1, 3)))]
    return compose(
        lines,
        currency=currency,
        balance=dice.choice((0, 0, 7, 10_000)),
        reductions=_reductions(dice),
        tax=_tax(dice),
        prepaid=[CreditGrant(1, dice.randint(1, 5_000))] if dice.random() < 0.3 else [],
    )


def _price(dice: random.Random, number: int) -> ListedPrice:
    documents = [dice.choice(TERMS) for _ in range(dice.choice((1, 1, 1, 2)))]
    days = (date(2026, 1, 1), CUT)
    versions = tuple(
        Version(number * 10 + place, day, terms_from_json(document), document)
        for place, (day, document) in enumerate(zip(days, documents, strict=False))
    )
    product = dice.choice(PRODUCTS)
    return ListedPrice(
        id=number,
        # Some prices share their name.
        name=f"{dice.choice(NAMES)} {dice.randint(1, 9)}",
        code=f"meter-{number}",
        unit=dice.choice(UNITS),
        meter_id=number,
        plan_id=None,
        product=product,
        own=False,
        for_plan_id=None,
        match=MappingProxyType({}),
        archived_on=None,
        off_sale=(),
        versions=versions,
    )


def _series(dice: random.Random, price: ListedPrice) -> list[SeriesQuantity]:
    starts = [MONTH.first_day, *([CUT] if len(price.versions) > 1 else [])]
    if len(starts) > 1 and dice.random() < 0.3:
        starts.remove(dice.choice(starts))
    return [
        SeriesQuantity(
            series_id=price.id,
            meter_id=price.id,
            meter_code=price.code,
            meter_name=price.name,
            aggregation=Aggregation.SUM,
            product=price.product,
            unit=price.unit,
            dimensions={},
            segment_start=start,
            quantity=_quantity(dice),
            events=dice.randint(0, 60),
        )
        for start in starts
    ]


def _quantity(dice: random.Random) -> Decimal:
    digits = dice.randint(0, 10 ** dice.randint(1, 6))
    number = Decimal(digits).scaleb(-dice.choice((0, 0, 2, 6)), EXACT)
    return -number if dice.random() < 0.05 else number


def _one_off(dice: random.Random, number: int, currency: str) -> Line:
    credit = dice.random() < 0.4
    quantity, each = Decimal(dice.randint(1, 300)).scaleb(-2), Decimal(dice.randint(0, 100_000)).scaleb(-3)
    unit_amount = -each if credit else each
    return Line(
        kind=LineKind.CREDIT if credit else LineKind.ONE_OFF,
        description=f"{'Goodwill' if credit else 'Migration'} {number}",
        quantity=quantity,
        unit="",
        unit_amount=unit_amount,
        unrounded=quantity * unit_amount,
        amount=round_to_minor(quantity * unit_amount, currency),
        period_start=MONTH.first_day,
        period_end=MONTH.last_day,
        derivation={"one_off_item": str(UUID(int=number))},
    )


def _reductions(dice: random.Random) -> list[Reduction]:
    found = []
    for number in range(dice.choice((0, 0, 1, 2))):
        products = dice.choice(([], ["Compute"], ["Network", "Storage"]))
        percent = Decimal(dice.choice(("10", "33.3", "100"))) if dice.random() < 0.5 else None
        found.append(
            Reduction(
                kind=LineKind.COUPON,
                description=f"Coupon {number}",
                percent=percent,
                fixed=None if percent is not None else dice.randint(1, 4_000),
                products=frozenset(products),
                derivation={"coupon": f"c{number}", "products": products},
            )
        )
    if dice.random() < 0.3:
        fixed = dice.randint(1, 5_000)
        references = {"credit_grant_id": 5}
        found.append(Reduction(LineKind.PROMOTIONAL, "Welcome credit", fixed=fixed, references=references))
    return found


def _tax(dice: random.Random) -> TaxTerms:
    rates = (TaxRate(Decimal("19")), TaxRate(Decimal("7.5"), product="Network"), TaxRate(Decimal(0), product="Storage"))
    return TaxTerms(
        treatment=dice.choice(list(TaxTreatment)),
        rates=rates[: dice.randint(0, 3)],
        rounding=dice.choice(list(TaxRounding)),
        inclusive=dice.random() < 0.4,
        day=MONTH.last_day,
    )


def _invoice(seed: int, statement: Statement) -> Invoice:
    assert abs(statement.total) <= LARGEST_AMOUNT
    assert exponent_of(statement.currency) in (0, 2, 3)
    invoice = Invoice(
        id=seed,
        public_id=UUID(int=seed),
        organization=Organization(
            slug="acme",
            name="Acme",
            legal_name="Acme GmbH & Co. “#KG”",
            address="Straße 1\n12345 Köln",
            tax_id="DE999999999",
            purchase_order="PO-77" if seed % 3 == 0 else None,
            currency=statement.currency,
        ),
        state=InvoiceState.FINALIZED,
        currency=statement.currency,
        period_start=MONTH.first_day,
        period_end=MONTH.next.first_day,
        number=f"EX-2026-{seed:05d}",
        invoiced_at=datetime(2026, 11, 4, 9, 30, tzinfo=UTC),
        due_date=date(2026, 11, 18),
        total=statement.total,
        tax=statement.tax,
        tax_details=tax_facts(statement),
        credits_applied=statement.credits_applied,
        balance_applied=statement.balance_applied,
        moved=0,
        amount_due=statement.amount_due,
    )
    invoice.document = document_of(
        invoice, [_item(seed, place, line) for place, line in enumerate(statement.lines)], SELLER
    )
    invoice.content_sha256 = content_hash(invoice.document)
    return invoice


def _item(seed: int, place: int, line: Line) -> InvoiceItem:
    return InvoiceItem(
        public_id=UUID(int=seed * 1000 + place),
        position=place,
        kind=line.kind.value,
        description=line.description,
        quantity=line.quantity,
        unit=line.unit,
        unit_amount=line.unit_amount,
        amount=line.amount,
        discount=line.discount,
        credited=line.credited,
        tax=line.tax,
        period_start=line.period_start,
        period_end=line.period_end,
        derivation=line.kept(),
    )
