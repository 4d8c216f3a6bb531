"""A run with payers: theirs come after what they pay for, and one that waits stops nobody else."""

from decimal import Decimal

import pytest

from portal.bill_runs.reporting import figures_of, report_of
from portal.bill_runs.reviewing import approve, hold
from portal.bill_runs.seconding import count_large
from portal.core.approving import AmountLimits
from portal.infra.db import transaction
from portal.invoicing.linking import link_to_payer
from tests.bill_runs.conftest import (
    books,  # noqa: F401 - the fixture
    customers,
    end_holds,
    examine,
    finalize,
    no_hold,  # noqa: F401 - the fixture
    on,
    start,
    state,
    states,
    work,
)
from tests.bill_runs.test_stages import item, seen
from tests.factories import MONTH, NOW, sql

pytestmark = pytest.mark.usefixtures("books")


@pytest.fixture
def four():
    """The first pays for the third and the fourth: by its id its turn would come before theirs."""
    made = customers(4)
    for part in made[2:]:
        with transaction():
            link_to_payer(part.id, made[0].id, first_month=MONTH)
    return made


def due(organization) -> list[tuple[str, int, int]]:
    query = "SELECT state, moved, amount_due FROM invoices WHERE organization_id = :id AND period_start = :month"
    return [tuple(row) for row in sql(query, id=organization.id, month=MONTH.first_day)]


def test_a_payers_invoice_is_frozen_after_those_that_it_pays_for_are_final(four):
    payer, alone, *parts = four
    run = start()
    work()
    assert states(run) == {"approved": 4}
    with transaction():
        [sums] = figures_of(run).sums
        assert (sums.total, sums.amount_due) == (1000, 1000)
        # Of one dollar of its own and seven of others.
        assert [count_large(run, AmountLimits({"USD": Decimal(least)})) for least in (8, 9)] == [1, 0]
    finalize(run)
    work()
    assert states(run) == {"approved": 1, "scheduled": 3}
    assert item(run, payer).state == "approved"
    end_holds()
    work()
    assert states(run) == {"scheduled": 1, "finalized": 3}
    end_holds()
    work()
    on(run)
    assert (state(run), states(run)) == ("syncing", {"finalized": 4})
    assert due(payer) == [("finalized", 700, 800)]
    assert [due(each) for each in parts] == [[("finalized", -300, 0)], [("finalized", -400, 0)]]
    assert due(alone) == [("finalized", 0, 200)]
    assert examine() == []


@pytest.mark.usefixtures("no_hold")
def test_a_payer_whose_part_is_held_waits_is_named_and_stops_nobody(four):
    payer, _, part, _ = four
    run = start()
    work()
    to_hold = seen(run, part)
    with transaction():
        hold(run.public_id, to_hold, reason="The customer is asked.", by="Ada", now=NOW)
    finalize(run)
    work()
    on(run)
    assert states(run) == {"generated": 1, "held": 1, "finalized": 2}
    assert item(run, payer).reason == (
        "The invoice cannot be finalized. The invoice of Org-003 for 2026-10 is not final, and this one pays for it."
    )
    to_approve = seen(run, payer, part)
    with transaction():
        assert report_of(run)["problems"] == 2
        approve(run.public_id, to_approve, by="Ada", now=NOW)
    finalize(run)
    work()
    assert states(run) == {"finalized": 4}
    assert due(payer) == [("finalized", 700, 800)]
    assert examine() == []
