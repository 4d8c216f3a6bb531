"""The pure rating of one organization's month: from prepared quantities to a composed statement, in CPU time.

No server is asked. `ratio` is the time that the same multiplications and additions take as bare decimals in the exact
context, over the time of rating; `linearity` is the time per line at 2,000 lines over that at 50. Beside them stands
the whole pure part of a draft: series pooled by price, lines with their derivations, statement and fingerprint.
"""

import time
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal, localcontext
from itertools import cycle, islice
from types import MappingProxyType

from rich.console import Console
from rich.table import Table

from portal.catalog.pricebook import ListedPrice, Pricebook, Version
from portal.core.exact import EXACT, ZERO
from portal.core.money import round_to_minor
from portal.core.periods import Month
from portal.core.pricing import Terms, charge, terms_from_json, terms_to_json
from portal.core.statement import Line, LineKind, compose
from portal.invoicing.usage_lines import usage_lines
from portal.usage.queries import SeriesQuantity

SIZES = (50, 500, 2_000)
ROUNDS = 20
CURRENCY = "USD"
MONTH = Month(2026, 10)
SINCE = date(2026, 1, 1)
TIERS = [
    {"up_to": "1000", "unit_amount": "0.0312"},
    {"up_to": "50000", "unit_amount": "0.0275", "flat_amount": "4.5"},
    {"up_to": None, "unit_amount": "0.019"},
]
RATES = [{"up_to": "10000", "rate_percent": "2.9"}, {"up_to": None, "rate_percent": "2.4"}]
PER_UNIT = {"model": "per_unit", "unit_amount": "0.0000022565"}
PRICES = [
    PER_UNIT,
    {**PER_UNIT, "free_quantity": "100000"},
    {**PER_UNIT, "discount_percent": "12.5", "minimum": "5", "maximum": "900"},
    {"model": "graduated", "tiers": TIERS},
    {"model": "graduated", "tiers": TIERS, "free_quantity": "160"},
    {"model": "volume", "tiers": TIERS},
    {"model": "package", "unit_amount": "3", "package_size": "1000", "free_quantity": "100"},
    {"model": "percentage", "rate_percent": "2.9", "fee_per_event": "0.3"},
    {"model": "graduated_percentage", "tiers": RATES},
    {"model": "flat_fee", "unit_amount": "29"},
]
QUANTITIES = ("2678400.125", "160.5", "73212.000000000001", "999999999.5", "12345.678901234567")
EVENTS = 44
Priced = tuple[Terms, Decimal]


def main() -> None:
    """Measure, print."""
    work = {(what, size): prepare(_month(size)) for size in SIZES for what, prepare in WORK.items()}
    best = {what: dict.fromkeys(SIZES, float("inf")) for what in WORK}
    for _ in range(ROUNDS):
        for (what, size), run in work.items():
            best[what][size] = min(best[what][size], _milliseconds(run, SIZES[-1] // size))
    table = Table("lines", *(f"{what}, ms" for what in WORK), "rating, µs a line")
    for size in SIZES:
        row = [f"{best[what][size]:.3f}" for what in WORK]
        table.add_row(f"{size:,}", *row, f"{best['rating'][size] / size * 1000:.1f}")
    Console().print(table)
    smallest, largest = SIZES[0], SIZES[-1]
    rating = best["rating"]
    linearity = (rating[largest] / largest) / (rating[smallest] / smallest)
    print(
        f"RESULT rating ratio={best['bare arithmetic'][smallest] / rating[smallest]:.3f}"
        f" rate={1000 / rating[smallest]:.0f} month_ms={rating[smallest]:.3f} linearity={linearity:.3f}"
        f" draft_ms={best['whole draft'][smallest]:.3f}"
    )


def _month(size: int) -> list[Priced]:
    terms = [terms_from_json(document) for document in PRICES]
    quantities = [Decimal(text) for text in QUANTITIES]
    return list(islice(zip(cycle(terms), (each for each in cycle(quantities) for _ in terms), strict=False), size))


def _milliseconds(run: Callable[[], object], times: int) -> float:
    """CPU time of one run, as the mean of so many."""
    started = time.process_time_ns()
    for _ in range(times):
        run()
    return (time.process_time_ns() - started) / times / 1e6


def _rating(month: Sequence[Priced]) -> Callable[[], object]:
    return lambda: compose([_line(terms, quantity) for terms, quantity in month], currency=CURRENCY, balance=1000)


def _line(terms: Terms, quantity: Decimal) -> Line:
    result = charge(terms, quantity, events=EVENTS)
    return Line(
        kind=LineKind.USAGE,
        description="Usage",
        quantity=quantity,
        unit="unit",
        unit_amount=None,
        unrounded=result.amount,
        amount=round_to_minor(result.amount, CURRENCY),
        period_start=MONTH.first_day,
        period_end=MONTH.last_day,
    )


def _draft(month: Sequence[Priced]) -> Callable[[], object]:
    """The same prices and quantities, through the price list and with everything that explains a line."""
    prices = [_listed(number, terms) for number, (terms, _) in enumerate(month, 1)]
    pricebook = Pricebook(prices, {})
    used = [_series(number, quantity) for number, (_, quantity) in enumerate(month, 1)]

    def run() -> str:
        lines, unpriced = usage_lines(used, pricebook, MONTH, CURRENCY)
        assert not unpriced
        return compose(lines, currency=CURRENCY, balance=1000).fingerprint()

    return run


def _listed(number: int, terms: Terms) -> ListedPrice:
    return ListedPrice(
        id=number,
        name="Usage",
        code="usage",
        unit="unit",
        meter_id=number,
        plan_id=None,
        product="Compute",
        own=False,
        for_plan_id=None,
        match=MappingProxyType({}),
        archived_on=None,
        off_sale=(),
        versions=(Version(number, SINCE, terms, terms_to_json(terms)),),
    )


def _series(number: int, quantity: Decimal) -> SeriesQuantity:
    return SeriesQuantity(
        series_id=number,
        meter_id=number,
        meter_code="usage",
        meter_name="Usage",
        product="Compute",
        unit="unit",
        dimensions={},
        segment_start=MONTH.first_day,
        quantity=quantity,
        events=EVENTS,
    )


def _bare(month: Sequence[Priced]) -> Callable[[], object]:
    """As many multiplications and additions as the steps of the month have, on the same numbers, and nothing else."""
    steps = [step for terms, quantity in month for step in charge(terms, quantity, events=EVENTS).steps]
    numbers = [(step.quantity, step.unit_amount, step.flat_amount) for step in steps]

    def run() -> Decimal:
        total = ZERO
        with localcontext(EXACT):
            for quantity, unit_amount, flat_amount in numbers:
                total += quantity * unit_amount + flat_amount
        return total

    return run


WORK = {"rating": _rating, "whole draft": _draft, "bare arithmetic": _bare}

if __name__ == "__main__":
    main()
