"""Simulated sums are those of the rating engine over what final invoices have frozen, and nothing else is written."""

import random
from collections.abc import Iterator
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from rq.timeouts import JobTimeoutException

from portal.catalog.models import Meter, Price
from portal.core.errors import InvalidInput, NotFound
from portal.core.periods import Month
from portal.infra import outbox
from portal.infra.db import db, transaction
from portal.invoicing.voiding import void_invoice
from portal.simulating import jobs
from portal.simulating.models import PriceSimulation
from portal.simulating.queries import distribution_of, largest_of, simulation_of, summary_of
from portal.simulating.steering import cancel_simulation, start_simulation
from tests.factories import (
    MONTH,
    NOW,
    finalize_now,
    make_draft,
    make_meter,
    make_organization,
    make_plan,
    make_price,
    sql,
    use,
)

# The first 1,000 are free, then half a cent, above 5,000 a third of one; never less than a dollar.
GRADUATED = {
    "model": "graduated",
    "tiers": [
        {"up_to": 1000, "unit_amount": "0"},
        {"up_to": 5000, "unit_amount": "0.005"},
        {"unit_amount": "0.0033"},
    ],
    "minimum": "1",
}
# Its own rows, and the record of who asked for it.
WRITTEN = {"price_simulations", "price_simulation_results", "outbox", "audit_entries"}
EARLIER = MONTH.previous


def by_hand(quantity: Decimal) -> int:
    """The same price, written out: in cents."""
    middle = max(min(quantity, Decimal(5000)) - 1000, Decimal(0)) * Decimal("0.005")
    dollars = max(middle + max(quantity - 5000, Decimal(0)) * Decimal("0.0033"), Decimal(1))
    return int((dollars * 100).quantize(Decimal(1), ROUND_HALF_UP))


def contents(connection: psycopg.Connection) -> dict[str, tuple[int, str]]:
    """How many rows every other table has, and a digest of them; read past the policies."""
    tables = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
    ).fetchall()
    found = {}
    with connection.transaction():
        connection.execute("SET LOCAL ROLE portal_system")
        for (table,) in tables:
            readable = connection.execute("SELECT has_table_privilege(%s, 'SELECT')", (table,)).fetchone()
            if table not in WRITTEN and readable == (True,):
                query = f"SELECT count(*), coalesce(md5(string_agg(t::text, ';' ORDER BY t::text)), '') FROM {table} t"
                [found[table]] = connection.execute(query).fetchall()  # type: ignore[call-overload]
    assert {"invoices", "invoice_items", "price_versions", "usage_daily", "organizations"} <= set(found)
    return found


@pytest.fixture
def sold(books: None) -> Iterator[tuple[Meter, Price]]:
    """A meter at one cent, in the middle of September raised to two."""
    meter = make_meter()
    version = make_price(meter, "0.01")
    make_price(meter, "0.02", valid_from=date(2026, 9, 16))
    with transaction() as session:
        price = session.get_one(Price, version.price_id)
    return meter, price


def bill(slug: str, meter: Meter, quantity: str, month: Month = MONTH) -> Any:
    """A new organization with a final invoice of so much usage."""
    organization = make_organization(slug)
    use(organization, meter, quantity, at=month.first_day)
    return finalize_now(make_draft(organization, month))


def simulate(
    price: Price, terms: dict[str, Any] = GRADUATED, *, months: Any = (MONTH,), **more: Any
) -> PriceSimulation:
    """Start a simulation; no worker has seen it yet."""
    values = {"valid_from": date(2027, 1, 1), "note": None, "organization_ids": None, "by": "Ada", "now": NOW, **more}
    with transaction():
        return start_simulation(price, terms=terms, months=list(months), **values)


def run_jobs() -> None:
    for (outbox_id,) in sql("SELECT id FROM outbox WHERE kind = :kind AND finished_at IS NULL", kind=jobs.SIMULATE):
        outbox.run(outbox_id)


def results(simulation: PriceSimulation) -> dict[tuple[int, date], tuple[int, int, int]]:
    rows = sql(
        "SELECT organization_id, month, old, new, difference FROM price_simulation_results WHERE simulation_id = :id",
        id=simulation.id,
    )
    return {(row[0], row[1]): tuple(row[2:]) for row in rows}


