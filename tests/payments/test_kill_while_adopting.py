"""The worker dies at every step of looking up, adopting, making anew and repairing; there is one invoice in the end."""

from collections import Counter

import pytest

from portal.core.lifecycle import SyncState
from portal.infra.db import transaction
from portal.invoicing.voiding import void_invoice
from tests.factories import NOW, make_final, make_organization, reload, sql
from tests.full import every
from tests.payments import test_kill_at_every_step as killing
from tests.payments.conftest import examine
from tests.payments.test_adopting import ADD, CREATE, CUSTOMER, FINALIZE

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.usefixtures("books")]
helper = killing.helper
# All points with --full; at other times some, and other ones for each scenario by its own number of points.
EVERY = every(37)


def sync_until_stored(helper, sandbox, match: str, mode: str, number: int):
    """An invoice whose call was answered with an error that Stripe has stored, and seen to be stored; and its job."""
    sandbox.fault(match, mode)
    invoice = make_final(make_organization(f"org-{number}"), "12.00", "23.45")
    job = killing.newest_job("sync_invoice")
    # Whether it is final can be read, so that key is not asked twice.
    for _ in range(1 if match == FINALIZE else 2):
        helper(work="run", outbox_id=job)
        killing.expire_leases()
    return invoice, job


def let_certainty_come() -> None:
    sql(
        "UPDATE stripe_calls SET last_attempt_at = last_attempt_at - interval '12 minutes',"
        " absent_since = clock_timestamp() - interval '61 seconds' WHERE outcome = 'unknown'"
    )


def assert_each_once(sandbox, invoices) -> None:
    ledger = sandbox.ledger()
    theirs = Counter(each["metadata"]["invoice_id"] for each in ledger["invoices"])
    assert theirs == {str(each.public_id): 1 for each in invoices}
    customers = Counter(each["metadata"]["organization_id"] for each in ledger["customers"])
    assert set(customers.values()) == {1}
    assert {(each["status"], each["total"], len(each["lines"])) for each in ledger["invoices"]} == {("open", 3545, 2)}
    for invoice in map(reload, invoices):
        assert (invoice.sync_state, bool(invoice.stripe_id)) == (SyncState.SYNCED, True)
    assert examine() == []


@pytest.mark.parametrize("match", [CUSTOMER, CREATE, ADD, FINALIZE])
def test_an_adoption_that_is_killed_anywhere_adopts_once(helper, sandbox, capsys, match):
    invoices = []

    def prepare(number: int) -> int:
        invoice, job = sync_until_stored(helper, sandbox, match, "500_after", number)
        invoices.append(invoice)
        return job

    killing.kill_everywhere(helper, prepare, capsys, f"adopting after {match}", every=EVERY)
    assert_each_once(sandbox, invoices)


@pytest.mark.parametrize("match", [CUSTOMER, CREATE, ADD])
def test_a_second_generation_that_is_killed_anywhere_is_made_once(helper, sandbox, capsys, match):
    invoices = []

    def prepare(number: int) -> int:
        invoice, job = sync_until_stored(helper, sandbox, match, "500_before", number)
        let_certainty_come()
        invoices.append(invoice)
        return job

    killing.kill_everywhere(helper, prepare, capsys, f"making {match} anew", every=EVERY)
    assert_each_once(sandbox, invoices)
    assert sql("SELECT max(generation) FROM stripe_calls") == [(2,)]


def test_a_void_that_looks_for_its_draft_and_is_killed_anywhere_leaves_none(helper, sandbox, capsys):
    invoices = []

    def prepare(number: int) -> int:
        sandbox.fault(CREATE, "500_after")
        invoice = make_final(make_organization(f"org-{number}"), "12.00")
        helper(work="run", outbox_id=killing.newest_job("sync_invoice"))
        with transaction():
            void_invoice(invoice.id, reason="a mistake", now=NOW)
        killing.expire_leases()
        helper(work="run", outbox_id=killing.newest_job("sync_invoice"))
        invoices.append(invoice)
        return killing.newest_job("void_at_stripe")

    killing.kill_everywhere(helper, prepare, capsys, "void of what is unknown", every=EVERY)
    assert sandbox.invoices() == []
    assert {reload(invoice).stripe_status for invoice in invoices} == {"deleted"}
    assert examine() == []
