"""A part and its payer's invoice on their way to Stripe, in peace and killed at any step: one invoice, exactly."""

import sys
from itertools import count

import pytest

from portal.core.lifecycle import PaymentState, SyncState
from portal.infra.db import transaction
from portal.invoicing.linking import link_to_payer
from portal.invoicing.voiding import void_invoice
from portal.payments.lines import count_lines
from portal.payments.receiving import store_event
from tests.factories import MONTH, NOW, add, fingerprint_of, make_draft, make_final, make_organization, reload, sql
from tests.full import every
from tests.payments.conftest import examine, work
from tests.payments.test_kill_at_every_step import helper  # noqa: F401 - the fixture

pytestmark = pytest.mark.usefixtures("books")
EVERY = every(61)


def linked(number: int = 0):
    """A payer and one that it pays for."""
    payer, part = make_organization(f"payer-{number}"), make_organization(f"part-{number}")
    with transaction():
        link_to_payer(part.id, payer.id, first_month=MONTH)
    return payer, part


def test_stripe_gets_the_payers_invoice_with_the_lines_of_its_sections_and_no_other(sandbox):
    payer, part = linked()
    small, whole = make_final(part, "10.00", "2.50"), make_final(payer, "1.00")
    work()
    [theirs] = sandbox.invoices()
    assert (theirs["metadata"]["invoice_id"], theirs["total"]) == (str(whole.public_id), 1350)
    lines = sorted((line["description"], line["amount"]) for line in theirs["lines"])
    assert lines == [("Item 0001", 100), ("Part-0: Item 0001", 1000), ("Part-0: Item 0002", 250)]
    assert count_lines(whole, 1) == 3
    sandbox.act("pay", invoice=theirs["id"])
    hear_of_events(sandbox)
    assert (reload(whole).payment_state, reload(whole).amount_paid) == (PaymentState.PAID, 1350)
    assert (reload(small).sync_state, reload(small).amount_paid) == (SyncState.NONE, 0)
    assert examine() == []


def hear_of_events(sandbox) -> None:
    for event in sandbox.events():
        with transaction():
            store_event(event)
    work()


@pytest.mark.fault
@pytest.mark.slow
def test_finalizing_a_part_and_its_payer_killed_anywhere_bills_each_cent_once(helper, sandbox, capsys):  # noqa: F811
    made, numbers = [], count()

    def prepare():
        payer, part = linked(next(numbers))
        drafts = make_draft(part), make_draft(payer)
        add(drafts[0], "10.00")
        add(drafts[1], "1.00")
        made.append(drafts)
        return [order(each) for each in drafts]

    def order(invoice, *, again: bool = False):
        fingerprint = fingerprint_of(invoice)
        base = {"work": "finalize", "public_id": str(invoice.public_id), "now": NOW.isoformat()}
        return {**base, "fingerprint": fingerprint, "again": again}

    points = []
    for _ in range(2):  # the first connection of a process asks the server some things more
        points = [helper(**each)["boundaries"] for each in prepare()]
    killed = 0
    for place in (0, 1):
        # The last one is after the commit.
        for k in range(points[place], 0, -EVERY):
            orders = prepare()
            for each in orders[:place]:
                helper(**each)
            assert helper(**orders[place], kill_at=k)["killed"], k
            for each in orders[place:]:
                helper(**{**each, "again": True})
            killed += 1
    with capsys.disabled():
        sys.stdout.write(f"\nfinalizing a part and its payer: killed at {killed} of {sum(points)} points\n")
    for part, payer in made:
        assert (reload(part).moved, reload(payer).moved, reload(payer).amount_due) == (-1000, 1000, 1100)
    assert sql("SELECT count(*), count(number) FROM billed_parts") == [(len(made), len(made))]
    assert examine() == []


def test_a_voided_payers_invoice_is_billed_anew_with_the_same_sections(sandbox):
    payer, part = linked()
    make_final(part, "10.00")
    whole = make_final(payer, "1.00")
    work()
    with transaction():
        void_invoice(whole.id, reason="a wrong address", now=NOW)
    anew = make_final(payer)
    work()
    assert sorted((each["status"], each["total"]) for each in sandbox.invoices()) == [("open", 1000), ("void", 1100)]
    assert (reload(anew).sync_state, anew.document["sections"]) == (SyncState.SYNCED, whole.document["sections"])
    assert examine() == []
