"""The worker dies at every step of the flows that mend: repair, replay, sweeper, reconciling; the end is the same."""

import sys

import pytest

from tests.factories import sql
from tests.full import every
from tests.payments import test_kill_at_every_step as killing
from tests.payments.conftest import examine, open_rows, work
from tests.payments.flows import FLOWS, newest_job

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.usefixtures("books")]
helper = killing.helper
# All points with --full; at other times some.
EVERY = every(71)


@pytest.mark.parametrize("name", ["repair of a half-built draft", "replay", "sweeper", "reconciling"])
def test_a_flow_that_is_killed_anywhere_ends_as_if_it_had_not_been(helper, sandbox, capsys, name):
    flow, invoices = FLOWS[name], []

    def prepare(number: int) -> int:
        invoices.append(flow.begin(sandbox, f"org-{number}"))
        return newest_job()

    points = killing.kill_everywhere(helper, prepare, capsys, name, every=EVERY)
    work()
    assert len(invoices) == points + 2
    assert all(flow.is_done(sandbox, invoice) for invoice in invoices)
    assert open_rows() == 0
    if name in ("replay", "sweeper"):
        [(receipts,)] = sql("SELECT count(*) FROM mails WHERE kind = 'receipt'")
        assert receipts == len(invoices)
    assert examine() == []


@pytest.mark.parametrize("name", ["sync", "credit note", "reconciling"])
def test_a_worker_that_sleeps_past_its_lease_and_wakes_changes_nothing(helper, sandbox, capsys, name):
    """Frozen at each call; a second one takes over and ends the work; then the first one wakes in the middle of it."""
    flow = FLOWS[name]
    helper(work="run", outbox_id=begun(flow, sandbox, "org-0"))
    invoice = flow.begin(sandbox, "org-999")
    points = helper(work="run", outbox_id=newest_job())["at_calls"]
    assert flow.is_done(sandbox, invoice)
    for k in range(1, points + 1):
        invoice = flow.begin(sandbox, f"org-{k}")
        job = newest_job()
        frozen = helper(work="run", outbox_id=job, freeze_at=k)["frozen"]
        killing.expire_leases()
        helper(work="run", outbox_id=job)
        assert flow.is_done(sandbox, invoice), k
        before = trail()
        assert helper(work="thaw", child=frozen)["ended_well"], k
        assert flow.is_done(sandbox, invoice), k
        assert trail() == before, k
    assert examine() == []
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: frozen at each of {points} points around its calls\n")


def begun(flow, sandbox, slug: str) -> int:
    flow.begin(sandbox, slug)
    return newest_job()


def trail() -> list:
    """What a second copy must not add to: the history, and what was done when."""
    return sql("SELECT (SELECT count(*) FROM audit_entries), (SELECT max(finished_at) FROM outbox)")
