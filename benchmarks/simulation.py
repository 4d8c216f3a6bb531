"""What a price change would have brought: 3 final months of 10,000 organizations, rated again by the real job.

The months are made final by real bill runs of two workers first. `seconds` is the whole simulation as a worker does it;
`ratio` is a bare rating of the same quantities in memory over that. The sums of 20 organizations chosen by chance have
to be those of plain arithmetic on their usage.
"""

import argparse
import os
import random
import time
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from sqlalchemy import select, text

from benchmarks._big_month import act, prepare, rows, run_month
from portal import create_app
from portal.catalog.models import Price
from portal.config import settings_from_env
from portal.core.periods import Month
from portal.core.pricing import charge, terms_from_json
from portal.infra import outbox
from portal.infra.db import db, transaction
from portal.simulating.models import PriceSimulation
from portal.simulating.steering import start_simulation

MONTHS = [Month(2026, 8), Month(2026, 9), Month(2026, 10)]
# The first 1,000 of a month at 0.004, the next 2,000 at 0.003, the rest at 0.0015.
TIERS = [(Decimal(1000), Decimal("0.004")), (Decimal(3000), Decimal("0.003")), (None, Decimal("0.0015"))]
TERMS = {
    "model": "graduated",
    "tiers": [{"up_to": None if up_to is None else str(up_to), "unit_amount": str(each)} for up_to, each in TIERS],
}
CHECKED = 20
QUANTITIES = """
    SELECT organization_id, CAST(date_trunc('month', day) AS date), sum(quantity) FROM usage_daily
    WHERE meter_id = (SELECT id FROM meters WHERE code = 'meter_0') GROUP BY 1, 2
"""
RESULTS = "SELECT count(*), count(*) FILTER (WHERE difference <> 0) FROM price_simulation_results"
RESULTS = "SELECT count(*), count(*) FILTER (WHERE difference <> 0) FROM price_simulation_results"


def main() -> None:
    """Make the months final, simulate, check, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--organizations", type=int, default=10_000, metavar="N", help="10,000 if not said")
    count = parser.parse_args().organizations
    app = create_app(replace(settings_from_env(os.environ), bill_run_hold_seconds=0))
    with app.app_context():
        act()
        prepare(count, *MONTHS)
        for month in MONTHS:
            run_month(app, month, now=month.end + timedelta(days=4))
        seconds = _simulate()
        quantities = rows(QUANTITIES)
        bare = _bare(quantities)
        _check(quantities)
        [(invoices, changed)] = rows(RESULTS)
    print(
        f"RESULT simulation ratio={bare / seconds:.3f} rate={invoices / seconds:.0f} seconds={seconds:.1f}"
        f" invoices={invoices} changed={changed}"
    )


def _simulate() -> float:
    with transaction() as session:
        price = session.scalars(select(Price).where(Price.name == "Meter 0")).one()
        start_simulation(
            price,
            terms=TERMS,
            valid_from=MONTHS[-1].plus(2).first_day,
            note=None,
            months=MONTHS,
            organization_ids=None,
            by="Ada",
            now=datetime.now(UTC),
        )
    [(job,)] = rows("SELECT id FROM outbox WHERE kind = 'simulate_price'")
    started = time.perf_counter()
    outbox.run(job)
    seconds = time.perf_counter() - started
    state = db.session.scalars(select(PriceSimulation.state)).one()
    if state != "done":
        raise SystemExit(f"The simulation is {state}.")
    return seconds


def _bare(quantities: list[tuple]) -> float:
    """Seconds of nothing but the arithmetic of the engine."""
    terms = terms_from_json(TERMS)
    started = time.perf_counter()
    for _, _, quantity in quantities:
        charge(terms, quantity)
    return time.perf_counter() - started


def _check(quantities: list[tuple]) -> None:
    """The sums of some organizations, by hand."""
    expected: dict[int, int] = defaultdict(int)
    for organization_id, _, quantity in quantities:
        expected[organization_id] += _cents(quantity)
    with transaction() as session:
        found = session.execute(text("SELECT organization_id, sum(new) FROM price_simulation_results GROUP BY 1"))
        simulated = {row[0]: row[1] for row in found}
    for organization_id in random.Random(1).sample(sorted(expected), CHECKED):
        if simulated[organization_id] != expected[organization_id]:
            raise SystemExit(
                f"Organization {organization_id}: {simulated[organization_id]}, by hand {expected[organization_id]}."
            )


def _cents(quantity: Decimal) -> int:
    amount, below = Decimal(0), Decimal(0)
    for up_to, unit_amount in TIERS:
        amount += max(min(quantity, up_to if up_to is not None else quantity) - below, Decimal(0)) * unit_amount
        below = up_to or below
    return int((amount * 100).to_integral_value(ROUND_HALF_UP))


if __name__ == "__main__":
    main()
