"""Milliseconds per PDF of an invoice with 25 and with 200 lines, from its frozen document to the bytes of the file.

Every PDF is of another invoice, so that nothing is found made already. No server is asked. `ratio` is the time in which
the same machine hashes 1 MB ten times over the time of one PDF of 25 lines.
"""

import statistics
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.table import Table

from portal.core.keys import content_hash
from portal.core.lifecycle import InvoiceState
from portal.invoicing.documents import Seller
from portal.invoicing.exporting.files import Paper, pdf_file
from portal.invoicing.models import Invoice

SIZES = (25, 200)
ROUNDS = 30
PRODUCTS = ("Compute", "Network", "Storage", "GPUs")
NOW = datetime(2026, 11, 22, tzinfo=UTC)
PAPER = Paper(Seller("Example Cloud, Inc.", "1 Example Street, Springfield"), "https://portal.example")
YARDSTICK = bytes(1_000_000)


def main() -> None:
    """Measure, print."""
    pdf_file(_invoice(1, 1), PAPER, now=NOW).make()
    times: dict[int, list[float]] = {size: [] for size in SIZES}
    sizes: dict[int, int] = {}
    yardstick = []
    for number in range(ROUNDS):
        yardstick.append(_milliseconds(lambda: [sha256(YARDSTICK).digest() for _ in range(10)]))
        for size in SIZES:
            invoice = _invoice(number, size)
            times[size].append(_milliseconds(lambda invoice=invoice: _make(invoice, sizes)))
    table = Table("lines", "p50 ms", "p95 ms", "bytes")
    for size in SIZES:
        p95 = statistics.quantiles(times[size], n=20)[-1]
        table.add_row(str(size), f"{statistics.median(times[size]):.1f}", f"{p95:.1f}", f"{sizes[size]:,}")
    Console().print(table)
    small, large = (statistics.median(times[size]) for size in SIZES)
    ratio = statistics.median(yardstick) / small
    print(f"RESULT pdf ratio={ratio:.3f} rate={1000 / small:.0f} ms_25={small:.1f} ms_200={large:.1f}")


def _make(invoice: Invoice, sizes: dict[int, int]) -> None:
    body = pdf_file(invoice, PAPER, now=NOW).make()
    sizes[len(invoice.document["lines"])] = len(body)


def _milliseconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return (time.perf_counter() - started) * 1000


def _invoice(number: int, lines: int) -> Invoice:
    document: dict[str, Any] = {
        "number": f"EX-2026-{number:05d}",
        "currency": "USD",
        "invoiced_on": "2026-11-04",
        "due_date": "2026-11-18",
        "seller": PAPER.seller.facts(),
        "buyer": {"name": f"Customer {number}", "address": "1 Road\nTown", "tax_id": None, "purchase_order": None},
        "lines": [_line(number, place) for place in range(lines)],
        "tax": None,
    }
    total = sum(line["amount"] for line in document["lines"])
    return Invoice(
        public_id=UUID(int=number),
        state=InvoiceState.FINALIZED,
        currency="USD",
        period_start=date(2026, 10, 1),
        period_end=date(2026, 11, 1),
        number=document["number"],
        total=total,
        credits_applied=0,
        balance_applied=0,
        amount_due=total,
        document=document,
        content_sha256=content_hash(document),
    )


def _line(number: int, place: int) -> dict[str, Any]:
    return {
        "kind": "usage",
        "description": f"shared-cpu-{place % 8 + 1}x · region {place % 11}, {number}",
        "quantity": f"{2_678_400 + number * 1_000 + place}.25",
        "unit": "second",
        "unit_amount": "0.0000011574",
        "amount": 310 + number + place,
        "period": ["2026-10-01", "2026-10-31"],
        "derivation": {"product": PRODUCTS[place % len(PRODUCTS)]},
    }


if __name__ == "__main__":
    main()