def test_it_is_the_rating_by_hand_and_nothing_else_is_written(
    sold: Any, owner_connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter, price = sold
    monkeypatch.setattr(jobs, "CHUNK_SIZE", 3)  # three chunks
    dice, wanted = random.Random(35), {}
    for number in range(6):
        quantity = Decimal(dice.randrange(1, 12_000_000)) / 1000
        invoice = bill(f"org-{number}", meter, str(quantity))
        wanted[invoice.organization_id, MONTH.first_day] = (invoice.total, by_hand(quantity))
    # A month cut by a price change has two lines; what the tiers count is the month.
    organization = make_organization("cut")
    for day, quantity in ((1, 3000), (20, 4000)):
        use(organization, meter, quantity, at=date(2026, 9, day))
    cut = finalize_now(make_draft(organization, EARLIER))
    wanted[organization.id, EARLIER.first_day] = (3000 + 8000, by_hand(Decimal(7000)))
    assert cut.total == 11_000
    before = contents(owner_connection)
    simulation = simulate(price, months=(MONTH, EARLIER))
    run_jobs()
    assert contents(owner_connection) == before
    expected = {key: (old, new, new - old) for key, (old, new) in wanted.items()}
    assert results(simulation) == expected
    simulation = simulation_of(simulation.public_id)
    assert (simulation.state, simulation.done, simulation.whole) == ("done", 7, 7)
    summary = summary_of(simulation)
    assert summary.old == sum(each[0] for each in expected.values())
    assert summary.new == sum(each[1] for each in expected.values())
    assert (summary.organizations, summary.rows) == (7, 7)


def test_only_what_was_asked_for_is_rated(sold: Any) -> None:
    meter, price = sold
    wanted = bill("wanted", meter, "2000")
    other = bill("other", meter, "2000")
    gone = bill("gone", meter, "2000")
    with transaction():
        void_invoice(gone.id, reason="wrong", now=NOW)
    assert len(results_of_run(price)) == 2
    assert set(results_of_run(price, organization_ids=[wanted.organization_id])) == {
        (wanted.organization_id, MONTH.first_day)
    }
    assert results_of_run(price, months=(EARLIER,)) == {}
    assert (other.organization_id, MONTH.first_day) in results_of_run(price)


def results_of_run(price: Price, **more: Any) -> dict[tuple[int, date], tuple[int, int, int]]:
    simulation = simulate(price, **more)
    run_jobs()
    return results(simulation)


def test_the_terms_of_today_change_nothing(sold: Any) -> None:
    meter, price = sold
    bill("acme", meter, "12345.678")
    simulation = simulate(price, {"model": "per_unit", "unit_amount": "0.02"})
    run_jobs()
    [(old, new, difference)] = results(simulation).values()
    assert (old, new, difference) == (24_691, 24_691, 0)
    assert summary_of(simulation).same == 1


def test_who_pays_more_and_who_less(sold: Any) -> None:
    meter, price = sold
    for slug, quantity in (("small", "10"), ("middle", "100"), ("large", "10000")):
        bill(slug, meter, quantity)
    simulation = simulate(price)
    run_jobs()
    summary = summary_of(simulation)
    # $0.20 and $2.00 become the dollar of the minimum, $200.00 becomes $36.50.
    assert (summary.more, summary.less, summary.same) == (1, 2, 0)
    assert (summary.rise, summary.fall) == (80, 100 + 16_350)
    assert [each.organization.slug for each in largest_of(simulation, rises=True, limit=5)] == ["small"]
    assert [(each.organization.slug, each.difference) for each in largest_of(simulation, rises=False, limit=5)] == [
        ("large", -16_350),
        ("middle", -100),
    ]
    counts = {each.label: each.organizations for each in distribution_of(simulation) if each.organizations}
    assert counts == {"−50 or less": 2, "above +50": 1}


def test_cancelled_it_rates_no_further_and_keeps_what_it_has(sold: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    meter, price = sold
    monkeypatch.setattr(jobs, "CHUNK_SIZE", 1)
    for number in range(3):
        bill(f"org-{number}", meter, "2000")
    simulation = simulate(price)
    note = jobs._note

    def cancel_after_noting(*arguments: Any) -> None:
        note(*arguments)
        db.session.execute(db.text("UPDATE price_simulations SET state = 'cancelled', ended_at = now()"))

    monkeypatch.setattr(jobs, "_note", cancel_after_noting)
    run_jobs()
    assert len(results(simulation)) == 1
    fresh = simulate(price)
    with transaction():
        cancel_simulation(fresh.public_id, now=NOW)
        assert cancel_simulation(fresh.public_id, now=NOW).state == "cancelled"
    run_jobs()
    assert results(fresh) == {}
    with pytest.raises(NotFound), transaction():
        cancel_simulation(uuid4(), now=NOW)


def test_a_job_that_ends_early_goes_on_where_it_was(sold: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    meter, price = sold
    monkeypatch.setattr(jobs, "CHUNK_SIZE", 2)
    for number in range(5):
        bill(f"org-{number}", meter, "2000")
    simulation = simulate(price)
    rate, chunks = jobs.rate_again, []

    def end_at_the_second(billed: Any, *more: Any) -> Any:
        chunks.append([each.invoice_id for each in billed])
        if len(chunks) == 2:
            raise JobTimeoutException
        return rate(billed, *more)

    monkeypatch.setattr(jobs, "rate_again", end_at_the_second)
    run_jobs()
    assert (len(results(simulation)), simulation_of(simulation.public_id).state) == (2, "running")
    sql("UPDATE outbox SET run_after = clock_timestamp(), lease_until = NULL WHERE finished_at IS NULL")
    run_jobs()
    assert (len(results(simulation)), simulation_of(simulation.public_id).state) == (5, "done")
    assert [len(each) for each in chunks] == [2, 2, 2, 1]
    assert chunks[1] == chunks[2]


def test_whatever_would_write_while_it_reads_is_refused_and_it_says_so(
    sold: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter, price = sold
    bill("acme", meter, "2000")
    simulation = simulate(price)

    def write(*_: Any) -> None:
        db.session.execute(db.text("UPDATE organizations SET name = 'Changed'"))

    monkeypatch.setattr(jobs, "rate_again", write)
    run_jobs()
    failed = simulation_of(simulation.public_id)
    assert failed.state == "failed"
    assert "read-only transaction" in (failed.reason or "")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"months": ()}, "months"),
        ({"months": [MONTH.plus(-number) for number in range(13)]}, "months"),
        ({"months": (Month.of(NOW),)}, "months"),
        ({"terms": {"model": "magic"}}, "model"),
    ],
)
def test_what_cannot_be_simulated_is_refused(sold: Any, more: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        simulate(sold[1], **more)
    assert refused.value.field == field


def test_a_plans_price_is_refused(books: None) -> None:
    plan = make_plan()
    with transaction() as session:
        price = session.query(Price).filter_by(plan_id=plan.id).one()
    with pytest.raises(InvalidInput, match="plan's"):
        simulate(price)
