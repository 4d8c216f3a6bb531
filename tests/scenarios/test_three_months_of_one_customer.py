"""Three months of one customer, worked by hand: a price that rises in mid-month, a support plan, work done, a credit
that is larger than a month, and what it leaves for the next one."""

from datetime import UTC, date, datetime

import pytest

from portal import doctor
from portal.core.periods import Month
from portal.infra.db import transaction
from portal.invoicing.draft_facts import balance_of
from portal.invoicing.drafting import draft_of
from portal.invoicing.queries import items_of
from tests.factories import (
    add,
    finalize_now,
    make_draft,
    make_meter,
    make_organization,
    make_plan,
    make_price,
    subscribe,
    use,
)

pytestmark = pytest.mark.usefixtures("books")
AUGUST, SEPTEMBER, OCTOBER = Month(2026, 8), Month(2026, 9), Month(2026, 10)


def test_three_months_add_up_to_what_was_worked_out_by_hand():
    acme = make_organization()
    egress = make_meter("egress_gb", dimensions=())
    make_price(egress, {"model": "per_unit", "unit_amount": "0.10", "free_quantity": "100"}, name="Egress")
    make_price(
        egress, {"model": "per_unit", "unit_amount": "0.12", "free_quantity": "100"}, valid_from=date(2026, 9, 16)
    )
    subscribe(acme, make_plan(fee="31"), datetime(2026, 8, 17, tzinfo=UTC))
    for month in (AUGUST, SEPTEMBER, OCTOBER):
        use(acme, egress, 80, at=date(month.year, month.month, 3))
        use(acme, egress, 120, at=date(month.year, month.month, 20))

    # August: 80 + 120 = 200 GB, 100 of them free: 100 × 0.10 = 10.00. The plan from the 17th on: 15 of 31 days of
    # 31.00 = 15.00. Two hours of work at 75.00 = 150.00. Together 175.00.
    august = make_draft(acme, AUGUST)
    add(august, "150.00", "Migration assistance, 2 h")
    august = finalize_now(august)
    assert lines_of(august) == [("Egress", 1000), ("Support", 1500), ("Migration assistance, 2 h", 15000)]
    assert (august.total, august.amount_due) == (17500, 17500)

    # September: the price rises on the 16th. Until then 80 GB, all within the 100 free ones: 0.00. After it 120 GB,
    # of which 20 are still free: 100 × 0.12 = 12.00. The plan 31.00. A credit of 60.00. Together −17.00: nothing is
    # due, and 17.00 are carried to the next invoice.
    september = make_draft(acme, SEPTEMBER)
    add(september, "-60.00", "Goodwill credit")
    september = finalize_now(september)
    assert lines_of(september) == [
        ("Egress", 0),
        ("Egress", 1200),
        ("Support", 3100),
        ("Goodwill credit", -6000),
    ]
    assert (september.total, september.amount_due, september.payment_state) == (-1700, 0, "paid")
    assert balance_of(acme.id) == 1700

    # October: 100 × 0.12 = 12.00 and the plan 31.00 = 43.00, less the 17.00 that were left over: 26.00 are due.
    october = finalize_now(make_draft(acme, OCTOBER))
    assert (october.total, october.balance_applied, october.amount_due) == (4300, 1700, 2600)
    assert balance_of(acme.id) == 0

    assert [each.number for each in (august, september, october)] == [
        "INV-2026-000001",
        "INV-2026-000002",
        "INV-2026-000003",
    ]
    with transaction():
        assert [each.rule for each in doctor.examine() if each.broken] == []


def test_usage_that_comes_after_finalizing_changes_nothing_that_is_final_and_is_kept():
    acme = make_organization()
    egress = make_meter("egress_gb", dimensions=())
    make_price(egress, "0.10")
    use(acme, egress, 100)
    invoice = finalize_now(make_draft(acme))
    use(acme, egress, 7)
    with transaction():
        assert items_of(invoice.id)[0].quantity == 100
        # The rollup goes on and holds the late 7 beyond the 100 that are billed.
        assert draft_of(acme, OCTOBER).statement.lines[0].quantity == 107
        assert [each.rule for each in doctor.examine() if each.broken] == []


def lines_of(invoice) -> list[tuple[str, int]]:
    with transaction():
        return [(item.description, item.amount) for item in items_of(invoice.id)]
