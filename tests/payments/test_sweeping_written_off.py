"""A payment of a written-off invoice is found by the sweeper when no webhook tells of it."""

from datetime import timedelta

import pytest

from portal.core.lifecycle import PaymentState
from portal.infra import clock
from portal.infra.db import transaction
from portal.invoicing.writing_off import write_off
from portal.payments.sweeping import sweep_open_invoices
from tests.factories import make_final, make_organization, reload
from tests.payments.conftest import examine, work

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("books")]


def test_a_payment_of_what_was_written_off_is_found_by_the_sweeper(sandbox):
    invoice = make_final(make_organization(), "12.00")
    work()
    with transaction():
        write_off(invoice.id, reason="nobody answers")
    work()
    sandbox.act("pay", invoice=reload(invoice).stripe_id)
    assert reload(invoice).payment_state == PaymentState.UNCOLLECTIBLE
    soon = clock.now() + timedelta(minutes=10)
    assert sweep_open_invoices(now=soon, every=timedelta(minutes=5)) == 1
    work()
    found = reload(invoice)
    assert (found.payment_state, found.amount_paid, found.stripe_status) == ("paid", 1200, "paid")
    assert sweep_open_invoices(now=soon, every=timedelta(minutes=5)) == 0
    assert examine() == []
