"""A backup that is older than Stripe was restored: what was sent since is adopted or held back, never sent twice."""

from uuid import uuid4

import pytest

from portal import billing_cycle
from portal.core.errors import InvalidTransition
from portal.infra import clock
from portal.infra.db import transaction
from portal.payments import drift, pushing
from portal.payments.drift_models import Drift, DriftState
from tests.factories import MONTH, make_draft, make_final, make_organization, reload, sql
from tests.payments.conftest import examine, open_rows, work
from tests.payments.test_reconciling import reconcile, rows

pytestmark = pytest.mark.usefixtures("books")
FORGET = (
    "DELETE FROM stripe_calls",
    "DELETE FROM stripe_events",
    "UPDATE organizations SET stripe_customer_id = NULL",
    "UPDATE invoices SET stripe_id = NULL, stripe_status = NULL, sync_state = 'pending', synced_at = NULL,"
    " hosted_invoice_url = NULL, payment_state = 'open', amount_paid = 0, paid_at = NULL WHERE state = 'finalized'",
    "UPDATE outbox SET finished_at = NULL, dead_at = NULL, lease_until = NULL, run_after = clock_timestamp()"
    " WHERE kind = 'sync_invoice'",
)


def restore():
    """As if the database were one from before the first call to Stripe: invoices are final, and wait to be sent."""
    for statement in FORGET:
        sql(statement)


def forget_keys(sandbox):
    """Stripe forgets idempotency keys after a day: from then on only looking there helps."""
    sandbox.ctl("clock", {"advance_seconds": 25 * 3600})


@pytest.fixture
def five(sandbox):
    """Five invoices that were sent, one of them paid, before the backup was restored."""
    invoices = [make_final(make_organization(f"org-{number}"), f"{number}.00", "0.50") for number in range(1, 6)]
    work()
    sandbox.act("pay", invoice=reload(invoices[2]).stripe_id)
    forget_keys(sandbox)
    restore()
    return invoices


def posts(sandbox):
    return [call for call in sandbox.calls() if not call.startswith("GET")]


def test_what_is_exactly_ours_is_adopted_and_nothing_is_sent_again(sandbox, five):
    before = posts(sandbox)
    run, report = reconcile()
    assert (run.adopted, report.sentence) == (5, "0 differences, 0.00")
    work()
    assert posts(sandbox) == before
    theirs = {each["metadata"]["invoice_id"]: each for each in sandbox.invoices()}
    assert len(sandbox.invoices()) == 5
    for invoice in five:
        ours = reload(invoice)
        there = theirs[str(ours.public_id)]
        assert (ours.stripe_id, ours.sync_state) == (there["id"], "synced")
        assert ours.organization.stripe_customer_id == there["customer"]
        assert ours.payment_state == ("paid" if ours.id == five[2].id else "open")
    assert examine() == []
    actions = sql("SELECT count(*) FROM audit_entries WHERE action = 'adopted from Stripe'")
    assert actions == [(5,)]
    # A second run has nothing left to do.
    run, report = reconcile()
    assert (run.adopted, report.sentence) == (0, "0 differences, 0.00")


def test_without_looking_first_the_workers_would_have_billed_twice(sandbox, five):
    """What the block and the adoption are for: this is what they prevent."""
    work()
    assert len(sandbox.invoices()) == 10


@pytest.mark.parametrize(
    "changes",
    [{"total": 151}, {"currency": "eur"}, {"custom_fields": [{"name": "Invoice", "value": "INV-0"}]}],
    ids=["another total", "another currency", "another number"],
)
def test_what_is_not_exactly_ours_is_left_to_a_person_and_holds_back_its_organization_only(sandbox, five, changes):
    odd = five[0]
    [there] = sandbox.invoices(odd.public_id)
    sandbox.act("edit", invoice=there["id"], force=True, changes=changes)
    run, report = reconcile()
    assert run.adopted == 4
    [row] = report.differences
    assert (row.field, row.ours, row.invoice_id) == ("unadopted", "finalized, not sent", odd.id)
    before = len(sandbox.invoices())
    other = make_final(reload(odd).organization, "7.00", month=MONTH.previous)
    free = make_final(reload(five[1]).organization, "8.00", month=MONTH.previous)
    work(rounds=3)
    assert len(sandbox.invoices()) == before + 1
    assert [reload(each).sync_state for each in (odd, other, free)] == ["pending", "pending", "synced"]
    [(error,)] = sql("SELECT DISTINCT last_error FROM outbox WHERE finished_at IS NULL")
    assert there["id"] in error
    assert "until somebody has decided" in error
    sandbox.act("void", invoice=there["id"])
    with transaction():
        drift.decide(row.public_id, DriftState.ACCEPTED, reason="voided at Stripe", by="Ada", now=clock.now())
    work()
    assert open_rows() == 0
    assert [reload(each).sync_state for each in (odd, other)] == ["synced", "synced"]
    living = [each for each in sandbox.invoices(odd.public_id) if each["status"] != "void"]
    assert [each["total"] for each in living] == [150]
    assert examine() == []


def test_another_line_is_not_ours_even_if_the_total_is(sandbox, five):
    [there] = sandbox.invoices(five[0].public_id)
    sandbox.act(
        "edit",
        invoice=there["id"],
        force=True,
        remove_line=there["lines"][0]["id"],
        add_line={"amount": there["lines"][0]["amount"], "description": "Something else"},
    )
    run, _ = reconcile()
    assert run.adopted == 4
    assert [row[0] for row in rows()] == ["unadopted"]


def test_an_invoice_that_the_restored_books_do_not_have_holds_back_until_it_is_void(sandbox):
    organization = make_organization()
    invoice = make_final(organization, "12.00", month=MONTH.previous)
    work()
    lost = {
        "id": "in_lost",
        "customer": reload(invoice).organization.stripe_customer_id,
        "currency": "usd",
        "status": "open",
        "lines": [{"amount": 900}],
        "metadata": {"invoice_id": str(uuid4())},
    }
    sandbox.ctl("load", {"invoices": [lost]})
    _, report = reconcile()
    assert rows() == [("unadopted", None, "open, 9.00 USD")]
    assert report.sentence == "1 difference, 9.00 USD"
    later = make_final(organization, "7.00")
    work(rounds=3)
    assert reload(later).stripe_id is None
    # Somebody voids it at Stripe, and has the portal look again.
    sandbox.act("void", invoice="in_lost")
    with transaction():
        assert pushing.push(report.differences[0].public_id, by="Ada") is pushing.Way.LOOK_AGAIN
    work()
    assert rows("gone") == [("unadopted", None, "open, 9.00 USD")]
    assert reload(later).sync_state == "synced"
    assert examine() == []


def test_an_invoice_that_is_a_draft_again_is_left_to_a_person(sandbox):
    organization = make_organization()
    draft = make_draft(organization)
    sandbox.ctl(
        "load",
        {
            "customers": [{"id": "cus_lost", "metadata": {"organization_id": str(organization.public_id)}}],
            "invoices": [
                {
                    "id": "in_lost",
                    "customer": "cus_lost",
                    "currency": "usd",
                    "status": "open",
                    "lines": [{"amount": 900}],
                    "metadata": {"invoice_id": str(draft.public_id)},
                }
            ],
        },
    )
    run, _ = reconcile()
    assert (run.adopted, rows()) == (0, [("unadopted", "draft, not sent", "open, 9.00 USD")])
    assert reload(draft).organization.stripe_customer_id == "cus_lost"
    make_final(organization, "9.00")
    work(rounds=3)
    assert len(sandbox.invoices()) == 1


def test_a_half_filled_draft_is_adopted_and_the_sync_goes_on_with_it(sandbox):
    sandbox.fault("POST /v1/invoices/*/finalize", "400")
    invoice = make_final(make_organization(), "12.00", "0.50")
    work()
    forget_keys(sandbox)
    restore()
    run, report = reconcile()
    assert (run.adopted, report.sentence) == (1, "0 differences, 0.00")
    work()
    [there] = sandbox.invoices()
    assert (there["status"], there["total"], len(there["lines"])) == ("open", 1250, 2)
    assert reload(invoice).sync_state == "synced"
    assert examine() == []


@pytest.mark.usefixtures("impatient")
def test_what_is_journalled_and_on_its_way_is_not_forgotten(sandbox):
    """Its creating call has no known outcome: the sync asks again with its key."""
    sandbox.fault("POST /v1/invoices", "timeout_after", seconds=5)
    invoice = make_final(make_organization(), "12.00")
    work(rounds=1)
    assert reload(invoice).sync_state == "unknown"
    assert len(sandbox.invoices()) == 1
    run, report = reconcile()
    assert (run.adopted, run.on_their_way, report.sentence) == (0, 1, "0 differences, 0.00")
    work()
    assert len(sandbox.invoices()) == 1
    assert reload(invoice).sync_state == "synced"


def test_a_sync_that_stopped_is_adopted_by_pushing_the_difference(sandbox, five):
    [there] = sandbox.invoices(five[0].public_id)
    sandbox.act("edit", invoice=there["id"], force=True, changes={"total": 151})
    _, report = reconcile()
    sandbox.act("edit", invoice=there["id"], force=True, changes={"total": 150})
    with transaction():
        pushing.push(report.differences[0].public_id, by="Ada")
    work()
    assert (reload(five[0]).stripe_id, reload(five[0]).sync_state) == (there["id"], "synced")
    assert sql("SELECT state, decided_by FROM drift") == [("gone", "Ada")]


def push(row: Drift) -> pushing.Way:
    with transaction():
        return pushing.push(row.public_id, by="Ada")


def test_a_payment_is_taken_over_by_pushing(sandbox):
    invoice = make_final(make_organization(), "12.00")
    work()
    sandbox.act("pay", invoice=reload(invoice).stripe_id)
    _, report = reconcile()
    assert push(report.differences[0]) is pushing.Way.LOOK_AGAIN
    assert rows("pushed") == [("payment", "open", "paid")]
    work()
    assert reload(invoice).payment_state == "paid"
    assert rows("gone") == [("payment", "open", "paid")]
    assert examine() == []


def test_a_push_that_does_not_help_is_said(sandbox):
    invoice = make_final(make_organization(), "12.00")
    work()
    sandbox.act("void", invoice=reload(invoice).stripe_id)
    _, report = reconcile()
    push(report.differences[0])
    work()
    assert reload(invoice).sync_state == "mismatch"
    assert sql("SELECT state, reason FROM drift") == [
        ("open", "What was pushed has not helped: the difference is still there.")
    ]


def test_the_content_of_a_final_invoice_cannot_be_pushed(sandbox):
    invoice = make_final(make_organization(), "12.00")
    work()
    sandbox.act("edit", invoice=reload(invoice).stripe_id, force=True, changes={"total": 1300})
    _, report = reconcile()
    with pytest.raises(InvalidTransition, match="what a final invoice says cannot be changed"):
        push(report.differences[0])
    assert rows() == [("total", "12.00 USD", "13.00 USD")]


def test_a_stopped_sync_is_sent_again_and_a_deleted_invoice_is_not(sandbox):
    sandbox.fault("POST /v1/invoices", "400")
    stopped = make_final(make_organization(), "12.00")
    work()
    sandbox.fault("POST /v1/invoices/*/add_lines", "wrong_total")
    deleted = make_final(make_organization("umbrella"), "3.00")
    work()
    sandbox.act("delete", invoice=reload(deleted).stripe_id)
    _, report = reconcile()
    by_invoice = {row.invoice_id: row for row in report.differences}
    with pytest.raises(InvalidTransition, match="never made anew in silence"):
        push(by_invoice[deleted.id])
    with transaction():
        assert pushing.way_of(by_invoice[stopped.id]) is pushing.Way.SYNC_AGAIN
    billing_cycle.sync_again(stopped.id)
    push(by_invoice[stopped.id])
    work()
    reconcile()
    assert [row[0] for row in rows()] == ["existence"]
    assert reload(stopped).sync_state == "synced"
